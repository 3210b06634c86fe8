"""Writing on pictures: Chinese, Latin, Greek and Cyrillic letters, light with a dark rim: readable on any ground.

The typeface is Noto Sans SC from a package that brings it along; where that is left out, Pillow's own, which has Latin
letters only. What a typeface has no letter for (emoji, mostly) is left out rather than drawn as a box.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image, ImageFont

RIM = 0.05  # of the letters' height: enough to part white letters from a white ground
_NO_LETTER = "\uffff"  # no typeface has one: how it is drawn is how all are that are missing
_PROBED_AT = 24  # pixels: large enough that no two letters look alike


@lru_cache(maxsize=64)
def font_of(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    """The typeface in the file at `path`, or the usual one, `size` pixels high. Raises OSError for a file that is no
    typeface."""
    from PIL import ImageFont

    found = path or usual_path()
    if found is not None:
        return ImageFont.truetype(found, size)
    built_in = ImageFont.load_default(size)
    assert isinstance(built_in, ImageFont.FreeTypeFont)  # Pillow's wheels all have FreeType
    return built_in


def usual_path() -> Path | None:
    """The file of Noto Sans SC; None where its package is not installed."""
    try:
        from pylopdf_fonts_zh_cn import sans_path
    except ImportError:
        return None
    return sans_path()


def drawable(text: str, path: Path | None = None) -> str:
    """`text` without what the typeface has no letter for; spaces and line ends stay."""
    return "".join(letter for letter in text if letter.isspace() or _has_letter(letter, path)).strip()


@lru_cache(maxsize=4096)
def _has_letter(letter: str, path: Path | None) -> bool:
    font = font_of(path, _PROBED_AT)
    drawn: Any = font.getmask(letter)
    missing: Any = font.getmask(_NO_LETTER)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def written(text: str, font: ImageFont.FreeTypeFont, *, spacing: float = 0.25, align: str = "center") -> Image.Image:
    """The lines of `text`, white with a dark rim on nothing, cut to their ink.

    spacing: between lines, as a part of the letters' height. align: of lines to each other, left, center or right.
    """
    from PIL import Image, ImageDraw

    rim, gap = max(1, round(font.size * RIM)), font.size * spacing
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox(
        (0, 0), text, font=font, spacing=gap, align=align, stroke_width=rim
    )
    ink = Image.new("RGBA", (max(1, round(right - left)), max(1, round(bottom - top))), (0x22, 0x22, 0x22, 0))
    ImageDraw.Draw(ink).multiline_text(
        (-left, -top), text, font=font, spacing=gap, align=align, fill="white", stroke_width=rim, stroke_fill="#222"
    )
    return ink

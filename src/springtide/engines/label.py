"""The visible label on what a model made: "AI 生成 · AI-generated", upper left, light with a dark rim.

As high as a twentieth of the shorter side, which GB 45438-2025 asks for, and no wider than the picture. The mark that
programs read is `provenance`'s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXT = "AI 生成 · AI-generated"
LATIN_TEXT = "AI-generated"  # where the typeface with Chinese letters is left out of the installation
_HEIGHT = 0.05  # of the shorter side
_WIDEST = 0.9  # of the picture's width
_MARGIN = 0.03  # of the shorter side
_LEAST_PIXELS = 8  # less cannot be read


def draw_label(pixels: NDArray[np.uint8], *, text: str = TEXT) -> NDArray[np.uint8]:
    """The picture with the label on it; the one given stays as it is.

    pixels: uint8[height, width, 3 or 4], RGB or RGBA; where it is transparent the label is not. Every frame of a film
    gets the same label at the same place.
    """
    import numpy as np

    height, width, channels = pixels.shape
    colour, cover, (y, x) = _stamp(width, height, text)
    labelled = pixels.copy()
    spot = labelled[y : y + cover.shape[0], x : x + cover.shape[1]]
    colour, cover = colour[: spot.shape[0], : spot.shape[1]], cover[: spot.shape[0], : spot.shape[1]]
    mixed = spot[..., :3] * (1 - cover) + colour * cover
    spot[..., :3] = np.rint(mixed).astype(np.uint8)
    if channels == 4:
        spot[..., 3:] = np.maximum(spot[..., 3:], np.rint(cover * 255).astype(np.uint8))
    return labelled


@lru_cache(maxsize=8)
def _stamp(width: int, height: int, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]]:
    """Colour float32[h, w, 3], cover float32[h, w, 1] of 0 to 1, and where its corner goes (y, x)."""
    import numpy as np
    from PIL import Image

    from springtide.media.lettering import font_of, usual_path, written

    shorter = min(width, height)
    size = max(_LEAST_PIXELS, round(shorter * _HEIGHT * 1.2))  # a Chinese letter fills about 0.9 of its size
    shown = text if usual_path() is not None or text.isascii() else LATIN_TEXT
    ink = written(shown, font_of(None, size))
    if ink.width > width * _WIDEST:
        scale = width * _WIDEST / ink.width
        ink = ink.resize((max(1, int(width * _WIDEST)), max(1, round(ink.height * scale))), Image.Resampling.LANCZOS)
    pixels: Any = np.asarray(ink, np.float32)
    margin = round(shorter * _MARGIN)
    return pixels[..., :3], pixels[..., 3:] / 255, (margin, margin)

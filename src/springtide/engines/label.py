"""The visible label on what a model made: "AI 生成 · AI-generated", upper left, light with a dark rim.

As high as a twentieth of the shorter side, which GB 45438-2025 asks for, and no wider than the picture. The mark that
programs read is `provenance`'s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from springtide.media.overlay import Overlay

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

    pixels: uint8[height, width, 3 or 4], RGB or RGBA. Every frame of a film gets the same label at the same place.
    """
    labelled = pixels.copy()
    _stamp(pixels.shape[1], pixels.shape[0], text).lay_on(labelled)
    return labelled


@lru_cache(maxsize=8)
def _stamp(width: int, height: int, text: str) -> Overlay:
    from PIL import Image

    from springtide.media.lettering import font_of, usual_path, written

    shorter = min(width, height)
    size = max(_LEAST_PIXELS, round(shorter * _HEIGHT * 1.2))  # a Chinese letter fills about 0.9 of its size
    shown = text if usual_path() is not None or text.isascii() else LATIN_TEXT
    ink = written(shown, font_of(None, size))
    if ink.width > width * _WIDEST:
        scale = width * _WIDEST / ink.width
        ink = ink.resize((max(1, int(width * _WIDEST)), max(1, round(ink.height * scale))), Image.Resampling.LANCZOS)
    margin = round(shorter * _MARGIN)
    return Overlay(ink, (margin, margin))

"""A mark of text or a logo, made once and laid over a picture or every frame of a film."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.engines.protocol import InvalidInput

if TYPE_CHECKING:
    from PIL import Image

    from springtide.media.overlay import Overlay

DRAWN_AT = 100  # pixels: text is drawn so large once to learn its proportions
MARGIN = 0.03  # of the picture's shorter side


class Position(StrEnum):
    """Where the mark stands."""

    CENTER = "center"
    TOP_LEFT = "top-left"
    TOP_RIGHT = "top-right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM_RIGHT = "bottom-right"


def text_mark(text: str, width: int, font: Path | None) -> Image.Image:
    """The text, light with a dark rim, about `width` pixels wide. Raises InvalidInput where no letter of it can be
    drawn."""
    from springtide.media.lettering import drawable, font_of, written

    shown = drawable(" ".join(text.split()), font)
    if not shown:
        message = "none of the text can be drawn: the typeface has no such letters"
        raise InvalidInput(message, errors=[{"loc": "text", "message": message}])
    first = written(shown, font_of(font, DRAWN_AT))
    return written(shown, font_of(font, max(8, round(DRAWN_AT * width / first.width))))


def overlay(
    mark: Image.Image, canvas: tuple[int, int], position: Position, *, fit: tuple[int, int], opacity: float
) -> Overlay:
    """`mark` scaled into `fit` (width, height), for a picture or frames of `canvas` (width, height)."""
    from springtide.media.overlay import Overlay

    mark = fitted(mark, *fit)
    return Overlay(mark, corner(canvas, mark.size, position), opacity=opacity)


def fitted(mark: Image.Image, width: int, height: int) -> Image.Image:
    """The mark as wide as asked, and no higher than `height`."""
    scale = min(width / mark.width, max(1, height) / mark.height)
    return mark.resize((max(1, round(mark.width * scale)), max(1, round(mark.height * scale))))


def corner(canvas: tuple[int, int], mark: tuple[int, int], position: Position) -> tuple[int, int]:
    """Where the mark's upper left corner goes."""
    free_x, free_y = canvas[0] - mark[0], canvas[1] - mark[1]
    if position is Position.CENTER:
        return free_x // 2, free_y // 2
    margin = round(min(canvas) * MARGIN)
    vertical, horizontal = position.split("-")
    x = min(margin, free_x) if horizontal == "left" else max(0, free_x - margin)
    y = min(margin, free_y) if vertical == "top" else max(0, free_y - margin)
    return x, y

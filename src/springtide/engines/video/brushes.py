"""What scenes are painted with: noise, ridges, trees, houses, water and lights, as arrays.

Every brush takes its chance from the generator it is handed and its measures from the canvas, so a scene has the same
shapes at every size. Colours are float32 RGB of 0 to 255, masks float32 of 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]
    Rng = np.random.Generator

SMOOTH = 3  # times the size at which shapes with hard edges are drawn, then made small
Colour = Sequence[float]


def noise(rng: Rng, shape: tuple[int, int], *, cells: float, octaves: int = 4, stretch: float = 1.0) -> Field:
    """Soft noise of about -1 to 1. cells: waves of the largest octave down the height; stretch: width by height."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows = max(2, round(cells * 2**octave))
        columns = max(2, round(cells * 2**octave * width / height / stretch))
        coarse = rng.standard_normal((rows + 2, columns + 2), np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * 0.5**octave
    return total / np.float32(1.6)


def line(rng: Rng, width: int, *, peaks: float, rough: float, octaves: int = 7) -> Field:
    """A skyline: heights of about -1 to 1 along the width. peaks: large waves; rough: 0 for dunes, 0.6 for rock."""
    heights = np.zeros(width, np.float32)
    x = np.linspace(0.0, 1.0, width)
    size = 1.0
    for octave in range(octaves):
        points = max(3, round(peaks * 2**octave) + 1)
        knots = rng.uniform(-1.0, 1.0, points)
        smooth = np.interp(_eased(x * (points - 1)), np.arange(points), knots)
        heights += (size * smooth).astype(np.float32)
        size *= 0.28 + 0.42 * rough
    return heights


def below(heights: Field, height: int, *, soft: float = 1.0) -> Field:
    """The mask of what is below a skyline. heights: rows of the canvas, one for each column."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    return ((rows - heights[None, :]) / soft + 0.5).clip(0.0, 1.0)


def gradient(stops: Sequence[tuple[float, Colour]], height: int) -> Field:
    """Colours down the height, [height, 1, 3]. stops: place (0 to 1) and colour."""
    v = (np.arange(height) + 0.5) / height
    places = [place for place, _ in stops]
    channels = [np.interp(v, places, [colour[n] for _, colour in stops]) for n in range(3)]
    return np.stack(channels, -1)[:, None, :].astype(np.float32)


def colour(values: Colour) -> Field:
    """A colour to reckon with."""
    return np.asarray(values, np.float32)


def mixed(one: Colour | Field, other: Colour | Field, share: float | Field) -> Field:
    """`share` of the other colour, the rest of the one."""
    return np.asarray(one, np.float32) * (1.0 - share) + np.asarray(other, np.float32) * share


def pines(rng: Rng, heights: Field, height: int, *, size: float, count: int) -> Field:
    """The mask of firs that stand along a skyline. size: pixels of a usual tree."""
    width = heights.shape[0]
    canvas = Image.new("L", (width * SMOOTH, height * SMOOTH))
    draw = ImageDraw.Draw(canvas)
    for x in np.sort(rng.uniform(0, width, count)).tolist():
        tall = size * float(rng.uniform(0.55, 1.25))
        foot = float(heights[min(width - 1, int(x))]) + tall * 0.15
        _pine(draw, rng, x * SMOOTH, foot * SMOOTH, tall * SMOOTH)
    return _small(canvas, (width, height))


def houses(rng: Rng, shape: tuple[int, int], *, ground: float, size: float, lit: float) -> tuple[Field, Field]:
    """Masks of a row of tall houses, and of their lit windows. ground: row they stand below; size: height of a usual
    one; lit: part of the windows with light."""
    height, width = shape
    walls, windows = Image.new("L", (width, height)), Image.new("L", (width, height))
    wall, window = ImageDraw.Draw(walls), ImageDraw.Draw(windows)
    x = -size * 0.2
    while x < width:
        wide = size * float(rng.uniform(0.16, 0.38))
        tall = size * float(rng.uniform(0.35, 1.0) ** 1.4 + 0.25)
        left, right, top = round(x), round(x + wide), round(ground - tall)
        wall.rectangle((left, top, right, height), fill=255)
        if rng.random() < 0.4:  # something on the roof
            middle, narrow = (left + right) // 2, max(1, round(wide * 0.14))
            wall.rectangle((middle - narrow, top - round(tall * 0.10), middle + narrow, top), fill=255)
        if lit > 0.0:
            _windows(window, rng, (left, top, right, height), size=size, lit=lit)
        x += wide * float(rng.uniform(0.9, 1.25))
    return _field(walls), _field(windows)


def disc(shape: tuple[int, int], x: float, y: float, radius: float, *, soft: float = 1.5) -> Field:
    """The mask of a disc."""
    return ((radius - _distance(shape, x, y)) / soft + 0.5).clip(0.0, 1.0)


def glow(shape: tuple[int, int], x: float, y: float, radius: float) -> Field:
    """Light that fades away from a point; half of it is left at `radius`."""
    return 1.0 / (1.0 + (_distance(shape, x, y) / np.float32(radius)) ** 2)


def stars(rng: Rng, shape: tuple[int, int], *, count: int, lowest: float) -> Field:
    """Points of light above the row `lowest`."""
    height, width = shape
    sky = np.zeros(shape, np.float32)
    for x, y, bright in rng.random((count, 3)).tolist():
        column, row = int(x * (width - 3)) + 1, int(y * max(1.0, min(lowest, height - 3))) + 1
        size = bright**6
        sky[row, column] += 0.30 + 0.70 * bright
        sky[row - 1 : row + 2, column - 1 : column + 2] += 0.5 * size
    return sky.clip(0.0, 1.0)


def water(rng: Rng, shape: tuple[int, int], *, horizon: int) -> Field:
    """Waves of a plane of water below the horizon, about -1 to 1: long and thin far away, large near by."""
    height, width = shape
    down = np.arange(1, height - horizon + 1, dtype=np.float32)
    away = (height - horizon) / down  # 1 at the lower border, large at the horizon
    side = 1024
    tile = noise(rng, (side, side), cells=20, octaves=5, stretch=2.6)
    rows = _mirrored((away * 420.0).astype(np.intp), side)[:, None]
    across = (np.arange(width, dtype=np.float32) / width - 0.5)[None, :] * np.minimum(away, 14.0)[:, None]
    waves = tile[rows, _mirrored((across * 900.0).astype(np.intp), side)]
    waves *= np.minimum(1.0, 9.0 / away)[:, None]  # far waves are smaller than a pixel
    full = np.zeros(shape, np.float32)
    full[horizon:] = waves
    return _field_blurred(full, 0.7)


def picture(colours: Field) -> Image.Image:
    """An RGB picture of float colours."""
    return Image.fromarray(np.rint(colours.clip(0.0, 255.0)).astype(np.uint8))


def stencil(mask: Field) -> Image.Image:
    """An 8-bit grey picture of a mask."""
    return Image.fromarray(np.rint(mask.clip(0.0, 1.0) * 255.0).astype(np.uint8))


def _eased(x: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.floor(x)
    part = x - whole
    return whole + part * part * (3.0 - 2.0 * part)


def _pine(draw: ImageDraw.ImageDraw, rng: Rng, x: float, foot: float, tall: float) -> None:
    half = tall * float(rng.uniform(0.17, 0.24))
    tiers = 7
    outline = [(x, foot - tall)]
    left: list[tuple[float, float]] = []
    for tier in range(1, tiers + 1):
        down = foot - tall + tall * tier / tiers
        out = half * (tier / tiers) ** 0.9
        ragged = rng.uniform(0.75, 1.1, 2).tolist()
        outline += [(x + out * ragged[0], down), (x + out * 0.45, down - tall * 0.02)]
        left += [(x - out * ragged[1], down), (x - out * 0.45, down - tall * 0.02)]
    draw.polygon([*outline, *reversed(left)], fill=255)


def _windows(draw: ImageDraw.ImageDraw, rng: Rng, house: tuple[int, int, int, int], *, size: float, lit: float) -> None:
    left, top, right, bottom = house
    step_x, step_y = max(3.0, size * 0.035), max(4.0, size * 0.05)
    wide, high = max(1.0, step_x * 0.45), max(1.0, step_y * 0.40)
    columns, rows = int((right - left) / step_x) - 1, int((bottom - top) / step_y) - 1
    for row, column in np.argwhere(rng.random((max(0, rows), max(0, columns))) < lit).tolist():
        x, y = left + (column + 0.8) * step_x, top + (row + 0.8) * step_y
        draw.rectangle((round(x), round(y), round(x + wide) - 1, round(y + high) - 1), fill=int(rng.integers(110, 256)))


def _mirrored(places: NDArray[np.intp], side: int) -> NDArray[np.intp]:
    """Places on a tile that goes on mirrored, so that it has no seams."""
    return np.abs((places + side) % (2 * side) - side).clip(0, side - 1)


def _distance(shape: tuple[int, int], x: float, y: float) -> Field:
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(x)
    return np.hypot(rows, columns)


def _small(canvas: Image.Image, size: tuple[int, int]) -> Field:
    return _field(canvas.resize(size, Image.Resampling.BOX))


def _field(mask: Image.Image) -> Field:
    return np.asarray(mask, np.float32) / np.float32(255.0)


def _field_blurred(values: Field, radius: float) -> Field:
    low, high = float(values.min()), float(values.max())
    grey = Image.fromarray(((values - low) / max(1e-6, high - low) * 255.0).astype(np.uint8))
    return (
        np.asarray(grey.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255.0) * (high - low) + low
    )

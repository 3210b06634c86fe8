"""Pictures drawn through an affine map: crops that are turned, scaled and moved, without holes and without jaggies.

A matrix is float64[2, 3] and takes points (x, y) of the source to points of the result; pixel (0, 0) covers the square
from (0, 0) to (1, 1). Only the part of the source that is drawn is ever copied, so a face of a huge scan costs what it
costs in a small picture.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Matrix = NDArray[np.float64]


def warped(
    source: NDArray[np.uint8],
    matrix: Matrix,
    size: tuple[int, int],
    *,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[np.uint8]:
    """The source through the matrix.

    source: uint8[h, w, 3] or [h, w]. size: width and height of the result. Beyond the source's edge its last pixels are
    repeated. Where the result is smaller than what it shows, source pixels are averaged first.
    """
    back = inverse(matrix)
    width, height = size
    corners = mapped(np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64), back)
    low, high = np.floor(corners.min(0)).astype(int) - 3, np.ceil(corners.max(0)).astype(int) + 3  # 3: bicubic's reach
    part = _cut(source, low, high)
    image = Image.fromarray(part)
    back = translated(back, -low[0], -low[1])
    if (shrink := scale(back)) > 1:  # first, and with every pixel's share: `transform` would skip some
        fewer = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
        back = back * np.array([[fewer[0] / image.width], [fewer[1] / image.height]])
        image = image.resize(fewer, Image.Resampling.LANCZOS, reducing_gap=3.0)
    drawn = image.transform(size, Image.Transform.AFFINE, tuple(back.reshape(-1)), resample)
    return np.asarray(drawn)


def inverse(matrix: Matrix) -> Matrix:
    square = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))
    return square[:2]


def mapped(points: NDArray[np.floating], matrix: Matrix) -> NDArray[np.float64]:
    """float[n, 2] through the matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def translated(matrix: Matrix, x: float, y: float) -> Matrix:
    """The matrix, then a move."""
    moved = matrix.astype(np.float64, copy=True)
    moved[:, 2] += (x, y)
    return moved


def scale(matrix: Matrix) -> float:
    """How much longer a line gets."""
    return float(math.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _cut(source: NDArray[np.uint8], low: NDArray[np.int_], high: NDArray[np.int_]) -> NDArray[np.uint8]:
    """The rectangle from `low` to `high`; what lies beyond the source repeats its edge."""
    height, width = source.shape[:2]
    if low.min() >= 0 and high[0] <= width and high[1] <= height:
        return source[low[1] : high[1], low[0] : high[0]]  # picking rows and columns takes ten times as long
    rows = np.clip(np.arange(low[1], high[1]), 0, height - 1)
    columns = np.clip(np.arange(low[0], high[0]), 0, width - 1)
    return source[rows[:, np.newaxis], columns]

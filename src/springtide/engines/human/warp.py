"""Bending pictures smoothly: thin-plate splines on a coarse grid of nodes, and bilinear sampling between them.

NumPy alone, without OpenCV (docs/decisions/0024): sampling packs a pixel's colours into one integer, so that a
quarter of a megapixel takes 4 ms on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # float32 but for odd intermediate results
Pixels = NDArray[np.uint8]  # uint8[height, width, 3], RGB
Packed = NDArray[np.uint32]  # uint32[height, width], a pixel's colours in one number

STIFFNESS = 2e-5  # how much a spline may miss its points, to stay smooth where they crowd
ROWS_AT_ONCE = 1 << 16  # pixels: what is worked on at once stays in the processor's cache
_EVEN, _ODD, _EIGHT = np.uint32(0x00FF00FF), np.uint32(0xFF00FF00), np.uint32(8)


class Spline:
    """A smooth displacement of the plane that is given at some points (thin-plate spline: Bookstein 1989)."""

    def __init__(self, points: Array, displacements: Array) -> None:
        """points, displacements: float[n, 2]. Points may crowd, but should not all lie on one line."""
        count = len(points)
        self._points = points.astype(np.float32)
        system = np.zeros((count + 3, count + 3))  # in double precision: points as near as closed lips are nearly one
        system[:count, :count] = _bending(self._points, self._points) + STIFFNESS * np.eye(count)
        system[:count, count] = system[count, :count] = 1
        system[:count, count + 1 :] = points
        system[count + 1 :, :count] = points.T
        wanted = np.zeros((count + 3, 2))
        wanted[:count] = displacements
        self._weights = np.linalg.solve(system, wanted).astype(np.float32)

    def __call__(self, places: Array) -> Array:
        """float32[m, 2] to displacements float32[m, 2]."""
        count = len(self._points)
        bent = _bending(places.astype(np.float32), self._points) @ self._weights[:count]
        return bent + self._weights[count] + places @ self._weights[count + 1 :]


def _bending(places: Array, points: Array) -> Array:
    square = (places**2).sum(1)[:, None] + (points**2).sum(1)[None] - 2 * (places @ points.T)
    np.maximum(square, 1e-9, out=square)
    logarithm = np.log(square)
    logarithm *= square
    return logarithm


class Grid:
    """Nodes over a box of a picture, and the values between them. The box may be any part of the plane.

    Places are in pixels as everywhere here: the first pixel covers 0 to 1, its middle is at 0.5.
    """

    def __init__(self, box: tuple[int, int, int, int], step: float) -> None:
        """box: left, top, right, bottom, whole pixels. step: pixels between nodes, about."""
        self.box = left, top, right, bottom = box
        self.columns = np.linspace(left, right, max(2, round((right - left) / step) + 1), dtype=np.float32)
        self.rows = np.linspace(top, bottom, max(2, round((bottom - top) / step) + 1), dtype=np.float32)
        self.nodes = np.stack(np.meshgrid(self.columns, self.rows), -1).reshape(-1, 2)  # float32[rows * columns, 2]
        self._across = _between(self.columns, np.arange(left, right, dtype=np.float32) + 0.5).T
        self._down = _between(self.rows, np.arange(top, bottom, dtype=np.float32) + 0.5)

    def spread(self, values: Array, box: tuple[int, int, int, int] | None = None) -> Array:
        """Values at the nodes, float32[nodes, k], to values at every pixel of `box`: float32[k, height, width]."""
        left, top, right, bottom = self.box if box is None else box
        down = self._down[top - self.box[1] : bottom - self.box[1]]
        across = np.ascontiguousarray(self._across[:, left - self.box[0] : right - self.box[0]])
        fields = values.T.reshape(-1, len(self.rows), len(self.columns))
        spread = np.empty((len(fields), bottom - top, right - left), np.float32)
        for field, target in zip(fields, spread, strict=True):
            np.matmul(down @ field.astype(np.float32, copy=False), across, out=target)
        return spread


def _between(nodes: Array, places: Array) -> Array:
    """float32[places, nodes]: how much each node counts at each place, linear between neighbours."""
    span = nodes[1] - nodes[0]
    return np.clip(1 - np.abs(places[:, None] - nodes[None]) / span, 0, 1).astype(np.float32)


def packed(picture: Pixels) -> Packed:
    """A picture as `sampled` wants it."""
    padded = np.zeros((*picture.shape[:2], 4), np.uint8)
    for channel in range(3):  # a quarter of the time of one assignment of three channels at once
        padded[..., channel] = picture[..., channel]
    return padded.view(np.uint32)[..., 0]


def sampled(source: Packed, across: Array, down: Array) -> Pixels:
    """The colours at the given places, float32[h, w] pixels each, bilinear; beyond the edge, the edge's own."""
    result = np.empty((*across.shape, 3), np.uint8)
    draw(result, source, across, down)
    return result


def draw(target: Pixels, source: Packed, across: Array, down: Array) -> None:
    """The same into `target`, uint8[h, w, 3]."""
    rows = max(1, ROWS_AT_ONCE // max(1, across.shape[1]))
    for top in range(0, len(across), rows):
        colours = _sampled(source, across[top : top + rows], down[top : top + rows])
        channels = colours.view(np.uint8).reshape(*colours.shape, 4)
        for channel in range(3):
            target[top : top + rows, :, channel] = channels[..., channel]


def _sampled(source: Packed, across: Array, down: Array) -> Packed:
    height, width = source.shape
    flat = source.reshape(-1)
    # A pixel's colour is that of its middle, at 128 of 256 parts; the other half part rounds.
    x = np.clip((across * 256 - 127.5).astype(np.int32), 0, (width - 1) * 256 - 1)
    y = np.clip((down * 256 - 127.5).astype(np.int32), 0, (height - 1) * 256 - 1)
    index = (y >> 8) * width + (x >> 8)
    x &= 255
    y &= 255
    right, lower = x.view(np.uint32), y.view(np.uint32)
    even, odd = _mixed_rows(flat, index, right)
    index += width
    even_below, odd_below = _mixed_rows(flat, index, right)
    upper = np.uint32(256) - lower
    even *= upper
    even_below *= lower
    even += even_below
    even >>= _EIGHT
    even &= _EVEN
    odd *= upper
    odd_below *= lower
    odd += odd_below
    odd &= _ODD
    even |= odd
    return even


def _mixed_rows(flat: Packed, index: NDArray[np.int32], right: Packed) -> tuple[Packed, Packed]:
    """Between each pixel and its right neighbour: red and blue in one number, green in the other, eight bits apart."""
    here, beside = flat.take(index), flat.take(index + 1)
    left = np.uint32(256) - right
    even, even_beside = here & _EVEN, beside & _EVEN
    even *= left
    even_beside *= right
    even += even_beside
    even >>= _EIGHT
    even &= _EVEN
    for one in (here, beside):
        one >>= _EIGHT
        one &= _EVEN
    here *= left
    beside *= right
    here += beside
    here >>= _EIGHT
    here &= _EVEN
    return even, here

"""Layers of a scene, and how one frame of them is seen by a moved camera.

A layer is a picture with a mask and a disparity (see `camera`): one number for a flat one, a coarse map for one with
relief. It is drawn by Pillow's resize and mesh transform, in C: the map is looked up only at the corners of a mesh,
which is why it must be smooth. Colours reach beyond the mask's edge, so nothing of what was cut away shines through.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image

from springtide.engines.video.camera import Pose, Reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating[Any]]

CELL = 32  # pixels of the frame: side of a mesh cell; a map of disparities is smooth over several of them
HEAD_AT = 0.2  # of a standing subject's height: where its face is
STEPS = 4  # of the search for the place that is seen: each is some twenty times as near as the one before


class Layer(msgspec.Struct, frozen=True):
    """What stands at one depth, or near it. All its parts cover the same extent of the scene."""

    colour: Image.Image  # RGB
    mask: Image.Image | None  # 8-bit grey, of the size of `colour`; None: opaque
    disparity: float | Field  # 1 where the camera's subject is; a map [rows, columns] over the extent
    reach: Reach  # the extent: where the borders of `colour` are, from the centre of the view

    @property
    def aim(self) -> tuple[float, float]:
        """Where one looks at first on what stands here, from the centre of the view: the upper part of it."""
        box = None if self.mask is None else self.mask.point([0] * 128 + [255] * 128).getbbox()
        if self.mask is None or box is None:
            return 0.0, 0.0
        left, top, right, bottom = box
        at_y = top + HEAD_AT * (bottom - top)
        head = self.mask.crop((left, top, right, max(top + 1, round(top + 2 * HEAD_AT * (bottom - top)))))
        columns = np.asarray(head, np.float64).sum(axis=0)
        at_x = left + float(columns @ np.arange(len(columns))) / max(1.0, float(columns.sum()))
        across, down = self.reach.left + self.reach.right, self.reach.top + self.reach.bottom
        return at_x / self.mask.width * across - self.reach.left, at_y / self.mask.height * down - self.reach.top

    @property
    def mean_disparity(self) -> float:
        return float(np.mean(self.disparity))

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest disparity."""
        if isinstance(self.disparity, np.ndarray):
            return float(self.disparity.min()), float(self.disparity.max())
        return self.disparity, self.disparity


class View:
    """Draws layers into frames of one size."""

    def __init__(self, width: int, height: int, *, zoom: float) -> None:
        self.size = (width, height)
        self.zoom = zoom
        self.half_height = height / width / 2
        columns = _edges(width)
        rows = _edges(height)
        self._columns, self._rows = columns, rows
        u = (np.asarray(columns, np.float32) - width / 2) / width
        v = (np.asarray(rows, np.float32) - height / 2) / width
        self._u, self._v = np.meshgrid(u, v)

    def draw(self, layer: Layer, onto: Image.Image, pose: Pose) -> None:
        """Lay what the camera sees of the layer over the frame."""
        if isinstance(layer.disparity, np.ndarray) or pose.roll:
            self._draw_bent(layer, onto, pose)
        else:
            self._draw_flat(layer, layer.disparity, onto, pose)

    def _draw_flat(self, layer: Layer, disparity: float, onto: Image.Image, pose: Pose) -> None:
        """A flat layer is only enlarged and moved: `resize` does that in half the time of a mesh, and smoothly."""
        used = (0, 0, *layer.colour.size) if layer.mask is None else layer.mask.getbbox()
        if used is None:
            return
        width, height = self.size
        ends_u, ends_v = np.array([-0.5, 0.5]), np.array([-self.half_height, self.half_height])
        x, y = _pixels(layer, *pose.look_at(ends_u, ends_v, disparity, zoom=self.zoom))
        left, right, x0, x1 = _span(x, width, used[0], used[2])
        top, bottom, y0, y1 = _span(y, height, used[1], used[3])
        if left >= right or top >= bottom:
            return
        size, box = (right - left, bottom - top), (x0, y0, x1, y1)
        seen = layer.colour.resize(size, Image.Resampling.BILINEAR, box)
        mask = None if layer.mask is None else layer.mask.resize(size, Image.Resampling.BILINEAR, box)
        onto.paste(seen, (left, top), mask)

    def _draw_bent(self, layer: Layer, onto: Image.Image, pose: Pose) -> None:
        """A layer with relief, or one seen by a camera that is rolled."""
        x, y = self._mesh(layer, pose)
        used = _used(layer, x, y)
        if not used.any():
            return
        rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
        top, bottom = self._rows[rows[0]], self._rows[rows[-1] + 1]
        left, right = self._columns[columns[0]], self._columns[columns[-1] + 1]
        size, cells = (right - left, bottom - top), self._cells(used, x, y, (left, top))
        seen = layer.colour.transform(size, Image.Transform.MESH, cells, Image.Resampling.BILINEAR)
        mask = None
        if layer.mask is not None:
            mask = layer.mask.transform(size, Image.Transform.MESH, cells, Image.Resampling.BILINEAR)
        onto.paste(seen, (left, top), mask)

    def _mesh(self, layer: Layer, pose: Pose) -> tuple[Field, Field]:
        """The pixels of the layer that are seen at the mesh's corners."""
        d: Field = np.full_like(self._u, layer.mean_disparity)
        for _ in range(STEPS if isinstance(layer.disparity, np.ndarray) else 0):
            assert isinstance(layer.disparity, np.ndarray)
            d = _looked_up(layer.disparity, *_within(*pose.look_at(self._u, self._v, d, zoom=self.zoom), layer.reach))
        return _pixels(layer, *pose.look_at(self._u, self._v, d, zoom=self.zoom))

    def _cells(self, used: NDArray[np.bool_], x: Field, y: Field, origin: tuple[int, int]) -> list[_Cell]:
        """Cells of the frame, and the quadrilateral of the layer that is seen in each."""
        corners = [(x[corner], y[corner]) for corner in _CORNERS]
        quads = np.stack([value for corner in corners for value in corner], -1)
        left, top = origin
        return [
            (
                (
                    self._columns[j] - left,
                    self._rows[i] - top,
                    self._columns[j + 1] - left,
                    self._rows[i + 1] - top,
                ),
                tuple(quads[i, j].tolist()),
            )
            for i, j in np.argwhere(used).tolist()
        ]


_Box = tuple[int, int, int, int]
_UP, _DOWN = slice(None, -1), slice(1, None)
_CORNERS = ((_UP, _UP), (_DOWN, _UP), (_DOWN, _DOWN), (_UP, _DOWN))  # of a cell, in the order Pillow wants them
_Cell = tuple[_Box, tuple[float, ...]]


def _edges(length: int) -> list[int]:
    return [*range(0, length, CELL), length]


def _span(seen: Field, length: int, least: int, most: int) -> tuple[int, int, float, float]:
    """Where on a side of the frame a layer's pixels from `least` to `most` are seen: first pixel, one past the last,
    and the layer's at these. seen: the layer's pixels at the two ends of the side."""
    start, step = float(seen[0]), float(seen[1] - seen[0]) / length
    first = max(0, math.ceil((least - start) / step))
    last = min(length, math.floor((most - start) / step))
    return first, last, max(0.0, start + step * first), min(float(most), start + step * last)


def _used(layer: Layer, x: Field, y: Field) -> NDArray[np.bool_]:
    """Cells of the mesh in which something of the layer is seen. x, y: its pixels at the corners."""
    left, top, right, bottom = (0, 0, *layer.colour.size)
    if layer.mask is not None:
        left, top, right, bottom = layer.mask.getbbox() or (0, 0, 0, 0)
    xs, ys = (np.stack([values[corner] for corner in _CORNERS]) for values in (x, y))
    return (xs.max(0) > left) & (xs.min(0) < right) & (ys.max(0) > top) & (ys.min(0) < bottom)


def _pixels(layer: Layer, u: Field, v: Field) -> tuple[Field, Field]:
    x, y = _within(u, v, layer.reach)
    return x * layer.colour.width, y * layer.colour.height


def _within(u: Field, v: Field, reach: Reach) -> tuple[Field, Field]:
    return (u + reach.left) / (reach.left + reach.right), (v + reach.top) / (reach.top + reach.bottom)


def _looked_up(grid: Field, x: Field, y: Field) -> Field:
    """The map at (x, y), 0 to 1 over its extent, between its points."""
    rows, columns = grid.shape
    fx = (x * columns - 0.5).clip(0, columns - 1.001)
    fy = (y * rows - 0.5).clip(0, rows - 1.001)
    ix, iy = fx.astype(np.intp), fy.astype(np.intp)
    tx, ty = fx - ix, fy - iy
    upper = grid[iy, ix] * (1 - tx) + grid[iy, ix + 1] * tx
    lower = grid[iy + 1, ix] * (1 - tx) + grid[iy + 1, ix + 1] * tx
    return upper * (1 - ty) + lower * ty

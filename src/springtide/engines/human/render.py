"""One frame of a speaking face, from a picture of it.

Everything that moves (head, lips, lids) is one map from places in the new frame to places in the picture, so that each
pixel is interpolated once; then the inside of the mouth is painted. Outside the face's surroundings a frame is the
picture, byte for byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from springtide.engines.human import anatomy
from springtide.engines.human.anatomy import Face
from springtide.engines.human.eyes import lids_lowered
from springtide.engines.human.mouth import REACH, SHOWS_TEETH, Inside, Lips, Teeth, faded, lips_of
from springtide.engines.human.warp import Array, Grid, Packed, Pixels, draw, sampled

Box = tuple[int, int, int, int]

NODES = 22  # of the grid, to a height of the face
HEAD = 1.25, 0.65  # half the head's width and height, in half widths and heights of the face: so far it moves as one
STANDS = 2.0  # times that: where nothing moves
CORNERS = (-1, -1), (1, -1), (-1, 1), (1, 1)
MIDDLE = -0.20  # of the face, heights from the mouth
SKIN = (-0.25, -0.25, 0.25, -0.05)  # local: a part of the face that shows how bright it is
TEETH_ROWS, TEETH_COLUMNS = 14, 80
BRIGHT_TEETH, PALE_TEETH = 0.62, 0.5  # as bright as so much of the skin, and no more colourful: else they are none


@dataclass(frozen=True)
class Look:
    """What a face does in one frame."""

    opening: float = 0.0
    width: float = 0.0
    closed: float = 0.0  # the lids
    pose: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)  # roll, yaw, pitch, across, down


class Renderer:
    """Draws one face of one picture, as often as one likes."""

    def __init__(self, source: Packed, scale: float, face: Face, inside: Inside, *, moves: bool) -> None:
        """source: the picture, `scale` times as large as the frames will be. face: in pixels of the frames.
        moves: whether head and lids do as well, not only the mouth."""
        self._source, self._scale, self._face, self._inside = source, np.float32(scale), face, inside
        height, width = source.shape[0] / scale, source.shape[1] / scale
        middle, reach = ((0.0, MIDDLE), _head_reach(face)) if moves else ((0.0, 0.0), (REACH, REACH))
        corners = np.array(middle, np.float32) + np.array(CORNERS, np.float32) * np.maximum(
            reach, REACH + abs(middle[1])
        )
        around = face.pixels(corners)
        self.box = _clipped((*around.min(0), *around.max(0)), round(width), round(height))
        self._grid = Grid(self.box, face.height / NODES)
        self._places = face.local(self._grid.nodes)
        self._near = np.flatnonzero((self._places**2).sum(1) < (REACH + 0.1) ** 2)
        self._head = _Head(face, self._places) if moves else None

    def draw(self, frame: Pixels, look: Look) -> None:
        """frame: uint8[height, width, 3], the picture at its size; changed in place."""
        left, top, right, bottom = self.box
        if right - left < 2 or bottom - top < 2:
            return
        face, lips = self._face, lips_of(self._face, opening=look.opening, width=look.width)
        places = self._places if self._head is None else self._places + self._head.displacements(look)
        near = places[self._near]
        shown = places.copy()
        shown[self._near] += faded(near, lips.back(near))
        across, down = self._grid.spread(face.pixels(shown) * self._scale)
        draw(frame[top:bottom, left:right], self._source, across, down)
        if look.closed > 0:
            for eye in range(2):
                self._lower_lid(frame, places, eye, look.closed)
        self._paint_inside(frame, lips, places)

    def _lower_lid(self, frame: Pixels, places: Array, eye: int, closed: float) -> None:
        face = self._face
        box = self._box_around(
            face.points[[*anatomy.UPPER_LIDS[eye], *anatomy.LOWER_LIDS[eye], *anatomy.BROWS[eye]]], 0.06
        )
        if box is None:
            return
        left, top, right, bottom = box
        local = self._grid.spread(places, box).reshape(2, -1).T
        moved, shown = lids_lowered(face, local, eye=eye, closed=closed)
        from_ = (face.pixels(local + moved) * self._scale).reshape(bottom - top, right - left, 2)
        lid = sampled(self._source, from_[..., 0], from_[..., 1])
        part = frame[top:bottom, left:right]
        share = shown.reshape(bottom - top, right - left, 1)
        part[:] = (part + (lid - part.astype(np.float32)) * share + 0.5).astype(np.uint8)

    def _paint_inside(self, frame: Pixels, lips: Lips, places: Array) -> None:
        left, top, right, bottom = lips.box
        corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float32)
        box = self._box_around(corners, 0.05)
        if box is not None:
            local = self._grid.spread(places, box)
            part = frame[box[1] : box[3], box[0] : box[2]]
            self._inside.paint(part, lips, local, 1 / self._face.height)

    def _box_around(self, points: Array, margin: float) -> Box | None:
        """Pixels around local points, within the renderer's box; None where there are none."""
        pixels = self._face.pixels(points)
        wide = margin * self._face.height
        left, top = np.floor(pixels.min(0) - wide).astype(int)
        right, bottom = np.ceil(pixels.max(0) + wide).astype(int)
        box = max(left, self.box[0]), max(top, self.box[1]), min(right, self.box[2]), min(bottom, self.box[3])
        return (
            None if box[2] - box[0] < 2 or box[3] - box[1] < 2 else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
        )


def _head_reach(face: Face) -> tuple[float, float]:
    """Half the width and height of what a moving head takes along, local."""
    half = float(np.abs(face.points[[anatomy.LEFT_SIDE, anatomy.RIGHT_SIDE], 0]).mean())
    return STANDS * HEAD[0] * half, STANDS * HEAD[1]


class _Head:
    """How the nodes of a grid go along with a head that turns a little. Turning is what the depth of each place makes
    of it: the nose goes further than the ears, and the other way than the back of the head."""

    def __init__(self, face: Face, places: Array) -> None:
        points = face.points
        self._places = places - np.array([0, 0.45], np.float32)  # it turns about the top of the neck
        middle = np.array([0, MIDDLE], np.float32)
        ellipse = (places - middle) / (np.array(_head_reach(face), np.float32) / STANDS)
        away = (np.sqrt((ellipse**2).sum(1)) - 1) / (STANDS - 1)
        self._along = (1 - _smooth(away))[:, None]
        self._depth = _depth_at(places, points, face.depth)

    def displacements(self, look: Look) -> Array:
        """float32[nodes, 2]: from where a node's colour comes, local."""
        roll, yaw, pitch, across, down = look.pose
        x, y = self._places[:, 0], self._places[:, 1]
        moved = np.stack([-roll * y + yaw * self._depth + across, roll * x + pitch * self._depth + down], 1)
        return -self._along * moved.astype(np.float32)


def _depth_at(places: Array, points: Array, depth: Array) -> Array:
    """A smooth surface through the face's points, going on beyond them."""
    square = ((places[:, None] - points[None]) ** 2).sum(-1)
    weight = np.exp((square.min(1, keepdims=True) - square) / (2 * 0.05**2))
    return (weight @ depth) / weight.sum(1)


def _smooth(value: Array) -> Array:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def _clipped(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    left, top, right, bottom = box
    return (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )


def skin_of(picture: Pixels, face: Face) -> Array:
    """The colour of the skin, float32[3], RGB from 0 to 255."""
    left, top, right, bottom = SKIN
    x, y = np.meshgrid(np.linspace(left, right, 24), np.linspace(top, bottom, 12))
    skin = _colours(picture, face, np.stack([x, y], -1).reshape(-1, 2).astype(np.float32))
    return np.median(skin, axis=0)


def teeth_of(picture: Pixels, face: Face) -> tuple[Teeth, float] | None:
    """The upper teeth that the picture shows, and how well; None where it shows none."""
    if face.gap < SHOWS_TEETH:
        return None
    upper = face.points[list(anatomy.UPPER_INNER)]
    half = float(upper[-1, 0] - upper[0, 0]) / 2
    across = np.linspace(-half, half, TEETH_COLUMNS, dtype=np.float32) + float(upper[[0, -1], 0].mean())
    height = 0.8 * face.gap
    lip = np.interp(across, upper[:, 0], upper[:, 1]).astype(np.float32)
    below = np.linspace(0, height, TEETH_ROWS, dtype=np.float32)
    y = lip[None] + below[:, None]
    x = np.broadcast_to(across, y.shape)
    strip = _colours(picture, face, np.stack([x, y], -1).reshape(-1, 2)).reshape(TEETH_ROWS, TEETH_COLUMNS, 3)
    middle = strip[2:-2, TEETH_COLUMNS // 3 : -TEETH_COLUMNS // 3].reshape(-1, 3)
    bright = float(np.median(middle.mean(1))) / max(float(skin_of(picture, face).mean()), 1.0)
    colourful = float(np.median((middle.max(1) - middle.min(1)) / np.maximum(middle.max(1), 1)))
    if bright < BRIGHT_TEETH or colourful > PALE_TEETH:
        return None
    return Teeth(strip=strip, height=height, half_width=half), bright * face.gap


def _colours(picture: Pixels, face: Face, places: Array) -> Array:
    """float32[n, 3] at local places, bilinear."""
    height, width = picture.shape[:2]
    pixels = face.pixels(places) - 0.5
    x, y = np.clip(pixels[:, 0], 0, width - 1.001), np.clip(pixels[:, 1], 0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = picture[top, left] * (1 - fx) + picture[top, right] * fx
    return (upper * (1 - fy) + (picture[low, left] * (1 - fx) + picture[low, right] * fx) * fy).astype(np.float32)

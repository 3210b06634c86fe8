"""Every face of a picture, from the portrait that fills it to the small ones of a group.

The near network sees faces of an eighth of its view and more, the far one down to a sixteenth. The whole picture is
shown to both; then overlapping tiles of it to the far one, smaller from level to level, until the smallest face that is
asked for fills enough of a tile. What several views saw of one face is merged; a face cut off by a tile's edge is left
to the tile beside it, which sees all of it. Faces lying on their side or upside down are not found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.engines.faces.models import DETECT_FAR, DETECT_NEAR
from springtide.engines.onnx import open_session

if TYPE_CHECKING:
    import onnxruntime

SCORE_MIN = 0.5  # MediaPipe's own threshold
SAME_FACE_OVERLAP = 0.3  # intersection over union, MediaPipe's own
SAME_FACE_INSIDE = 0.6  # of the smaller one's area: a part of a face seen as a face
SMALLEST = 24.0  # pixels: below, eyes and mouth are blots that no network can tell apart
SMALLEST_PART = 1 / 64  # of the longer side: in a scan of 6000 pixels, faces of 94 and more
SEEN_FROM = 0.07  # of its view: the smallest face the far network finds (the portrait pasted at falling sizes: 0.055)
LARGEST_IN_TILE = 0.35  # of a tile: what is larger is seen at the level before
EDGE = 0.01  # of a tile: a box that reaches so near is taken for cut off
SAMPLES = 4  # a pixel of the network's view is averaged from at most 4 × 4 of the picture's


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face: its box and six points, in pixels of the picture."""

    box: tuple[float, float, float, float]  # left, top, right, bottom; from the brow to the chin
    points: NDArray[np.float32]  # [6, 2]: eyes, nose, mouth, ears; of each pair the one at the picture's left first
    score: float

    @property
    def side(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class _View:
    """A square of the picture, which may reach beyond it."""

    left: float
    top: float
    side: float


class FaceDetector:
    """Two networks, loaded. `threads`: one is fastest for networks so small."""

    def __init__(self, weights_folder: Path, *, threads: int = 1, providers: str | Sequence[str] = "cpu") -> None:
        near = open_session(weights_folder / DETECT_NEAR.path, threads=threads, providers=providers)
        far = open_session(weights_folder / DETECT_FAR.path, threads=threads, providers=providers)
        self._near = _Network(near, grids=((16, 2), (8, 6)))
        self._far = _Network(far, grids=((48, 1),))

    def find(self, rgb: NDArray[np.uint8], *, smallest: float | None = None) -> list[FoundFace]:
        """Faces, the largest first.

        rgb: uint8[height, width, 3]. smallest: pixels, the shortest face that is looked for; by default 24, in large
        pictures a 64th of the longer side. Time grows with the number of tiles: 5 ms each.
        """
        height, width = rgb.shape[:2]
        longer = max(height, width)
        smallest = max(SMALLEST, longer * SMALLEST_PART) if smallest is None else smallest
        whole = _View((width - longer) / 2, (height - longer) / 2, longer)
        found = self._near.find(rgb, whole) + self._far.find(rgb, whole)
        for view in _tiles(width, height, smallest=smallest):
            found += [face for face in self._far.find(rgb, view) if not _is_cut(face, view, width, height)]
        faces = [face for face in _merged(found) if face.side >= smallest / 2]
        return sorted(faces, key=lambda face: face.side, reverse=True)


class _Network:
    """One detector: a box and a score for each anchor of its grids."""

    def __init__(self, session: onnxruntime.InferenceSession, *, grids: Sequence[tuple[int, int]]) -> None:
        self._session = session
        self._side = int(session.get_inputs()[0].shape[1])
        # Anchors are the middles of the grid's cells, row by row, several times each.
        self._anchors = np.array(
            [
                ((x + 0.5) / cells, (y + 0.5) / cells)
                for cells, times in grids
                for y in range(cells)
                for x in range(cells)
                for _ in range(times)
            ],
            np.float32,
        )

    def find(self, rgb: NDArray[np.uint8], view: _View) -> list[FoundFace]:
        pixels = _shown(rgb, view, self._side)[np.newaxis].astype(np.float32) / 127.5 - 1.0
        outputs: Any = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        boxes, scores = sorted((output[0] for output in outputs), key=lambda one: -one.shape[1])
        likely = 1.0 / (1.0 + np.exp(-np.clip(scores[:, 0], -50.0, 50.0)))
        chosen = np.flatnonzero(likely >= SCORE_MIN)
        anchors = self._anchors[chosen]
        values = boxes[chosen].reshape(-1, 8, 2) / self._side  # middle, size, six points
        middles, sizes, points = values[:, 0] + anchors, values[:, 1], values[:, 2:] + anchors[:, np.newaxis]
        corners = np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=1)
        offset = np.array([view.left, view.top], np.float32)
        corners = corners * view.side + np.tile(offset, 2)
        points = points * view.side + offset
        return [
            FoundFace((float(box[0]), float(box[1]), float(box[2]), float(box[3])), spots, float(likely[index]))
            for index, box, spots in zip(chosen, corners, points, strict=True)
        ]


def _shown(rgb: NDArray[np.uint8], view: _View, side: int) -> NDArray[np.uint8]:
    """What lies in the view, uint8[side, side, 3]; black beyond the picture."""
    height, width = rgb.shape[:2]
    left, top = max(0, round(view.left)), max(0, round(view.top))
    right, bottom = min(width, round(view.left + view.side)), min(height, round(view.top + view.side))
    step = max(1, int(view.side // (side * SAMPLES)))
    part = Image.fromarray(np.ascontiguousarray(rgb[top:bottom:step, left:right:step]))
    scale = side / view.side
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    part = part.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(part, (round((left - view.left) * scale), round((top - view.top) * scale)))
    return np.asarray(canvas)


def _tiles(width: int, height: int, *, smallest: float) -> list[_View]:
    """Overlapping squares, from large to small, that together show every face from `smallest` on."""
    views: list[_View] = []
    longer, last = float(max(width, height)), smallest / SEEN_FROM
    side = longer
    while side > last * 1.15:  # a view a little too large finds nearly as much
        side = max(last, side / 3)
        for top in _starts(height, side):
            views += [_View(left, top, side) for left in _starts(width, side)]
    return views


def _starts(length: int, side: float) -> list[float]:
    """Where tiles begin along one axis, evenly spread; each face of a tile's size is whole in one of them."""
    if length <= side:
        return [(length - side) / 2]
    count = math.ceil((length - side) / (side * (1 - LARGEST_IN_TILE))) + 1
    return [index * (length - side) / (count - 1) for index in range(count)]


def _is_cut(face: FoundFace, view: _View, width: int, height: int) -> bool:
    """Whether the face reaches a side of the view behind which the picture goes on."""
    edge = view.side * EDGE
    left, top, right, bottom = face.box
    return (
        (left < view.left + edge and view.left > edge)
        or (top < view.top + edge and view.top > edge)
        or (right > view.left + view.side - edge and view.left + view.side < width - edge)
        or (bottom > view.top + view.side - edge and view.top + view.side < height - edge)
    )


def _merged(found: Sequence[FoundFace]) -> list[FoundFace]:
    """One face for all that were seen at one place: the mean, weighted by score, of those that agree with the best."""
    left = sorted(found, key=lambda face: face.score, reverse=True)
    faces: list[FoundFace] = []
    while left:
        best = left[0]
        shares = [_shares(best, other) for other in left]
        same = [face for face, (union, _) in zip(left, shares, strict=True) if union >= SAME_FACE_OVERLAP]
        weights = np.array([face.score for face in same])
        box = np.average([face.box for face in same], axis=0, weights=weights)
        points = np.average([face.points for face in same], axis=0, weights=weights).astype(np.float32)
        faces.append(FoundFace((float(box[0]), float(box[1]), float(box[2]), float(box[3])), points, best.score))
        left = [
            face
            for face, (union, inside) in zip(left, shares, strict=True)
            if union < SAME_FACE_OVERLAP and inside < SAME_FACE_INSIDE
        ]
    return faces


def _shares(one: FoundFace, other: FoundFace) -> tuple[float, float]:
    """The boxes' common area, as a part of both together and of the smaller one."""
    across = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    down = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    common = max(0.0, across) * max(0.0, down)
    first, second = _area(one), _area(other)
    return common / max(first + second - common, 1e-9), common / max(min(first, second), 1e-9)


def _area(face: FoundFace) -> float:
    return max(0.0, face.box[2] - face.box[0]) * max(0.0, face.box[3] - face.box[1])

"""The 468 landmarks of a face: eyes, brows, nose, lips and outline, in three dimensions.

A region (middle, side, angle) says where the face is; the network is shown that square, turned upright. A still takes
two looks: the second region comes from the first landmarks, so it does not matter much how well the detector aimed. In
a film each frame's landmarks give the next frame's region, and no detection is needed while `presence` stays high.
Numbers of the points: MediaPipe's canonical face model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from springtide.engines.faces.detect import FoundFace
from springtide.engines.faces.models import MESH
from springtide.engines.faces.warp import Matrix, inverse, mapped, scale, warped
from springtide.engines.onnx import open_session

SIDE = 192  # pixels: the network's view
MARGIN = 1.5  # side of the region over that of the face, as the network was trained
PRESENT_FROM = 0.5  # MediaPipe's own threshold
LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 33, 263  # the outer ones, left and right as in the picture


@dataclass(frozen=True, slots=True)
class Region:
    """A square around a face, turned by `angle` (radians, clockwise as seen)."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What the network saw in a region."""

    points: NDArray[np.float32]  # [468, 3]: x and y in pixels of the picture, depth in the same scale
    presence: float  # 0 to 1: whether there is a face at all
    region: Region  # where to look in the next frame

    @property
    def is_face(self) -> bool:
        return self.presence >= PRESENT_FROM


class FaceMesh:
    """The network, loaded."""

    def __init__(self, weights_folder: Path, *, threads: int = 1, providers: str | Sequence[str] = "cpu") -> None:
        self._session = open_session(weights_folder / MESH.path, threads=threads, providers=providers)
        self._points, self._presence = (output.name for output in self._session.get_outputs())

    def measure(self, rgb: NDArray[np.uint8], found: FoundFace) -> Landmarks:
        """Landmarks of a face that the detector found, in two looks. rgb: uint8[height, width, 3]."""
        first = self.look(rgb, _region_of(found))
        return self.look(rgb, first.region) if first.is_face else first

    def look(self, rgb: NDArray[np.uint8], region: Region) -> Landmarks:
        """Landmarks in a region, in one look."""
        matrix = _to_view(region)
        view = warped(rgb, matrix, (SIDE, SIDE))[np.newaxis].astype(np.float32) / 255.0
        names = [self._points, self._presence]
        outputs: Any = self._session.run(names, {self._session.get_inputs()[0].name: view})
        points = outputs[0].reshape(-1, 3)
        back = inverse(matrix)
        flat = mapped(points[:, :2], back)
        placed = np.concatenate([flat, points[:, 2:] * scale(back)], axis=1).astype(np.float32)
        presence = 1.0 / (1.0 + math.exp(-float(np.clip(outputs[1].reshape(-1)[0], -50.0, 50.0))))
        return Landmarks(placed, presence, region_around(flat))


def _region_of(found: FoundFace) -> Region:
    """Where to look for the landmarks of a face that the detector found."""
    left, top, right, bottom = found.box
    across, down = found.points[1] - found.points[0]  # from eye to eye
    angle = math.atan2(float(down), float(across))
    return Region((left + right) / 2, (top + bottom) / 2, found.side * MARGIN, angle)


def _to_view(region: Region) -> Matrix:
    """From the picture to the network's view."""
    zoom = SIDE / region.side
    cosine, sine = math.cos(region.angle) * zoom, math.sin(region.angle) * zoom
    turn = np.array([[cosine, sine], [-sine, cosine]])
    move = SIDE / 2 - turn @ (region.x, region.y)
    return np.concatenate([turn, move[:, np.newaxis]], axis=1)


def region_around(points: NDArray[np.floating]) -> Region:
    """The region around landmarks (float[468, 2 or 3]), turned along the line of the eyes."""
    points = points[:, :2]
    across, down = points[RIGHT_EYE_CORNER] - points[LEFT_EYE_CORNER]
    angle = math.atan2(float(down), float(across))
    cosine, sine = math.cos(angle), math.sin(angle)
    upright = points @ np.array([[cosine, -sine], [sine, cosine]])
    low, high = upright.min(0), upright.max(0)
    x, y = np.array([[cosine, -sine], [sine, cosine]]) @ ((low + high) / 2)
    return Region(float(x), float(y), float(max(high - low)) * MARGIN, angle)

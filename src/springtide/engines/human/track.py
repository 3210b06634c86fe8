"""One face followed through a film: found once, then carried from frame to frame, and looked for again when lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from springtide.engines.faces.detect import FaceDetector, FoundFace
from springtide.engines.faces.mesh import FaceMesh, Landmarks, Region
from springtide.engines.human import anatomy
from springtide.engines.human.anatomy import Face, face_of
from springtide.engines.human.warp import Array, Pixels

LOOK_AGAIN = 5  # frames: a film without a face is searched every so often
SMALLEST_PART = 1 / 14  # of the longer side: smaller faces of a film are left alone
REACH = 3  # frames before and after that smooth a frame's landmarks
SPREAD = 1.3  # frames
MOUTH = 3  # of the detector's points
ELSEWHERE = 0.2  # heights: detector and mesh put a mouth within 0.08 of each other, where the face stands or lies
STILLNESS = (
    0.02  # heights: landmarks that moved less are taken for the same, shaken; a frame that moves more is left alone
)


class Follower:
    """Finds the largest face and stays with it."""

    def __init__(self, detector: FaceDetector, mesh: FaceMesh) -> None:
        self._detector, self._mesh = detector, mesh
        self._region: Region | None = None
        self._since = LOOK_AGAIN
        self.most_faces = 0

    def __call__(self, frame: Pixels) -> Array | None:
        """Landmarks float32[468, 3] in pixels, or None where no face is seen."""
        self._since += 1
        if self._region is not None:
            seen = self._mesh.look(frame, self._region)
            if seen.is_face:
                self._region = seen.region
                return seen.points
            self._region, self._since = None, LOOK_AGAIN
        if self._since < LOOK_AGAIN:
            return None
        self._since = 0
        faces = found_in(frame, self._detector)
        self.most_faces = max(self.most_faces, len(faces))
        for face in faces:
            seen = measured(frame, face, self._mesh)
            if seen is not None:
                self._region = seen.region
                return seen.points
        return None


def found_in(frame: Pixels, detector: FaceDetector) -> list[FoundFace]:
    """The faces worth animating, the largest first."""
    return detector.find(frame, smallest=max(frame.shape[:2]) * SMALLEST_PART)


def measured(frame: Pixels, found: FoundFace, mesh: FaceMesh) -> Landmarks | None:
    """The landmarks of a found face, or None where the mesh sees something else: given a face upside down, it imagines
    an upright one, with the mouth on the forehead."""
    seen = mesh.measure(frame, found)
    mouth = seen.points[[anatomy.UPPER_MIDDLE, anatomy.LOWER_MIDDLE], :2].mean(0)
    apart = float(np.hypot(*(mouth - found.points[MOUTH])))
    return seen if seen.is_face and apart < ELSEWHERE * face_of(seen.points).height else None


def steady(frames: Iterable[Pixels], follow: Follower) -> Iterator[tuple[Pixels, Face | None]]:
    """Each frame with its face. Landmarks tremble by half a pixel where a face is at rest: there they are averaged with
    those of the frames before and after; where it moves they are taken as they are, so nothing lags behind."""
    waiting: deque[tuple[Pixels, Array | None]] = deque()
    past: deque[Array | None] = deque([None] * REACH, maxlen=REACH)

    def first() -> tuple[Pixels, Face | None]:
        frame, points = waiting.popleft()
        mesh = None if points is None else _averaged(points, past, [other for _, other in waiting])
        past.append(points)
        return frame, None if mesh is None else face_of(mesh)

    for frame in frames:
        waiting.append((frame, follow(frame)))
        if len(waiting) > REACH:
            yield first()
    while waiting:
        yield first()


def _averaged(points: Array, before: Iterable[Array | None], after: Iterable[Array | None]) -> Array:
    height = face_of(points).height
    total, weights = points.astype(np.float64), 1.0
    for others in (reversed(list(before)), after):
        for distance, other in enumerate(others, start=1):
            if other is None:
                break
            way = float(np.abs(other[:, :2] - points[:, :2]).mean()) / height
            weight = float(np.exp(-0.5 * (distance / SPREAD) ** 2 - 0.5 * (way / STILLNESS) ** 2))
            total += weight * other
            weights += weight
    return (total / weights).astype(np.float32)

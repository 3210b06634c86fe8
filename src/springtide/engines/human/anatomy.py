"""Where lips, jaw and eyes are in a mesh of 468 points, and a face's own system of coordinates.

Point numbers are those of MediaPipe's canonical face mesh; left and right are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from springtide.engines.human.warp import Array

UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
JAW_FOLLOWS = (0.15, 0.3, 0.45, 0.6, 0.78, 0.92, 1.0, 0.92, 0.78, 0.6, 0.45, 0.3, 0.15)  # the chin most
BELOW_LIP = (18, 83, 313, 200, 201, 421, 199, 208, 428, 175, 171, 396)
CHEEKS = (205, 425, 207, 427, 187, 411, 216, 436, 206, 426)
# Nose, eyes, brows, temples, cheekbones: what stays where it is when somebody speaks.
STILL = (
    1,
    2,
    98,
    327,
    4,
    48,
    278,
    33,
    133,
    362,
    263,
    168,
    10,
    54,
    284,
    127,
    356,
    93,
    323,
    132,
    361,
    50,
    280,
    164,
    58,
    288,
    234,
    454,
    9,
    151,
)
UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
BROWS = ((46, 53, 52, 65, 55), (285, 295, 282, 283, 276))  # their lower edges
LEFT_EYE, RIGHT_EYE, CHIN, FOREHEAD = 33, 263, 152, 10
LEFT_CORNER, RIGHT_CORNER, UPPER_MIDDLE, LOWER_MIDDLE = 61, 291, 13, 14
LEFT_SIDE, RIGHT_SIDE, NOSE_ROOT, NOSE_BASE = 234, 454, 168, 2

# A face is about so much higher than these are long; the longer of both counts, as turning shortens one of them.
HEIGHT_PER_EYES = 1.72  # outer corner to outer corner
HEIGHT_PER_NOSE = 3.1  # root to base


@dataclass(frozen=True)
class Face:
    """One face in one picture. Local coordinates: x to the picture's right along the mouth, y down, origin between the
    corners of the mouth, in heights of the face (hairline to chin)."""

    points: Array  # float32[468, 2], local
    depth: Array  # float32[468], local, larger is nearer to who looks
    origin: Array  # float32[2], pixels
    axes: Array  # float32[2, 2]: columns are the local axes in pixels, of length 1
    height: float  # pixels

    def local(self, pixels: Array) -> Array:
        """Pixels, float[n, 2], to local coordinates."""
        return (pixels - self.origin) @ self.axes / np.float32(self.height)

    def pixels(self, local: Array) -> Array:
        """And back."""
        return (local * np.float32(self.height)) @ self.axes.T + self.origin

    @property
    def gap(self) -> float:
        """Between the inner lips in the middle, local."""
        return float(max(0.0, self.points[LOWER_MIDDLE, 1] - self.points[UPPER_MIDDLE, 1]))

    @property
    def turned(self) -> float:
        """Degrees by which the face looks to the side, about."""
        across = self.points[RIGHT_SIDE, 0] - self.points[LEFT_SIDE, 0]
        return float(np.degrees(np.arctan2(abs(self.depth[RIGHT_SIDE] - self.depth[LEFT_SIDE]), max(across, 1e-6))))


def face_of(mesh: Array) -> Face:
    """mesh: float32[468, 3], pixels; the third is the depth, smaller is nearer."""
    flat = mesh[:, :2].astype(np.float32)
    eyes = flat[RIGHT_EYE] - flat[LEFT_EYE]
    nose = flat[NOSE_BASE] - flat[NOSE_ROOT]
    height = max(HEIGHT_PER_EYES * float(np.hypot(*eyes)), HEIGHT_PER_NOSE * float(np.hypot(*nose)), 1e-3)
    down = flat[CHIN] - flat[FOREHEAD]
    down = down / max(float(np.hypot(*down)), 1e-6)
    axes = np.array([[down[1], down[0]], [-down[0], down[1]]], np.float32)
    origin = flat[[LEFT_CORNER, RIGHT_CORNER]].mean(0)
    return Face(
        points=(flat - origin) @ axes / np.float32(height),
        depth=-mesh[:, 2].astype(np.float32) / np.float32(height),
        origin=origin,
        axes=axes,
        height=height,
    )

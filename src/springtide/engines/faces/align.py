"""Faces moved, turned and scaled to where a restorer expects them: a square with eyes, nose and mouth at fixed places.

Restorers are trained on faces aligned to one template each; on another they give worse faces. Points are in the order
left eye, right eye, nose tip, left and right corner of the mouth, left and right as in the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from springtide.engines.faces.template import Template
from springtide.engines.faces.warp import Matrix, scale

SIDE = 512  # pixels of the aligned square


# FFHQ: facexlib's and GFPGAN's, also CodeFormer's and facefusion's. GPEN: what that project's own alignment computes
# with its default inner padding of 0.25; the face stands 15 % smaller in the square.
TEMPLATES: dict[Template, NDArray[np.float64]] = {
    Template.FFHQ: np.array(
        [
            [192.98138, 239.94708],
            [318.90277, 240.1936],
            [256.63416, 314.01935],
            [201.26117, 371.41043],
            [313.08905, 371.15118],
        ]
    ),
    Template.GPEN: np.array([[202.04, 242.88], [309.43, 242.29], [256.08, 303.96], [211.96, 366.83], [300.89, 366.34]]),
}

# Numbers of the mesh's points (MediaPipe's canonical face model).
LEFT_EYE, RIGHT_EYE = (
    (33, 133, 159, 145),
    (362, 263, 386, 374),
)  # corners, upper and lower lid: their mean is the middle
NOSE_TIP, BELOW_TIP = 4, 1
MOUTH_CORNERS = (61, 291)


def five_points(mesh: NDArray[np.floating]) -> NDArray[np.float64]:
    """float[468, 3] to float64[5, 2]."""
    flat = mesh[:, :2].astype(np.float64)
    # The templates' nose point lies a third of the way from the mesh's tip to the point below it.
    nose = 0.65 * flat[NOSE_TIP] + 0.35 * flat[BELOW_TIP]
    eyes = [flat[list(eye)].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
    return np.stack([*eyes, nose, *flat[list(MOUTH_CORNERS)]])


def alignment(points: NDArray[np.floating], template: Template = Template.FFHQ) -> Matrix:
    """The map from the picture to the aligned square of 512 pixels, for `warp.warped`."""
    return similarity(points, TEMPLATES[template])


def native_side(matrix: Matrix) -> float:
    """Side of the aligned square as it lies in the picture, in the picture's pixels: how much there is to see."""
    return SIDE / scale(matrix)


def similarity(points: NDArray[np.floating], targets: NDArray[np.floating]) -> Matrix:
    """The move, turn and scale (float64[2, 3]) that bring points closest to targets, in the sense of least squares.

    Source: in the plane, with points as complex numbers, it is the linear regression z -> a z + b.
    """
    given, wanted = (np.asarray(one, np.float64) @ (1, 1j) for one in (points, targets))
    middle, aim = given.mean(), wanted.mean()
    factor = np.vdot(given - middle, wanted - aim) / max(np.vdot(given - middle, given - middle).real, 1e-12)
    move = aim - factor * middle
    return np.array([[factor.real, -factor.imag, move.real], [factor.imag, factor.real, move.imag]])

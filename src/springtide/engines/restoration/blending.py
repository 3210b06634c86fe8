"""A restored face into its picture: with the picture's own colours, and without an edge that could be seen.

All arrays are of the aligned square (512 pixels) unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from springtide.engines.faces.align import SIDE
from springtide.engines.faces.warp import Matrix, inverse, mapped, translated, warped

COLOUR_RADIUS = 24  # pixels: what is coarser than this is colour and light, and stays the picture's
BORDER = 40  # pixels of the square that are not pasted: networks draw badly where they see no further
FEATHER = 18  # radius of the blur at the border
SHARED = 0.15  # how softly two faces that overlap are parted, in radii of a face
NEAR = 1.5  # squares: faces further away have no part in this one
GRAIN, GRAIN_MIN = 0.7, 0.7  # how much of the grain comes back; grey levels below which none is seen
GREY = np.array([0.299, 0.587, 0.114], np.float32)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.floating]


def colour_matched(made: Pixels, original: Pixels, *, is_grey: bool) -> Pixels:
    """The restored face in the colours and the light of the original one."""
    if is_grey:
        made = np.repeat(np.rint(made @ GREY).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    detail = made.astype(np.int16) - _blurred(made)
    return (_blurred(original) + detail).clip(0, 255).astype(np.uint8)


def grained(made: Pixels, original: Pixels) -> Pixels:
    """The restored face with grain as its surroundings have it: without, it looks pasted into an old photograph.

    original: the aligned face in as many pixels as the picture has for it, uint8[side, side, 3].
    """
    strength = grain_of(original[_inner(original)] @ GREY) * GRAIN
    if strength < GRAIN_MIN:
        return made
    noise = np.random.default_rng(0).normal(0.0, strength, original.shape[:2]).astype(np.float32)
    coarse = np.asarray(Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.rint(made + coarse[..., np.newaxis]).clip(0, 255).astype(np.uint8)


def grain_of(grey: NDArray[np.float32]) -> float:
    """Deviation of the noise in a grey picture, in grey levels. Edges hardly count: it is a median.

    Source: J. Immerkær, Fast Noise Variance Estimation (1996), with the median for the mean.
    """
    rows = grey[:-2] - 2.0 * grey[1:-1] + grey[2:]
    return float(np.median(np.abs(rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]))) * 1.4826 / 6.0


def face_mask(matrix: Matrix, points: Points, others: Sequence[Points]) -> Mask:
    """How much of the square is pasted, 0 to 1: all but a soft border, and what lies nearer to another face.

    matrix: from the picture to the square. points: the face's five, in the picture; others: those of the other faces.
    """
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[BORDER:-BORDER, BORDER:-BORDER] = 255
    mask = np.asarray(Image.fromarray(square).filter(ImageFilter.GaussianBlur(FEATHER)), np.float32) / 255.0
    own = _radii_away(mapped(points, matrix))
    for other in others:
        there = mapped(other, matrix)
        if np.abs(there.mean(0) - SIDE / 2).max() < SIDE * NEAR:
            nearer = np.clip((own - _radii_away(there)) / SHARED, -30.0, 30.0)
            mask = mask / (1.0 + np.exp(nearer))
    return mask


def paste(canvas: Pixels, face: Pixels, mask: Mask, matrix: Matrix) -> None:
    """Blend the square into the canvas, in place. matrix: from the canvas to the square."""
    back = inverse(matrix)
    corners = mapped(np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64), back)
    height, width = canvas.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int), (width, height))
    if right <= left or bottom <= top:
        return
    here, size = translated(back, -left, -top), (int(right - left), int(bottom - top))
    drawn = warped(face, here, size).astype(np.float32)
    # The mask is 0 all along the square's edge, which `warped` repeats beyond it.
    share = warped(np.rint(mask * 255.0).astype(np.uint8), here, size).astype(np.float32)[..., np.newaxis] / 255.0
    part = canvas[top:bottom, left:right]
    part[...] = np.rint(part + (drawn - part) * share).astype(np.uint8)


def sharpness(face: Pixels) -> float:
    """Mean strength of edges inside the face, grey levels: the Laplacian's size."""
    grey = face[_inner(face)].astype(np.float32) @ GREY
    inner = grey[1:-1, 1:-1]
    edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4.0 * inner
    return float(np.abs(edges).mean())


def _radii_away(points: NDArray[np.float64]) -> Mask:
    """Each pixel's distance from a face, given its five points, in radii of that face."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    radius = max(float(np.linalg.norm(points[1] - points[0])), float(np.linalg.norm(mouth - eyes)), 1.0)
    x, y = points.mean(0)
    row, column = np.ogrid[0:SIDE, 0:SIDE]
    return (np.hypot(column - x, row - y) / radius).astype(np.float32)


def _inner(face: Pixels) -> tuple[slice, slice]:
    """The face without hair and background, for figures."""
    inner = slice(face.shape[0] // 4, 3 * face.shape[0] // 4)
    return inner, inner


def _blurred(face: Pixels) -> NDArray[np.int16]:
    return np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(COLOUR_RADIUS))).astype(np.int16)

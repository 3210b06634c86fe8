"""The colours of half-transparent pixels without the background that shines through them.

A pixel of hair in front of a green wall is partly green: pasted on another background it keeps a green rim. What the
subject's and the background's own colours are there is estimated from those nearby that are purely one of the two, and
the pixel is solved for the subject's. Opaque pixels are never touched.
Source: the estimate is fill by pyramid (Gortler and others, The Lumigraph, 1996, section 3.4.2), the solution that of
Forte, Approximate Fast Foreground Colour Estimation, 2021, equation 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.engines.matting.networks import Floats

PURE = 0.9  # alpha from which on a pixel is taken for pure subject, and its complement for pure background


def without_background(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, side: int, fill: bool = False
) -> NDArray[np.uint8]:
    """The picture with the background's colour taken out of half-transparent pixels.

    rgb: uint8[height, width, 3]. alpha: uint8[height, width]. side: longest of the estimate, pixels.
    fill: where alpha is 0 the subject's colours go on smoothly instead of the background: no lossy codec then bleeds
    the background, or black, into the edge.
    """
    height, width = alpha.shape
    share = min(1.0, side / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX), np.float32)
    opacity = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BOX), np.float32) / 255
    result = rgb.copy()
    if opacity.max() < PURE:  # there is no subject to take colours from
        result[alpha == 0] = 0
        return result
    subject = _enlarged(_filled(small, _pure(opacity)), (width, height))
    if fill:
        np.copyto(result, subject, where=(alpha == 0)[..., np.newaxis])
    half = (alpha > 0) & (alpha < 255)
    if half.any() and opacity.min() < 1 - PURE:
        behind = _enlarged(_filled(small, _pure(1 - opacity)), (width, height))
        a = alpha[half].astype(np.float32)[:, np.newaxis] / 255
        near = subject[half].astype(np.float32)
        solved = near + a * (rgb[half] - a * near - (1 - a) * behind[half])
        result[half] = np.rint(solved.clip(0, 255)).astype(np.uint8)
    return result


def _pure(opacity: Floats) -> Floats:
    return ((opacity - PURE) / (1 - PURE)).clip(0, 1)


def _filled(colours: Floats, weight: Floats) -> Floats:
    """Colours where `weight` is 1; elsewhere those of the nearest such pixels, softly mixed."""
    height, width = weight.shape
    weighted = colours * weight[..., np.newaxis]
    if height == 1 and width == 1:
        return weighted / max(float(weight[0, 0]), 1e-6)
    # Halve, with a last row or column of its own where odd.
    padded = ((0, height % 2), (0, width % 2))
    w4 = np.pad(weight, padded).reshape((height + 1) // 2, 2, (width + 1) // 2, 2)
    c4 = np.pad(weighted, (*padded, (0, 0))).reshape((height + 1) // 2, 2, (width + 1) // 2, 2, 3)
    w2 = w4.sum((1, 3))
    c2 = c4.sum((1, 3)) / np.maximum(w2, 1e-6)[..., np.newaxis]
    coarse = _filled(c2, np.minimum(w2, 1.0))
    around = _softened(coarse.repeat(2, 0).repeat(2, 1)[:height, :width])
    return weighted + around * (1 - weight[..., np.newaxis])


def _softened(colours: Floats) -> Floats:
    """The steps of a doubled picture made slopes: a quarter, a half, a quarter, along both axes."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[axis] = (1, 1)
        wide = np.pad(colours, pad, mode="edge").swapaxes(0, axis)
        colours = (0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]).swapaxes(0, axis)
    return colours


def _enlarged(colours: Floats, size: tuple[int, int]) -> NDArray[np.uint8]:
    small = Image.fromarray(np.rint(colours.clip(0, 255)).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR))

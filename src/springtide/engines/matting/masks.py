"""Masks after the network: small ones brought to the picture's own edges, those of a video kept from flickering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from springtide.engines.matting.networks import Floats

WORK_SIDE = 384  # longest side at which the edge is looked for, pixels
FULL_SIDE = 2048  # longest side at which the result is worked out; larger pictures scale it up: memory
RADIUS = 4  # pixels at WORK_SIDE: nearly three of a network of 256
SURE = 0.15  # what such a network is within so much of none or all of, it means so: it seldom says 0 or 1
SURE_AFTER = 0.08  # and what the edge's own texture added to it
SMOOTH = 1e-3  # a brightness that varies by less than the root of it (8 of 255) is no edge

STEADY = 0.8  # part of the mask before in a pixel that the network is quite unsure of
CUT = 0.12  # mean difference of two frames, 0..1, from which on they are different shots


def refined(mask: Floats, picture: Image.Image) -> Floats:
    """The mask at the picture's size (at most FULL_SIDE), its edges where the picture has them.

    mask: float32[h, w], 0..1. picture: any mode. Source: He and Sun, Fast Guided Filter, 2015.
    """
    full = _fitted(picture.convert("L"), FULL_SIDE)
    work = _fitted(full, WORK_SIDE)
    guide = np.asarray(work, np.float32) / 255
    wanted = _scaled(_stretched(mask, SURE), work.size)
    mean_guide, mean_wanted = _boxed(guide), _boxed(wanted)
    variance = _boxed(guide * guide) - mean_guide * mean_guide
    slope = (_boxed(guide * wanted) - mean_guide * mean_wanted) / (variance + SMOOTH)
    level = mean_wanted - slope * mean_guide
    luma = np.asarray(full, np.float32) / 255
    found = _scaled(_boxed(slope), full.size) * luma + _scaled(_boxed(level), full.size)
    return _stretched(found, SURE_AFTER)


class Steady:
    """Masks of one video, in order: where the network is unsure, what it said a frame before counts as well. What it is
    sure of is taken at once, so nothing trails behind a quick hand; after a cut everything is new."""

    def __init__(self) -> None:
        self._before: Floats | None = None
        self._looked: Floats | None = None

    def __call__(self, mask: Floats, picture: Image.Image) -> Floats:
        look = np.asarray(picture.resize((64, 36), Image.Resampling.BOX).convert("L"), np.float32) / 255
        before, looked = self._before, self._looked
        if before is not None and looked is not None and float(np.abs(look - looked).mean()) < CUT:
            unsure = 1 - np.abs(2 * mask - 1)  # 1 at a half, 0 at both ends
            mask = mask + (before - mask) * (STEADY * unsure)
        self._before, self._looked = mask, look
        return mask


def as_picture(mask: Floats) -> Image.Image:
    """8-bit grey."""
    return Image.fromarray(np.rint(mask * 255.0).astype(np.uint8))


def _stretched(mask: Floats, slack: float) -> Floats:
    """What is within `slack` of 0 or 1 becomes it."""
    return ((mask - slack) / (1 - 2 * slack)).clip(0, 1)


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    share = side / max(picture.size)
    if share >= 1:
        return picture
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _scaled(values: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _boxed(values: Floats) -> Floats:
    """Mean over a square of 2 × RADIUS + 1 pixels around each; at the border over what there is of it, doubled."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (RADIUS + 1, RADIUS)
        sums = np.cumsum(np.pad(values, pad, mode="edge"), axis=axis, dtype=np.float32)
        upper, lower = np.split(sums, [2 * RADIUS + 1], axis=axis)[1], np.split(sums, [-(2 * RADIUS + 1)], axis=axis)[0]
        values = (upper - lower) / np.float32(2 * RADIUS + 1)
    return values

"""A blink: upper lids that come down over the eyes of a still picture."""

from __future__ import annotations

import numpy as np

from springtide.engines.human import anatomy
from springtide.engines.human.anatomy import Face
from springtide.engines.human.warp import Array

LASHES = 0.016, 0.003  # heights above and below the lid's edge: lashes and their shadow, which go down as they are
FOLD = 0.8  # of the way from the lid to the brow: the skin that stretches
BEYOND = 0.3  # of the eye's opening: meshes end above the lower lashes, and an iris must not look out below
CORNER = 0.02  # heights: towards the corners of an eye its lid moves less


def lids_lowered(face: Face, places: Array, *, eye: int, closed: float) -> tuple[Array, Array]:
    """One eye's lid (0 is the picture's left one), `closed` from 0 to 1.

    places: float32[n, 2], local. Returns where the lid's colours are, as displacements float32[n, 2], and how much lid
    there is to see, float32[n]. The eye behind it stays as it is. Lashes go down with the lid; the skin above them, up
    to below the brow, is stretched.
    """
    x, y = places[:, 0], places[:, 1]
    lid, low = _line(face, anatomy.UPPER_LIDS[eye], x), _line(face, anatomy.LOWER_LIDS[eye], x)
    low = np.maximum(low, lid)
    low += BEYOND * (low - lid)
    skin = lid - LASHES[0]
    fold = skin - FOLD * np.maximum(skin - _line(face, anatomy.BROWS[eye], x), CORNER)
    corners = face.points[list(anatomy.UPPER_LIDS[eye]), 0]
    soft = np.clip(np.minimum(x - corners.min(), corners.max() - x) / CORNER + 0.5, 0, 1)
    way = closed * soft * (low - lid)
    moved = np.zeros_like(places)
    stretch = (skin - fold) / np.maximum(skin + way - fold, 1e-4)
    moved[:, 1] = np.where(y < skin + way, fold + (y - fold) * stretch - y, -way)
    pixel = 1 / face.height
    edge = np.clip((lid + LASHES[1] + way - y) / (1.5 * pixel) + 0.5, 0, 1)
    return moved, edge * (y > fold) * (soft > 0)


def _line(face: Face, which: tuple[int, ...], x: Array) -> Array:
    points = face.points[list(which)]
    order = np.argsort(points[:, 0])
    return np.interp(x, points[order, 0], points[order, 1]).astype(np.float32)

"""Parts a picture into what stands in front and what is behind, each with a depth that is guessed.

The subject's mask comes from the matting network. Its colours are freed of the background that shines through hair and
soft edges (blur-fusion estimate, Forte 2021, arXiv:2103.10171), the background is painted in where the subject stood
(`filling`). The depth is no measurement: a ground that comes nearer towards the lower border, and a subject that stands
on it where its mask ends, rounded towards its middle. No subject, or nothing but one: the whole picture is one layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from springtide.engines.video.camera import Reach
from springtide.engines.video.filling import filled
from springtide.engines.video.layers import Layer

if TYPE_CHECKING:
    from springtide.engines.video.brushes import Field

DENSITY = 1.35  # pixels of a layer for one of the frame: sharp when the camera comes near, and when it is drawn turned
WIDEST = 1.8  # of the frame's width or height: what a camera of this engine can come to see of a panorama
MAP_ROWS = 24  # of a disparity map: smooth by construction
FAR, NEAR = 0.42, 1.0  # disparity of the background above the horizon, and at the lower border
HORIZON = 0.45  # of the picture's height
BULGE = 0.10  # disparity that the middle of a subject is nearer than its edge
LEAST_SUBJECT, MOST_SUBJECT = 0.004, 0.92  # of the picture's area: below is dirt, above there is no background
HAZE = (0.06, 0.96)  # alpha that becomes 0 and 1: networks leave a veil where there is nothing
DOUBT = (0.45, 0.75)  # mean of 4a(1 - a) around a pixel: an edge has 0.15, loose hair 0.4
MARGIN = 0.012  # of the frame's width: how far around the mask the background is not trusted


def part(picture: Image.Image, mask: Image.Image, width: int, height: int) -> list[Layer]:
    """Layers, far to near, for frames of width × height.

    picture: RGB, upright, any size. mask: 8-bit grey of any size over the same extent; white is subject.
    """
    picture, mask, reach = _framed(picture, mask, width, height)
    alpha = (np.asarray(mask, np.float32) / 255.0 - HAZE[0]) / (HAZE[1] - HAZE[0])
    around = max(2, round(MARGIN * width * DENSITY))
    alpha = _decided(alpha.clip(0.0, 1.0), around)
    share = float((alpha > 0.5).mean())
    if not LEAST_SUBJECT < share < MOST_SUBJECT:
        return [Layer(picture, None, _ground(), reach)]
    colours = np.asarray(picture, np.float32)
    behind = filled(picture, alpha, margin=around)
    front = _freed(colours, alpha, radius=around)
    soft = Image.fromarray(np.rint(alpha * 255.0).astype(np.uint8))
    return [
        Layer(behind, None, _ground(), reach),
        Layer(front, soft, _standing(alpha), reach),
    ]


def _framed(picture: Image.Image, mask: Image.Image, width: int, height: int) -> tuple[Image.Image, Image.Image, Reach]:
    """The part of the picture that can come into view, at the layers' density, and where the view's centre is in it."""
    scale = max(width / picture.width, height / picture.height)  # the frame is covered
    full_w, full_h = picture.width * scale, picture.height * scale  # frame pixels
    left, top, right, bottom = _subject_box(mask)
    centre_x = _centred((left + right) / 2 * full_w, width, full_w)
    # A face is in the upper part of a tall subject: headroom first, then the rest.
    centre_y = _centred(min((top + bottom) / 2 * full_h, top * full_h + 0.42 * height), height, full_h)
    half_w, half_h = WIDEST * width / 2, WIDEST * height / 2
    x0, x1 = max(0.0, centre_x - half_w), min(full_w, centre_x + half_w)
    y0, y1 = max(0.0, centre_y - half_h), min(full_h, centre_y + half_h)
    size = max(2, round((x1 - x0) * DENSITY)), max(2, round((y1 - y0) * DENSITY))
    cut = (x0 / scale, y0 / scale, x1 / scale, y1 / scale)
    across, down = mask.width / full_w, mask.height / full_h
    mask_cut = (x0 * across, y0 * down, x1 * across, y1 * down)
    reach = Reach((centre_x - x0) / width, (centre_y - y0) / width, (x1 - centre_x) / width, (y1 - centre_y) / width)
    return (
        picture.resize(size, Image.Resampling.LANCZOS, box=cut, reducing_gap=3.0),
        mask.resize(size, Image.Resampling.BICUBIC, box=mask_cut),
        reach,
    )


def _subject_box(mask: Image.Image) -> tuple[float, float, float, float]:
    """The subject's bounds as parts of the picture's; the whole picture where there is none."""
    box = mask.point([0] * 128 + [255] * 128).getbbox() or (0, 0, *mask.size)
    return box[0] / mask.width, box[1] / mask.height, box[2] / mask.width, box[3] / mask.height


def _centred(wanted: float, frame: float, full: float) -> float:
    """A centre of the view at which the frame stays on the picture."""
    return min(max(wanted, frame / 2), max(frame / 2, full - frame / 2))


def _ground() -> Field:
    """Disparity of a background: far above the horizon, then nearer in proportion to the height below it, which is what
    a plane has in perspective."""
    v = (np.arange(MAP_ROWS, dtype=np.float32) + 0.5) / MAP_ROWS
    column = FAR + (NEAR - FAR) * ((v - HORIZON) / (1.0 - HORIZON)).clip(0.0, 1.0)
    return np.repeat(_smooth_column(column)[:, None], 4, axis=1)


def _smooth_column(column: Field) -> Field:
    padded = np.pad(column, 2, mode="edge")
    return np.convolve(padded, np.full(5, 0.2, np.float32), "valid").astype(np.float32)


def _standing(alpha: Field) -> Field:
    """Disparity of the subject: that of the ground where it ends below, a little more towards its middle."""
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    foot = (rows[-1] + 1) / alpha.shape[0]
    on_ground = FAR + (NEAR - FAR) * max(0.0, (foot - HORIZON) / (1.0 - HORIZON))
    columns = max(4, round(MAP_ROWS * alpha.shape[1] / alpha.shape[0]))
    small = Image.fromarray(np.rint(alpha * 255.0).astype(np.uint8)).resize((columns, MAP_ROWS), Image.Resampling.BOX)
    inside = np.asarray(small.filter(ImageFilter.GaussianBlur(2.5)), np.float32) / 255.0
    return np.maximum(on_ground, FAR + 0.15) + BULGE * (inside**2 - 0.5)


def _decided(alpha: Field, radius: int) -> Field:
    """Things that the network is in two minds about, over more than an edge's width, are taken for subject or not: half
    of them before and half behind would be two ghosts when the camera moves. Hair keeps its softness."""
    doubt = _blurred((4.0 * alpha * (1.0 - alpha))[..., None], radius)[..., 0]
    wide = ((doubt - DOUBT[0]) / (DOUBT[1] - DOUBT[0])).clip(0.0, 1.0)
    return alpha * (1.0 - wide) + ((alpha - 0.25) / 0.2).clip(0.0, 1.0) * wide


def _freed(colours: Field, alpha: Field, *, radius: int) -> Image.Image:
    """The subject's own colours, also where it is half transparent, and somewhat beyond its edge."""
    a = alpha[..., None]
    front = _blurred(colours * a, radius) / np.maximum(_blurred(a, radius), 1e-3)
    back = _blurred(colours * (1.0 - a), radius) / np.maximum(_blurred(1.0 - a, radius), 1e-3)
    own = front + a * (colours - a * front - (1.0 - a) * back)
    own = np.where(a > 0.99, colours, own)
    return Image.fromarray(np.rint(own.clip(0.0, 255.0)).astype(np.uint8))


def _blurred(values: Field, radius: int) -> Field:
    """Mean over a square of 2·radius + 1 pixels, from running sums; borders are repeated."""
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (radius + 1, radius)
        sums = np.pad(values, pad, mode="edge").cumsum(axis=axis, dtype=np.float64)
        length = values.shape[axis]
        after = np.take(sums, range(2 * radius + 1, 2 * radius + 1 + length), axis=axis)
        before = np.take(sums, range(length), axis=axis)
        values = ((after - before) / (2 * radius + 1)).astype(np.float32)
    return values

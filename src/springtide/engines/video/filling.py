"""Paints a subject out of a picture: what a moving camera uncovers beside it must look like the rest.

Near the edge of the hole the picture goes on mirrored there, with its texture; deeper inside, where no camera of this
engine looks, colours flow in from all around, coarse to fine. It knows nothing of what it paints: a fence that ends
behind the subject ends in the air.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from springtide.engines.video.brushes import picture as painted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.engines.video.brushes import Field

FILL_AT = 4  # distances and flowing colours are worked out at a quarter of the size
MIRRORED = 6.0  # margins: how deep the mirrored texture goes before it has given way to flowing colours
SEEN_FROM = 0.03  # alpha from which a pixel is not the background's own


def filled(picture: Image.Image, alpha: Field, *, margin: int) -> Image.Image:
    """The picture without its subject.

    alpha: float32[height, width] of the picture. margin: pixels around the subject that are not trusted either (its
    shadow, what the mask missed).
    """
    hole = Image.fromarray(((alpha > SEEN_FROM) * 255).astype(np.uint8))
    wide = hole.filter(ImageFilter.BoxBlur(margin)).point([0] * 2 + [255] * 254)  # grown by `margin` pixels
    size = max(2, picture.width // FILL_AT), max(2, picture.height // FILL_AT)
    known = np.asarray(wide.resize(size, Image.Resampling.BOX)) == 0
    if not known.any():
        return picture
    flowed = _flowed(
        np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32), known[..., None].astype(np.float32)
    )
    rows, columns = _nearest(known)
    y, x = np.indices(known.shape, np.float32)
    off_y, off_x = _smoothed(rows - y, known), _smoothed(columns - x, known)
    deep = np.hypot(off_x, off_y) * FILL_AT
    mirror_y, mirror_x = y + 2.0 * off_y, x + 2.0 * off_x
    iy, ix = np.rint(mirror_y).astype(np.intp), np.rint(mirror_x).astype(np.intp)
    inside = (iy >= 0) & (iy < known.shape[0]) & (ix >= 0) & (ix < known.shape[1])
    usable = inside & known[iy.clip(0, known.shape[0] - 1), ix.clip(0, known.shape[1] - 1)]
    weight = np.where(usable, np.exp(-((deep / (MIRRORED * margin)) ** 4)), 0.0).astype(np.float32)
    fill = painted(flowed).resize(picture.size, Image.Resampling.BICUBIC)
    mirrored = _gathered(picture, mirror_x, mirror_y)
    trust = Image.fromarray(np.rint(weight * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    fill = Image.composite(mirrored, fill, trust.resize(picture.size, Image.Resampling.BILINEAR))
    return Image.composite(fill, picture, wide.filter(ImageFilter.BoxBlur(max(1, margin // 3))))


def _flowed(colours: Field, known: Field) -> Field:
    """Colours everywhere, from where they are known: averages of ever larger parts where nothing nearer is known.

    colours: float32[h, w, 3]. known: float32[h, w, 1], 0 to 1.
    """
    height, width = known.shape[:2]
    if height <= 1 and width <= 1:
        return colours
    even = ((0, height % 2), (0, width % 2), (0, 0))
    weight = _fours(np.pad(known, even))
    coarse = _fours(np.pad(colours * known, even)) / np.maximum(weight, 1e-6)
    below = _flowed(coarse, weight.clip(0.0, 1.0))
    return colours * known + _enlarged(below, (width, height)) * (1.0 - known)


def _fours(values: Field) -> Field:
    return values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]


def _enlarged(values: Field, size: tuple[int, int]) -> Field:
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(values[..., n])).resize(size, Image.Resampling.BILINEAR))
        for n in range(values.shape[2])
    ]
    return np.stack(channels, -1)


def _nearest(known: NDArray[np.bool_]) -> tuple[Field, Field]:
    """For each pixel the row and column of the known pixel next to it, by jump flooding (Rong & Tan 2006)."""
    height, width = known.shape
    y, x = np.indices(known.shape, np.float32)
    far = np.float32(4 * (height + width))
    rows, columns = np.where(known, y, -far), np.where(known, x, -far)
    step = 1 << (max(height, width) - 1).bit_length() >> 1
    while step:
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                if not (dy or dx):
                    continue
                their_rows, their_columns = _shifted(rows, dy, dx, -far), _shifted(columns, dy, dx, -far)
                nearer = np.hypot(their_rows - y, their_columns - x) < np.hypot(rows - y, columns - x)
                rows, columns = np.where(nearer, their_rows, rows), np.where(nearer, their_columns, columns)
        step >>= 1
    return rows, columns


def _shifted(values: Field, dy: int, dx: int, outside: np.float32) -> Field:
    """values[y + dy, x + dx] at [y, x]."""
    height, width = values.shape
    moved = np.full_like(values, outside)
    if abs(dy) >= height or abs(dx) >= width:
        return moved
    here_y, there_y = slice(max(0, -dy), min(height, height - dy)), slice(max(0, dy), min(height, height + dy))
    here_x, there_x = slice(max(0, -dx), min(width, width - dx)), slice(max(0, dx), min(width, width + dx))
    moved[here_y, here_x] = values[there_y, there_x]
    return moved


def _smoothed(offsets: Field, known: NDArray[np.bool_]) -> Field:
    """Offsets without jumps from one pixel of the edge to the next, which would tear the mirrored texture."""
    soft = offsets
    height, width = offsets.shape
    for _ in range(3):
        padded = np.pad(soft, 1, mode="edge")
        soft = np.mean([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
    return np.where(known, 0.0, soft).astype(np.float32)


def _gathered(picture: Image.Image, x: Field, y: Field) -> Image.Image:
    """The picture's pixels at (x, y), which are given at the fill's size."""
    pixels = np.asarray(picture)
    scale_x, scale_y = picture.width / x.shape[1], picture.height / x.shape[0]
    full_x = np.asarray(
        Image.fromarray((x + 0.5) * np.float32(scale_x)).resize(picture.size, Image.Resampling.BILINEAR)
    )
    full_y = np.asarray(
        Image.fromarray((y + 0.5) * np.float32(scale_y)).resize(picture.size, Image.Resampling.BILINEAR)
    )
    columns = full_x.astype(np.intp).clip(0, picture.width - 1)
    rows = full_y.astype(np.intp).clip(0, picture.height - 1)
    return Image.fromarray(pixels[rows, columns])

"""Pictures apart into what is treated alone: colours, transparency, whether there is colour at all; and together again.

Promises that grey stays grey, that transparency stays and nothing hidden under it shines through at its edges, and that
a colour profile goes on with its picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.domain.errors import InvalidInput
from springtide.media.images import open_rgba

PNG_LEVEL = 1  # a third of the time of Pillow's default, files 1.3 times as large (measured for matting)
QUALITY = 92  # JPEG and WebP
SPREAD = 16  # pixels: how far colours go on under transparent ones
ROWS = 256  # looked at in one piece

Pixels = NDArray[np.uint8]


class PictureFormat(StrEnum):
    """File format of a picture."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        return f"image/{self}"

    @property
    def max_side(self) -> int:
        """The format's own limit, pixels."""
        return {PictureFormat.JPEG: 65_500, PictureFormat.WEBP: 16_383}.get(self, 2**31 - 1)


@dataclass(frozen=True, slots=True)
class Parts:
    """A picture, upright, in parts."""

    rgb: Pixels  # uint8[h, w, 3]; under transparent pixels the colours beside them
    alpha: Image.Image | None  # 8-bit; None where all is opaque
    is_grey: bool
    profile: bytes | None

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


def load(path: Path) -> Parts:
    """Raises BadMedia."""
    picture = open_rgba(path)
    profile = picture.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and profile[16:20] in (b"RGB ", b"GRAY") else None
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        alpha = None
    rgb = np.asarray(picture.convert("RGB") if alpha is None else _spread(picture))
    is_grey = _is_grey(rgb)
    if profile is not None and (profile[16:20] == b"GRAY") != is_grey:
        profile = None  # of a print, or of colours that are none
    return Parts(rgb, alpha, is_grey, profile)


def save(rgb: Pixels, parts: Parts, path: Path, format_: PictureFormat) -> None:
    """Write `rgb` as what `parts` was: with its transparency scaled along, grey where it was grey."""
    height, width = rgb.shape[:2]
    picture = Image.fromarray(rgb)
    if parts.is_grey:
        picture = picture.convert("L")
    if parts.alpha is not None:
        alpha = parts.alpha.resize((width, height), Image.Resampling.BICUBIC)
        if format_ is PictureFormat.JPEG:
            picture.paste(
                255 if parts.is_grey else (255, 255, 255), mask=alpha.point([255 - one for one in range(256)])
            )
        else:
            picture.putalpha(alpha)
    if format_ is PictureFormat.PNG:
        picture.save(path, "PNG", compress_level=PNG_LEVEL, icc_profile=parts.profile)
    elif format_ is PictureFormat.JPEG:
        picture.save(path, "JPEG", quality=QUALITY, icc_profile=parts.profile)
    else:  # WebP knows no grey
        colours = picture.convert("RGBA" if parts.alpha is not None else "RGB")
        colours.save(path, "WEBP", quality=QUALITY, icc_profile=None if parts.is_grey else parts.profile)


def check_side(width: int, height: int, format_: PictureFormat) -> None:
    """Raise InvalidInput where the format cannot hold a picture of this size."""
    if max(width, height) > format_.max_side:
        message = f"{format_} holds at most {format_.max_side} pixels a side, the result is {width}x{height}: take png"
        raise InvalidInput(message, errors=[{"loc": "format", "message": message}])


def resized(rgb: Pixels, scale: int) -> Pixels:
    """Larger, without a network; a copy at the least."""
    if scale == 1:
        return rgb.copy()
    size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def _spread(picture: Image.Image) -> Image.Image:
    """RGB in which the colours of opaque pixels go on under transparent ones: black or noise that hides there would
    show at the edge once pixels are mixed."""
    small = picture.resize(
        (max(1, picture.width // SPREAD), max(1, picture.height // SPREAD)), Image.Resampling.BOX
    )  # Pillow weighs by transparency here
    beside = small.resize(picture.size, Image.Resampling.BICUBIC).convert("RGB")
    seen = picture.getchannel("A").point([0] + [255] * 255)
    beside.paste(picture.convert("RGB"), mask=seen)
    return beside


def _is_grey(rgb: Pixels) -> bool:
    parts = (rgb[top : top + ROWS] for top in range(0, rgb.shape[0], ROWS))
    return all(
        np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 1], part[..., 2]) for part in parts
    )

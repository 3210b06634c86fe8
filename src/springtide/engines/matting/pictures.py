"""From a picture and its mask to files. Mostly Pillow: its 8-bit pictures are the least memory there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageOps

from springtide.engines.matting.colours import without_background
from springtide.engines.matting.schema import Format

SUBJECT_FROM = 13  # of 255: what is fainter is haze, and would make a crop useless
PNG_LEVEL = 1  # 0.36 of the time of Pillow's default 6, a file 1.3 times as large (the portrait at 3000 × 3000)
WEBP_QUALITY = 90
WEBP_EFFORT = 2  # of 6: 0.7 of the time of the default 4, a file 4 % larger (the same picture)
COLOUR_SIDE = 1024  # pixels at which the colours of subject and background are told apart: a hair is wider

Behind = str | Image.Image | None  # a colour (#rgb or #rrggbb, # optional), a picture, or nothing


def cut_out(
    picture: Image.Image, mask: Image.Image, *, behind: Behind = None, crop: bool = False
) -> tuple[Image.Image, Image.Image]:
    """The cut-out and its mask, both of the picture's size, or of the subject's where cropped.

    picture: RGBA, upright. mask: 8-bit grey of any size.
    """
    if mask.size != picture.size:
        mask = mask.resize(picture.size, Image.Resampling.BICUBIC)
    alpha = picture.getchannel("A")
    if alpha.getextrema() != (255, 255):
        mask = ImageChops.multiply(mask, alpha)
    back = None if behind is None else backdrop(behind, picture.size)
    if crop and (box := mask.point(_from(SUBJECT_FROM)).getbbox()) is not None:
        picture, mask = picture.crop(box), mask.crop(box)
        back = back and back.crop(box)
    # What is fully transparent is made black: smaller files, and no background that an editor could bring back.
    cutout = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    cutout.paste(_cleaned(picture, mask), mask=mask.point(_from(1)))
    cutout.putalpha(mask)
    if back is not None:
        cutout = Image.alpha_composite(back.convert("RGBA"), cutout)
    if (profile := _rgb_profile(picture)) is not None:
        cutout.info["icc_profile"] = profile
    return cutout, mask


def backdrop(behind: str | Image.Image, size: tuple[int, int]) -> Image.Image:
    """What stands behind the subject, RGB: one colour, or a picture that fills the size, cut where it stands over."""
    if isinstance(behind, str):
        return Image.new("RGB", size, ImageColor.getrgb(f"#{behind.removeprefix('#')}"))
    return ImageOps.fit(behind.convert("RGB"), size, Image.Resampling.BICUBIC)


def save(picture: Image.Image, stem: Path, format_: Format) -> Path:
    """Write the picture; `stem` gets the format's ending."""
    path = stem.with_suffix(f".{format_}")
    profile = picture.info.get("icc_profile")
    if format_ is Format.PNG:
        picture.save(path, "PNG", compress_level=PNG_LEVEL, icc_profile=profile)
    else:
        picture.save(path, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT, icc_profile=profile)
    return path


def _cleaned(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture without the background's colour in its half-transparent pixels. Only where those are is looked at."""
    soft = mask.point([0, *[255] * 254, 0])
    box = soft.getbbox()
    if box is None:
        return picture
    rgb = np.asarray(picture.convert("RGB"))
    cleaned = Image.fromarray(without_background(rgb, np.asarray(mask), side=COLOUR_SIDE))
    result = picture.copy()
    result.paste(cleaned, mask=soft)
    return result


def _from(level: int) -> list[int]:
    """A table for `point`: white from `level` on, black below."""
    return [0] * level + [255] * (256 - level)


def _rgb_profile(picture: Image.Image) -> bytes | None:
    """The input's colour profile where it speaks of RGB: the pixels were not converted, so it still describes them."""
    profile = picture.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None

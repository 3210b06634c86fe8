"""One picture: decode, matte, encode. May run beside others of its kind on threads of their own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from springtide.domain.errors import InvalidInput
from springtide.engines.matting.masks import as_picture, refined
from springtide.engines.matting.networks import Network
from springtide.engines.matting.pictures import Behind, cut_out, save
from springtide.engines.matting.schema import Format, Input
from springtide.engines.protocol import Progress
from springtide.media.images import open_rgba

WEBP_MAX_SIDE = 16_383  # the format's own limit, pixels


class Cut(NamedTuple):
    """Files of the cut-out and its mask, and their size."""

    cutout: Path
    mask: Path
    width: int
    height: int
    frames: int | None = None


def cut_picture(inputs: Input, network: Network, progress: Progress) -> Cut:
    """Raises BadMedia, InvalidInput."""
    assert inputs.image is not None
    progress(0.0, "decode")
    picture = open_rgba(inputs.image.path)
    _check_size(picture, inputs.chosen_format)
    behind = backdrop_of(inputs)
    progress(0.1, "matte")
    mask = matte(network, picture)
    progress(0.8, "encode")
    cutout, mask = cut_out(picture, mask, behind=behind, crop=inputs.crop)
    del picture
    cutout_path = save(cutout, progress.folder / "cutout", inputs.chosen_format)
    progress(0.95, "encode")
    return Cut(cutout_path, save(mask, progress.folder / "mask", Format.PNG), mask.width, mask.height)


def matte(network: Network, picture: Image.Image) -> Image.Image:
    """The subject's mask, 8-bit grey, of the network's size or finer."""
    mask = network(picture)
    return as_picture(refined(mask, picture) if network.spec.is_coarse else mask)


def backdrop_of(inputs: Input) -> Behind:
    """What the caller wants behind the subject. Raises BadMedia."""
    if inputs.background_image is not None:
        return open_rgba(inputs.background_image.path)
    return inputs.background


def _check_size(picture: Image.Image, format_: Format) -> None:
    if format_ is Format.WEBP and max(picture.size) > WEBP_MAX_SIDE:
        message = f"WebP holds at most {WEBP_MAX_SIDE} pixels a side, the picture is {picture.width}x{picture.height}"
        raise InvalidInput(message, errors=[{"loc": "format", "message": message}])

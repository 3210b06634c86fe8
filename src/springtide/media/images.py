"""Pictures as engines want them: upright, 8 bits, RGB or RGBA, whatever was sent.

Promises that orientation tags are applied, that 16-bit and floating-point pictures are scaled instead of clipped, that
print colours (CMYK, also as Adobe stores them: inverted) come out as one sees them, and that palettes and grey keep
their transparency. `open_rgb` lays transparent pictures on white: what hides under transparent pixels is often noise.
Refuses colour management: an embedded profile is ignored, as every model's training data ignored it.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from springtide.domain.errors import BadMedia, SpringtideError

# The limit is each field's `max_pixels`, checked in `probe` from the header. Pillow's own is fixed, and warns.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # decoders that hostile bytes may reach
_WIDE = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def open_rgb(path: Path) -> Image.Image:
    """The picture upright, in 8-bit RGB; transparent parts on white. Raises BadMedia (`broken_media`)."""
    with opened(path) as image:
        upright = _upright(image)
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        rgba = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def open_rgba(path: Path) -> Image.Image:
    """The picture upright, in 8-bit RGBA; opaque where it has no transparency. Raises BadMedia (`broken_media`)."""
    with opened(path) as image:
        return _upright(image).convert("RGBA")


@contextmanager
def opened(path: Path) -> Generator[Image.Image]:
    """A picture whose header is read, and nothing else. Whatever the library raises within comes out as BadMedia."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata: nothing that a caller could act on
        try:
            with Image.open(path, formats=FORMATS) as image:
                yield image
        except SpringtideError:
            raise
        except MemoryError as error:
            raise BadMedia("The picture needs more memory to decode than is allowed.", code="broken_media") from error
        except UnidentifiedImageError as error:  # its text names our file
            message = "The picture cannot be decoded: it breaks off, or is not what its first bytes say."
            raise BadMedia(message, code="broken_media") from error
        except Exception as error:  # decoders raise anything at all on damaged bytes
            raise BadMedia(f"The picture cannot be decoded: {error}.", code="broken_media") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says, at most 8 bits a channel, print colours the right way round."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # in place: no second copy of 40 megapixels that stand already
    if image.mode in _WIDE:
        return _narrowed(image)
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one, as Adobe's are
    return image


def _narrowed(image: Image.Image) -> Image.Image:
    """8-bit grey from 16 or 32 bits or floats, scaled by what the format can hold, else by what the picture holds."""
    low, high = image.convert("F").getextrema()
    assert isinstance(low, float)
    assert isinstance(high, float)
    if image.mode == "F" and low >= 0 and high <= 1:
        scale, offset = 255.0, 0.0
    elif image.mode == "F" and low >= 0 and high <= 255:
        scale, offset = 1.0, 0.0
    elif low >= 0 and high <= 65535:
        scale, offset = 1 / 257, 0.0  # 65535 / 255
    else:
        scale, offset = 255 / (high - low), -low * 255 / (high - low)
    grey = image.convert("F").point(lambda value: value * scale + (offset + 0.5)).convert("L")
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # the one value that a PNG calls transparent, in 16 bits as well
        grey.info["transparency"] = round(clear * scale + offset)
    return grey

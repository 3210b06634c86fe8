"""What a picture is and whether it is whole, before a job is accepted.

Promises that a picture which passes can be decoded by `images`, within the field's pixel limit: the size is read from
the header before anything is decoded, and then the whole picture is decoded once in the cheapest way its format has.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from springtide.domain.errors import BadMedia
from springtide.domain.model import FileField
from springtide.media.images import opened
from springtide.media.png import check_chunks, read_header

_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_EXIF_IN_TEXT = "Raw profile type exif"  # how ImageMagick keeps EXIF in a PNG
_NAMES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP", "image/gif": "GIF", "image/bmp": "BMP"}
# JPEG and MPO alike: phones append a depth map or a second view, which is no second frame.
_STILL = frozenset({"image/jpeg", "image/bmp"})


def probe_picture(path: Path, media_type: str, field: FileField) -> tuple[int, int, int]:
    """Upright width and height, and the number of frames. Raises BadMedia."""
    if media_type == "image/png":
        with path.open("rb") as file:
            facts = read_header(file)
        _check_pixels(facts.width, facts.height, field)
        facts = check_chunks(path)
        _check_still(facts.frames, media_type, field)
        with opened(path) as image:
            # Asking for EXIF makes Pillow decode the whole PNG: only where there is some.
            is_sideways = (facts.has_exif or _EXIF_IN_TEXT in image.info) and _is_sideways(image)
        return _upright(facts.width, facts.height, facts.frames, is_sideways)
    if media_type == "image/webp":
        _check_webp(path, field)
    with opened(path) as image:
        width, height = image.size
        _check_pixels(width, height, field)
        frames = 1 if media_type in _STILL else int(getattr(image, "n_frames", 1))
        _check_still(frames, media_type, field)
        is_sideways = _is_sideways(image)
        if media_type == "image/jpeg":
            _decode_jpeg(image, path)
        else:
            image.seek(0)
            image.load()
    return _upright(width, height, frames, is_sideways)


def _check_pixels(width: int, height: int, field: FileField) -> None:
    if field.max_pixels is not None and width * height > field.max_pixels:
        raise BadMedia(
            f"The picture has {width:,} × {height:,} pixels, {width * height / 1e6:,.1f} megapixels; "
            f"at most {field.max_pixels / 1e6:,.1f} are accepted. Scale it down.",
            code="too_many_pixels",
            width=width,
            height=height,
            max_pixels=field.max_pixels,
        )


def _check_still(frames: int, media_type: str, field: FileField) -> None:
    if frames <= 1 or field.animated:
        return
    if media_type == "image/tiff":
        message = f"The TIFF holds {frames} pages, and one picture is wanted. Save the page you mean as a file."
    else:
        name = _NAMES[media_type]
        message = f"The {name} is animated: {frames} frames, and a still picture is wanted. Save one frame as a file."
    raise BadMedia(message, code="animated", frames=frames)


def _check_webp(path: Path, field: FileField) -> None:
    """Size and length from the header: Pillow allocates the whole canvas as soon as it opens the file."""
    with path.open("rb") as file:
        head = file.read(30)
    stored, announced = path.stat().st_size, 8 + int.from_bytes(head[4:8], "little")
    kind, size = head[12:16], None
    if kind == b"VP8X" and len(head) == 30:
        size = 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    elif kind == b"VP8 " and len(head) == 30:
        size = int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    elif kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if size is not None:
        _check_pixels(*size, field)
    if stored < announced or size is None:
        raise BadMedia(
            f"The WebP is cut off: {stored:,} of {max(announced, 30):,} bytes are there. Send the whole file.",
            code="broken_media",
        )


def _decode_jpeg(image: Image.Image, path: Path) -> None:
    """Decode at an eighth of the size: every byte is read, an eighth of the arithmetic is done."""
    width, height = image.size
    image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))
    try:
        image.load()
    except OSError as error:
        box = image.im.getbbox() if "truncated" in str(error) else None
        share = f", about {100 * box[3] // image.size[1]} % of the rows are there" if box else ""
        raise BadMedia(
            f"The JPEG ends after {path.stat().st_size:,} bytes, before its end mark{share}. Send the whole file.",
            code="broken_media",
        ) from error


def _is_sideways(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in _SIDEWAYS


def _upright(width: int, height: int, frames: int, is_sideways: bool) -> tuple[int, int, int]:
    return (height, width, frames) if is_sideways else (width, height, frames)

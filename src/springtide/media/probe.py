"""What a file really is, and whether a field accepts it: the gate before a job is accepted.

Promises that what passes can be decoded, and that a refusal says what the file is, what is wrong in numbers and what to
do. Errors are BadMedia with one of these stable codes:

    empty_file        no bytes
    wrong_media_type  something other than the field takes (a text named .jpg, an SVG where a photo is meant)
    broken_media      cut off, damaged, or no known format at all
    too_many_pixels   read from the header, before anything is decoded
    animated          several frames where one is meant
    no_audio_track    a video without sound where sound is needed
    too_long          a recording over the field's limit

or TooLarge for the bytes. Blocking, and not to be trusted with hostile bytes in a process that must live, for decoders
are C: `inspector` runs it in one that may die.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec

from springtide.domain.errors import BadMedia, TooLarge
from springtide.domain.model import FileField
from springtide.media.sniffing import HEAD_BYTES, PICTURES, is_accepted, sniff

__all__ = ["Probe", "probe", "sniff"]

_CONTAINERS_OF_BOTH = frozenset(
    {"mp4", "quicktime", "3gpp", "webm", "x-matroska", "ogg", "x-ms-asf", "x-msvideo", "x-flv", "mpeg", "mp2t"}
)
_ADVICE = {
    "image/svg+xml": "An SVG is a drawing in text, not a photograph that can be decoded here: export it as PNG.",
    "application/pdf": "Export the page as PNG.",
    "image/heic": "Save it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible).",
    "image/heif": "Save it as JPEG.",
    "image/avif": "Save it as PNG or JPEG.",
}


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is. Width and height are those of the upright picture, or of a video's frame."""

    media_type: str  # by the bytes
    width: int | None = None
    height: int | None = None
    frames: int | None = None  # 1 for a still picture; None where a video does not say
    duration_s: float | None = None  # sound and video
    has_audio: bool | None = None  # sound and video


def probe(path: Path, field: FileField) -> Probe:
    """Check the file at `path` against `field`. Raises BadMedia or TooLarge."""
    size = path.stat().st_size
    if size == 0:
        raise BadMedia("The file is empty: 0 bytes.", code="empty_file")
    if size > field.max_bytes:
        raise TooLarge(
            f"The file has {size:,} bytes; at most {field.max_bytes:,} are accepted.",
            bytes=size,
            max_bytes=field.max_bytes,
        )
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    sniffed = sniff(head)
    if sniffed is not None and not _may_be_accepted(sniffed, field):
        raise _wrong(sniffed, field)
    if sniffed in PICTURES:
        return _probe_picture(path, sniffed, field)
    if sniffed is None and not _takes_tracks(field):
        return _opaque_or_refused(head, field)
    if sniffed is None or sniffed.startswith(("audio/", "video/")):
        return _probe_tracks(path, sniffed, head, field)
    return Probe(media_type=sniffed)


def _may_be_accepted(sniffed: str, field: FileField) -> bool:
    if is_accepted(sniffed, field.media_types):
        return True
    # Whether an MP4 is sound or video shows only when it is opened.
    kind, _, container = sniffed.partition("/")
    return kind in ("audio", "video") and container in _CONTAINERS_OF_BOTH and _takes_tracks(field)


def _takes_tracks(field: FileField) -> bool:
    return any(pattern.startswith(("audio/", "video/")) for pattern in field.media_types)


def _probe_picture(path: Path, media_type: str, field: FileField) -> Probe:
    from springtide.media.probe_pictures import probe_picture  # a process that probes only sound needs no Pillow

    width, height, frames = probe_picture(path, media_type, field)
    return Probe(media_type=media_type, width=width, height=height, frames=frames)


def _probe_tracks(path: Path, sniffed: str | None, head: bytes, field: FileField) -> Probe:
    from springtide.media.probe_tracks import probe_tracks  # 50 ms of imports that a picture need not wait for

    try:
        tracks = probe_tracks(path, sniffed, field)
    except BadMedia as error:
        if sniffed is None and error.code == "broken_media":
            raise _unknown(head) from error
        raise
    if not is_accepted(tracks.media_type, field.media_types):
        raise _wrong(tracks.media_type, field)
    return msgspec.convert(tracks, Probe, from_attributes=True)


def _opaque_or_refused(head: bytes, field: FileField) -> Probe:
    if is_accepted("application/octet-stream", field.media_types):
        return Probe(media_type="application/octet-stream")
    raise _unknown(head)


def _wrong(media_type: str, field: FileField) -> BadMedia:
    advice = _ADVICE.get(media_type)
    accepted = _spelt_out(field.media_types)
    return BadMedia(
        f"The file is {media_type}; accepted: {', '.join(accepted)}.{f' {advice}' if advice else ''}",
        code="wrong_media_type",
        media_type=media_type,
        accepted=accepted,
    )


def _spelt_out(media_types: Sequence[str]) -> list[str]:
    """`image/*` as the pictures it stands for: a file that is a picture, and not one of them, is the common mistake."""
    spelt = (PICTURES if pattern == "image/*" else (pattern,) for pattern in media_types)
    return list(dict.fromkeys(chain.from_iterable(spelt)))


def _unknown(head: bytes) -> BadMedia:
    return BadMedia(
        f"The file is in no known format: it begins with the bytes {head[:8].hex(' ')}. It may be damaged.",
        code="broken_media",
    )

"""What a sound or video file is and whether it can be played, before a job is accepted.

Promises that a track which passes gives at least one frame when decoded. Silence, noise and a recording that was cut
off are all good media: what they contain is the model's business.
"""

from __future__ import annotations

from pathlib import Path

import av
import msgspec
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from springtide.domain.errors import BadMedia
from springtide.domain.model import FileField
from springtide.media.containers import decode_sound, first_picture, opened, sound_of, video_of

# What a container is called when it has no moving picture: the bytes alone do not say.
_SOUND_ONLY = {
    "video/mp4": "audio/mp4", "video/quicktime": "audio/mp4", "video/3gpp": "audio/3gpp", "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska", "video/ogg": "audio/ogg", "video/x-ms-asf": "audio/x-ms-wma",
    "video/mp2t": "audio/mp2t", "video/mpeg": "audio/mpeg", "video/x-msvideo": "audio/x-msvideo",
    "video/x-flv": "audio/x-flv",
}  # fmt: skip
_WITH_PICTURE = {"audio/mp4": "video/mp4", "audio/ogg": "video/ogg"}
_BY_DEMUXER = {  # for files whose first bytes say nothing
    "mp3": "audio/mpeg", "aac": "audio/aac", "wav": "audio/wav", "w64": "audio/wav", "flac": "audio/flac",
    "mpegts": "video/mp2t", "mpeg": "video/mpeg", "mov": "video/mp4",
}  # fmt: skip
# Containers without an index, whose length the library guesses from the bit rate of the first frames.
_GUESSED = frozenset({"mp3", "aac", "amr", "mpeg", "mpegts", "ac3", "eac3", "h264", "hevc", "mpegvideo"})


class Tracks(msgspec.Struct, frozen=True, kw_only=True):
    """What a container holds."""

    media_type: str
    width: int | None
    height: int | None
    frames: int | None
    duration_s: float | None
    has_audio: bool


def probe_tracks(path: Path, media_type: str | None, field: FileField) -> Tracks:
    """Open a container and decode the first frame of what `field` needs. Raises BadMedia."""
    with opened(path, media_type) as container:
        sound, video = sound_of(container), video_of(container)
        kind = _media_type(media_type, container, has_video=video is not None)
        if sound is None and video is None:
            raise BadMedia(f"The file ({kind}) has no sound and no video that can be decoded.", code="broken_media")
        if video is not None and sound is None and field.needs_audio:
            raise BadMedia(f"The video ({kind}) has no audio track, and one is needed.", code="no_audio_track")
        if video is not None:
            _check_pixels(video.width, video.height, field)
        duration_s = _announced_s(container)
        if duration_s is not None:
            _check_duration(duration_s, field)
        size = _decode_first(container, sound, video, needs_audio=field.needs_audio)
        if size is None:
            raise BadMedia(f"Nothing of the file ({kind}) can be decoded.", code="broken_media")
    if duration_s is None:
        duration_s = _counted_s(path)
        _check_duration(duration_s, field)
    width, height = size
    return Tracks(
        media_type=kind,
        width=width or None,
        height=height or None,
        frames=(video.frames or None) if video is not None else None,
        duration_s=duration_s,
        has_audio=sound is not None,
    )


def _media_type(sniffed: str | None, container: InputContainer, *, has_video: bool) -> str:
    demuxer = container.format.name.partition(",")[0]
    kind = sniffed or _BY_DEMUXER.get(demuxer, f"{'video' if has_video else 'audio'}/x-{demuxer}")
    if kind == "audio/mpeg" and demuxer in ("aac", "flac", "wav"):  # an ID3 tag before something else
        kind = _BY_DEMUXER[demuxer]
    return (_WITH_PICTURE if has_video else _SOUND_ONLY).get(kind, kind)


def _check_pixels(width: int, height: int, field: FileField) -> None:
    if field.max_pixels is not None and width * height > field.max_pixels:
        raise BadMedia(
            f"The video's frames have {width:,} × {height:,} pixels, {width * height / 1e6:,.1f} megapixels; "
            f"at most {field.max_pixels / 1e6:,.1f} are accepted. Scale it down.",
            code="too_many_pixels",
            width=width,
            height=height,
            max_pixels=field.max_pixels,
        )


def _check_duration(duration_s: float, field: FileField) -> None:
    if field.max_duration_s is not None and duration_s > field.max_duration_s:
        raise BadMedia(
            f"The recording is {_spoken(duration_s)} long; at most {_spoken(field.max_duration_s)} are accepted. "
            "Cut it into parts, or have the limit raised: max_duration_s of the model, in springtide.toml.",
            code="too_long",
            duration_s=round(duration_s, 3),
            max_duration_s=field.max_duration_s,
        )


def _announced_s(container: InputContainer) -> float | None:
    """The length as the container's index says it, None where it has none or would only guess."""
    if container.format.name.partition(",")[0] in _GUESSED or not container.duration:
        return None
    return container.duration / av.time_base


def _decode_first(
    container: InputContainer, sound: AudioStream | None, video: VideoStream | None, *, needs_audio: bool
) -> tuple[int, int] | None:
    """Decode one frame of the track that matters. The picture's size as shown (0 × 0 where there is none): phones film
    sideways and say so. None where nothing decodes."""
    if sound is not None and (needs_audio or video is None):
        if next(decode_sound(container, sound), None) is None:
            return None
        return (video.width, video.height) if video is not None else (0, 0)
    frame = first_picture(container, video) if video is not None else None
    if frame is None:
        return None
    return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def _counted_s(path: Path) -> float:
    """The length by reading every packet and decoding none: a fifth of a second for an hour of MP3."""
    with opened(path) as container:
        stream = sound_of(container) or video_of(container)
        assert stream is not None
        first = last = None
        total = 0.0
        for packet in container.demux(stream):
            if packet.size == 0:  # the last one only flushes the decoder
                continue
            total += float((packet.duration or 0) * packet.time_base)
            if packet.pts is not None:
                begin, end = packet.pts * packet.time_base, (packet.pts + (packet.duration or 0)) * packet.time_base
                first = begin if first is None else min(first, begin)
                last = end if last is None else max(last, end)
    return total if first is None or last is None else float(last - first)


def _spoken(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"

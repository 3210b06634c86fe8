"""Opening sound and video files that strangers send.

Promises that a file is read as the container it is, that nothing but that file is opened (no playlists, no references
to other files or hosts), and that a library error comes out as BadMedia.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as NoMorePackets
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from springtide.domain.errors import BadMedia, SpringtideError

# Demuxers of one self-contained file each. Playlists (hls, dash, concat) are missing on purpose: they name other files.
_DEMUXERS = (
    "mov", "matroska", "wav", "w64", "mp3", "aac", "flac", "ogg", "avi", "asf", "flv", "mpeg", "mpegts", "mpegvideo",
    "aiff", "amr", "au", "caf", "ac3", "eac3", "ape", "wv", "tta", "dv", "mxf", "h264", "hevc",
)  # fmt: skip
_OPTIONS = {"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "file"}
_INDEX_LAST = frozenset({"video/mp4", "audio/mp4", "video/quicktime", "video/3gpp"})  # written when recording ends
_MAX_BAD_PACKETS = 200  # about four seconds of sound: past that nothing readable will follow


@contextmanager
def opened(path: Path, media_type: str | None = None) -> Generator[InputContainer]:
    """The container, its streams known. `media_type` only helps to say what is wrong. Raises BadMedia
    (`broken_media`)."""
    try:
        with av.open(str(path), "r", options=_OPTIONS, metadata_errors="replace") as container:
            yield container
    except SpringtideError:
        raise
    except InvalidDataError as error:
        if media_type in _INDEX_LAST:
            message = (
                f"The file looks like {media_type}, but its index is missing: it was cut off. Send the whole file."
            )
        else:
            message = f"The file{f' looks like {media_type}, but it' if media_type else ''} is damaged or cut off."
        raise BadMedia(message, code="broken_media") from error
    except FFmpegError as error:
        raise BadMedia(f"The file cannot be read: {error.strerror or error}.", code="broken_media") from error
    except MemoryError as error:
        raise BadMedia("The file needs more memory to decode than is allowed.", code="broken_media") from error


def sound_of(container: InputContainer) -> AudioStream | None:
    """The first audio track that has a decoder."""
    return next((stream for stream in container.streams.audio if _is_decodable(stream)), None)


def video_of(container: InputContainer) -> VideoStream | None:
    """The first video track that is not a cover picture."""
    for stream in container.streams.video:
        if _is_decodable(stream) and not stream.disposition & (Disposition.attached_pic | Disposition.still_image):
            return stream
    return None


def decode_sound(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Every frame that can be decoded; damaged packets are skipped, and the end of a cut file is its end."""
    for frame in _decode(container, stream):
        if isinstance(frame, AudioFrame):
            yield frame


def decode_pictures(
    container: InputContainer, stream: VideoStream, decoder: VideoCodecContext | None = None
) -> Iterator[VideoFrame]:
    """Every frame that can be decoded, by `decoder` where it is not the stream's own that is wanted."""
    for frame in _decode(container, stream, decoder):
        if isinstance(frame, VideoFrame):
            yield frame


def first_picture(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first frame of a video that can be decoded, None where none can."""
    return next(decode_pictures(container, stream), None)


def _decode(
    container: InputContainer, stream: AudioStream | VideoStream, decoder: VideoCodecContext | None = None
) -> Iterator[AudioFrame | VideoFrame]:
    bad_in_a_row = 0
    packets = container.demux(stream)
    while bad_in_a_row < _MAX_BAD_PACKETS:
        try:
            packet = next(packets)
            # An empty packet ends the stream: a decoder then gives what it still holds.
            frames = packet.decode() if decoder is None else decoder.decode(packet if packet.size else None)
        except (StopIteration, NoMorePackets):
            return
        except FFmpegError:
            bad_in_a_row += 1
            continue
        if frames:
            bad_in_a_row = 0
        for frame in frames:
            if isinstance(frame, AudioFrame | VideoFrame):
                yield frame


def _is_decodable(stream: AudioStream | VideoStream) -> bool:
    return bool(stream.codec_context)  # None where the library has no decoder, whatever its type says

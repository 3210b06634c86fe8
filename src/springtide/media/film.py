"""Moving pictures in and out: whatever was filmed, as upright RGB frames; and frames as a film that plays everywhere.

    with opened_film(path) as film:
        with FilmWriter(out, width=film.width, height=film.height, fps=film.fps, sound=path) as new:
            for frame in film.frames(fps=film.fps):
                new.write(frame)

Promises of the frames: the right way up (phones film sideways and say so), square pixels, 8 bits, colours by the matrix
the file names (or the usual one for its size), HDR brought down to what a screen shows, and one frame in memory at a
time however long the film is. With `fps` they come at that constant rate, counted from the start of the file as its
sound is: a phone's variable rate, a track that begins late and gaps between frames are evened out.
Refuses what `containers` refuses (playlists, references to other files) and a film of which nothing can be decoded, as
BadMedia; damaged frames are skipped, and the end of a cut file is its end. Fields of interlaced film are not parted.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import av
import msgspec
from av.codec.context import CodecContext, ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from springtide.domain.errors import BadMedia
from springtide.media.containers import decode_pictures, first_picture, opened, sound_of, video_of
from springtide.media.film_frames import Painter, square_size, turn_of
from springtide.media.film_writer import Codec, FilmWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Codec", "Film", "FilmWriter", "opened_film"]

_MAX_GAP_S = 3600.0  # between two frames, or before the first: more is a wrong time stamp, as live recordings have them
_MAX_BACK_S = 1.0  # less is a frame out of order
_SEEK_FROM_S = 1.0  # below it decoding from the start is as quick
_USUAL_FPS = 25.0  # where a container says nothing
_MOST_FPS = 240.0  # more is a time base taken for a rate
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these pass over the transparency


class Film(msgspec.Struct, frozen=True, kw_only=True):
    """What a film is, as it is shown. `frames` may be called as often as one likes: each call reads from the start."""

    path: Path
    width: int  # upright, in square pixels
    height: int
    fps: float  # frames per second; the average where the rate varies
    duration_s: float | None  # of the pictures, else of the whole, as the container says; None where it does not
    has_audio: bool
    has_alpha: bool
    threads: int  # of the decoder and the scaler; 0: as many as there are processors

    @property
    def frame_count(self) -> int | None:
        """How many frames there are at `fps`, roughly: for a progress bar."""
        return None if self.duration_s is None else max(1, round(self.duration_s * self.fps))

    def frames(
        self,
        *,
        fps: float | None = None,
        size: tuple[int, int] | None = None,
        alpha: bool = False,
        start_s: float = 0.0,
        stop_s: float | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """The frames, each an array of its own: uint8[height, width, 3], or 4 with `alpha` (opaque where the film is).

        fps: at this constant rate, frames doubled or left out as it takes; as they were stored where None.
        size: scaled to this width and height.
        start_s, stop_s: only from here, and only up to there, in seconds of the film; a seek, not a decode, gets there.
        Raises BadMedia (`broken_media`) where nothing can be decoded. A film shorter than `start_s` gives no frame.
        """
        painter = Painter(size or (self.width, self.height), alpha=alpha, threads=self.threads)
        some = False
        for frame, repeats in self._paced(fps, start_s, stop_s):
            some = True
            painted = painter.paint(frame)
            for _ in range(repeats - 1):
                yield painted.copy()  # each is the reader's to draw on
            yield painted
        if not some and start_s <= 0:
            raise BadMedia("Nothing of the video track can be decoded.", code="broken_media")

    def frame_at(self, seconds: float, *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The frame shown at `seconds`, or the last one of a film that ends before. Raises BadMedia."""
        shown: VideoFrame | None = None
        with opened(self.path) as container:
            stream = video_of(container)
            for frame, at_s, _ in () if stream is None else _timed(container, stream, self, seconds):
                if shown is not None and at_s > seconds:
                    break
                shown = frame
        if shown is None:
            raise BadMedia("Nothing of the video track can be decoded.", code="broken_media")
        return Painter(size or (self.width, self.height), alpha=False, threads=self.threads).paint(shown)

    def _paced(self, fps: float | None, start_s: float, stop_s: float | None) -> Iterator[tuple[VideoFrame, int]]:
        """Frames between the two times, and how often each is shown."""
        shown = 0
        held: VideoFrame | None = None
        end_s = 0.0
        with opened(self.path) as container:
            stream = video_of(container)
            if stream is None:
                raise BadMedia("The file has no video track that can be decoded.", code="no_video_track")
            for frame, at_s, length_s in _timed(container, stream, self, start_s):
                if stop_s is not None and at_s >= stop_s:
                    break
                if held is not None:
                    due = _due(at_s - start_s, shown, fps, 1 / self.fps)
                    if due:
                        yield held, due
                    shown += due
                held, end_s = frame, at_s + length_s
        if held is not None and end_s > start_s:
            end_s = end_s if stop_s is None else min(end_s, stop_s)
            due = max(_due(end_s - start_s, shown, fps, 1 / self.fps), 0 if shown else 1)
            if due:
                yield held, due


@contextmanager
def opened_film(path: Path, *, threads: int = 0) -> Generator[Film]:
    """What the film at `path` is, from its header and first frame. Raises BadMedia (`broken_media`, `no_video_track`).

    threads: for decoding; 0 for as many as there are processors.
    """
    with opened(path) as container:
        stream = video_of(container)
        if stream is None:
            raise BadMedia("The file has no video track that can be decoded.", code="no_video_track")
        has_alpha = _keeps_alpha(stream)
        has_audio = sound_of(container) is not None
        duration_s = _length_s(container, stream)
        fps = _rate(stream)
        frame = first_picture(container, stream)
        if frame is None:
            raise BadMedia("Nothing of the video track can be decoded.", code="broken_media")
    width, height = square_size(frame.width, frame.height, stream.sample_aspect_ratio)
    if turn_of(frame).is_sideways:
        width, height = height, width
    yield Film(
        path=path,
        width=width,
        height=height,
        fps=fps,
        duration_s=duration_s,
        has_audio=has_audio,
        has_alpha=has_alpha,
        threads=threads,
    )


def _due(elapsed_s: float, shown: int, fps: float | None, usual_s: float) -> int:
    """How often a frame is shown that lasts until `elapsed_s` after the start, where `shown` were before it. At a
    constant rate it is the frame seen at each instant; one that is due within half a frame counts as there, so that
    rounded time stamps double and drop nothing. usual_s: between two frames of the film."""
    if fps is None:
        return 1 if elapsed_s > 0 else 0
    spare_s = min(usual_s, 1 / fps) / 2
    return max(0, math.floor((elapsed_s - spare_s) * fps + 1e-6) + 1 - shown)


def _timed(
    container: InputContainer, stream: VideoStream, film: Film, start_s: float
) -> Iterator[tuple[VideoFrame, float, float]]:
    """Frames from the last key frame before `start_s`, each with when it is shown and for how long, in seconds from the
    start of the file. Time only goes forward: a stamp that is missing or jumps is replaced by the usual distance."""
    stream.thread_type, stream.thread_count = ThreadType.AUTO, film.threads
    decoder = _alpha_decoder(stream)
    origin = (container.start_time or 0) / av.time_base
    usual_s = 1 / film.fps
    if start_s > _SEEK_FROM_S:
        with suppress(FFmpegError):  # raw streams have no index: they are decoded from the start
            container.seek(round((start_s + origin) * av.time_base), backward=True)
    last, expected = -math.inf, start_s
    for frame in decode_pictures(container, stream, decoder):
        at_s = expected if frame.pts is None else frame.time - origin
        if at_s < last - _MAX_BACK_S or abs(at_s - expected) > _MAX_GAP_S:  # another recording goes on here
            origin += at_s - expected
            at_s = expected
        at_s = max(at_s, last)
        last, expected = at_s, at_s + usual_s
        yield frame, at_s, float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual_s


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """The decoder that sees the transparency of a WebM; None where the usual one does, or there is none to see."""
    name = _WITH_ALPHA.get(stream.codec_context.name)
    if name is None or not _says_alpha(stream):
        return None
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = stream.codec_context.extradata
    return decoder


def _keeps_alpha(stream: VideoStream) -> bool:
    if stream.codec_context.name in _WITH_ALPHA:
        return _says_alpha(stream)
    form = stream.codec_context.format
    return form is not None and any(component.is_alpha for component in form.components)


def _says_alpha(stream: VideoStream) -> bool:
    """The track's own note, or the tag that it becomes where a file is copied: in capitals."""
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def _length_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _rate(stream: VideoStream) -> float:
    """Frames a second: the average, as containers that hold an index know it."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= _MOST_FPS:
            return float(rate)
    return _USUAL_FPS

"""Frames as a film that plays everywhere: H.264, H.265, VP9 or ProRes, with sound, in the container that goes with it.

Promises that browsers and telephones play what is written (yuv420p at even sizes, BT.709 and marked as such, the index
of an MP4 in front), that transparency is kept where the codec can (VP9, ProRes), that sound and pictures are woven as
they go, so memory stays flat, and that with `deterministic` the same frames give the same bytes on any machine.
An odd side grows by one pixel for the codecs that share colour between neighbours: the last row or column is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
from av.codec.context import Flags as CodecFlags
from av.container import Flags as ContainerFlags
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from springtide.media.film_codecs import FORMS, Codec
from springtide.media.film_sound import SoundTrack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BT709 = 1  # AVCOL_SPC_BT709
_MOST_PIXELS = 16_384 * 16_384  # of one frame: what H.264 and VP9 can hold
_MOST_FPS = 240


class FilmWriter:
    """Writes one film; `with FilmWriter(...) as film:` ends it. A film that an error leaves half done is no film."""

    def __init__(  # noqa: PLR0913  # one thing is described, by keywords; nothing of it is needed twice
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: float,
        codec: Codec | str = Codec.H264,
        crf: int | None = None,
        alpha: bool = False,
        sound: Path | Iterable[NDArray[np.float32]] | None = None,
        metadata: Mapping[str, str] | None = None,
        preset: str | None = None,
        threads: int = 0,
        deterministic: bool = False,
    ) -> None:
        """
        path: ends as `codec.suffix` does (or .mov, .mkv for H.264 and H.265).
        width, height: of the frames that will come. `self.width` and `self.height` are those of the film.
        crf: quality, 0 (best) to `codec.max_crf`; the codec's usual one where None.
        alpha: frames come with transparency, and keep it.
        sound: the first audio track of a file, taken over as it is where the container can hold it, else as stereo AAC
            or Opus; or stereo pieces float32[2, samples] at 48 kHz. A file without sound gives a film without.
        metadata: title, artist, comment, copyright, description and the like. An MP4 drops keys it does not know.
        preset: of x264 and x265, such as veryfast; theirs alone.
        threads: 0 for as many as there are processors. deterministic: one thread, and nothing that differs by version.
        Raises ValueError for what no caller should ask: sizes, rates and qualities that do not exist.
        """
        self.codec = Codec(codec)
        self._form = FORMS[self.codec]
        _check(path, self.codec, width=width, height=height, fps=fps, crf=crf, alpha=alpha)
        self._given = (height, width, 4 if alpha else 3)
        shared = self.codec is not Codec.PRORES
        self.width, self.height = (width + width % 2, height + height % 2) if shared else (width, height)
        self.fps = Fraction(fps).limit_denominator(1001)  # 29.97 and its kin are over 1001
        self.frames_written = 0
        self._threads = 1 if deterministic else threads
        self._scaler = VideoReformatter()
        self._container = av.open(str(path), "w", options=_container_options(path))
        try:
            if deterministic:
                self._container.flags |= ContainerFlags.bitexact.value
            self._container.metadata.update(metadata or {})
            self._video = self._add_video(crf, preset, alpha=alpha, deterministic=deterministic)
            self._sound = None if sound is None else SoundTrack(self._container, sound, encoder=self._form.sound)
        except BaseException:
            self._container.close()
            raise

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append one frame: uint8[height, width, 3] RGB, or 4 channels RGBA (straight alpha) for a film with alpha."""
        import numpy as np

        if pixels.shape != self._given or pixels.dtype != np.uint8:
            raise ValueError(f"a frame is uint8{list(self._given)}, not {pixels.dtype}{list(pixels.shape)}")
        height, width, _ = self._given
        if (width, height) != (self.width, self.height):
            pixels = np.pad(pixels, ((0, self.height - height), (0, self.width - width), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels), format="rgba" if pixels.shape[2] == 4 else "rgb24"
        )
        frame = self._scaler.reformat(
            frame,
            format=self._video.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=self._threads,
        )
        frame.pts, frame.time_base = self.frames_written, 1 / self.fps
        self._container.mux(self._video.encode(frame))
        self.frames_written += 1
        if self._sound is not None:
            self._sound.mux_until(float(self.frames_written / self.fps))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._sound is not None:
                self._sound.close()
            self._container.close()

    def _finish(self) -> None:
        if not self.frames_written:
            raise ValueError("a film needs a frame")
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.mux_until(None)

    def _add_video(self, crf: int | None, preset: str | None, *, alpha: bool, deterministic: bool) -> VideoStream:
        form = self._form
        options = dict(form.options)
        if form.max_crf:
            options["crf"] = str(form.crf if crf is None else crf)
        if preset is not None and "preset" in options:
            options["preset"] = preset
        if self.codec is Codec.H264 and deterministic:
            # Its macroblock tree reads memory that nobody wrote: the same frames gave up to six results in six runs.
            options["x264-params"] = "mbtree=0"
        if self.codec is Codec.H265:
            pools = f":pools={self._threads or '*'}" + (":frame-threads=1:no-info=1" if deterministic else "")
            options["x265-params"] = "log-level=error" + pools
        if self.codec is Codec.VP9 and alpha:
            options["auto-alt-ref"] = "0"
        stream = self._container.add_stream(form.encoder, rate=self.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self.width, self.height
        context = stream.codec_context
        context.time_base = 1 / self.fps
        context.thread_count = self._threads
        context.pix_fmt = _pixel_format(self.codec, alpha=alpha)
        context.colorspace, context.color_range = _BT709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if self.codec is Codec.H265:
            context.codec_tag = "hvc1"  # Apple's players open no other
        if deterministic:
            context.flags |= CodecFlags.bitexact
        return stream


def _check(path: Path, codec: Codec, *, width: int, height: int, fps: float, crf: int | None, alpha: bool) -> None:
    suffixes = (".mp4", ".mov", ".mkv") if codec in (Codec.H264, Codec.H265) else (codec.suffix,)
    if path.suffix not in suffixes:
        raise ValueError(f"{codec} goes into {', '.join(suffixes)}, not {path.name}")
    if not (width > 0 and height > 0 and width * height <= _MOST_PIXELS):
        raise ValueError(f"no film is {width} × {height} pixels")
    if not 0 < fps <= _MOST_FPS:
        raise ValueError(f"fps must be above 0 and at most {_MOST_FPS}, not {fps}")
    if crf is not None and not 0 <= crf <= codec.max_crf:
        raise ValueError(f"crf of {codec} goes from 0 to {codec.max_crf}, not {crf}")
    if alpha and not codec.has_alpha:
        raise ValueError(f"{codec} has no transparency")


def _pixel_format(codec: Codec, *, alpha: bool) -> str:
    if codec is Codec.PRORES:
        return "yuva444p10le" if alpha else "yuv444p10le"
    return "yuva420p" if alpha else "yuv420p"


def _container_options(path: Path) -> dict[str, str]:
    return {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}

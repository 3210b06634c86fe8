"""One film, frame by frame: memory does not grow with its length. A frame that is shown again is not computed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.engines.protocol import Progress
from springtide.engines.upscaling.networks import Upscaler
from springtide.engines.upscaling.schema import Format, Input
from springtide.media.film import Codec, Film, FilmWriter, opened_film

MOST_FPS = 60.0  # above it a frame is shown so briefly that its detail is not seen
CODECS = {Format.MP4: Codec.H264, Format.WEBM: Codec.VP9, Format.MOV: Codec.PRORES}


@dataclass(frozen=True, slots=True)
class Enlarged:
    """A file that was made."""

    path: Path
    media_type: str
    width: int
    height: int
    frames: int | None


def enlarge_film(inputs: Input, network: Upscaler, progress: Progress) -> Enlarged:
    """Raises BadMedia."""
    assert inputs.video is not None
    progress(0.0, "decode")
    with opened_film(inputs.video.path) as film:
        format_ = inputs.format or (Format.WEBM if film.has_alpha else Format.MP4)
        codec = CODECS[format_]
        alpha = film.has_alpha and codec.has_alpha
        fps = min(film.fps, MOST_FPS)
        path = progress.folder / f"upscaled{codec.suffix}"
        total = max(1.0, (film.duration_s or inputs.video.duration_s or 0.0) * fps)
        width, height = film.width * inputs.scale, film.height * inputs.scale
        with FilmWriter(
            path,
            width=width,
            height=height,
            fps=fps,
            codec=codec,
            crf=inputs.crf,
            alpha=alpha,
            sound=inputs.video.path,
        ) as writer:
            for frame in _Enlarger(film, network, progress, scale=inputs.scale, total=total).frames(fps, alpha=alpha):
                writer.write(frame)
        return Enlarged(path, codec.media_type, writer.width, writer.height, writer.frames_written)


class _Enlarger:
    def __init__(self, film: Film, network: Upscaler, progress: Progress, *, scale: int, total: float) -> None:
        self._film, self._network, self._progress = film, network, progress
        self._scale, self._total = scale, total
        self._done = 0

    def frames(self, fps: float, *, alpha: bool) -> Iterator[NDArray[np.uint8]]:
        last: NDArray[np.uint8] | None = None
        made: NDArray[np.uint8] | None = None
        for frame in self._film.frames(fps=fps, alpha=alpha):
            if made is None or last is None or not np.array_equal(frame, last):
                made = self._enlarged(frame)
                last = frame
            self._done += 1
            yield made

    def _enlarged(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        made = self._network.enlarge(np.ascontiguousarray(frame[..., :3]), scale=self._scale, on_part=self._told)
        if frame.shape[2] == 3:
            return made
        size = (made.shape[1], made.shape[0])
        alpha = Image.fromarray(np.ascontiguousarray(frame[..., 3])).resize(size, Image.Resampling.BICUBIC)
        return np.dstack([made, np.asarray(alpha)])

    def _told(self, part: float) -> None:
        self._progress(min(0.99, (self._done + part) / self._total), "enlarge")

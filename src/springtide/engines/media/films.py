"""What the engines that finish films share: how a film is asked for, the loop from frame to frame, what they cost.

Promises that a film's rate, length, sound and transparency stay what they were unless something else is asked for, that
memory does not grow with its length, and that a mark of origin it carries is handed on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import Engine, InputFile, InvalidInput, Media, OutputFile, Progress
from springtide.media.film_codecs import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.media.film import Film

MAX_FRAME_PIXELS = 4096 * 2304  # of a film that comes in: 4K, cinema's included
MAX_FILM_S = 4 * 3600.0
FILM = Media("video/*", max_pixels=MAX_FRAME_PIXELS, max_duration_s=MAX_FILM_S)
FilmFile = Annotated[InputFile, FILM]
FILM_TYPES = Media("video/mp4, video/webm, video/quicktime")

# Seconds on two cores for a megapixel of one frame, decoded, changed and encoded: the measured CPU seconds
# (docs/engines/media.md) over the 1.6 cores that the encoders keep busy; ProRes uses one.
PER_MEGAPIXEL_S = {Codec.H264: 0.031, Codec.H265: 0.031, Codec.VP9: 0.045, Codec.PRORES: 0.12}
_USUAL_S, _USUAL_FPS, _USUAL_PIXELS = 10.0, 30.0, 1280 * 720  # of a film of which probing could not say


class Encoding(BaseModel):
    """How the film that comes out is compressed."""

    codec: Codec | None = Field(
        default=None,
        description="h264 plays everywhere, h265 is smaller, vp9 and prores keep transparency. h264 where absent, vp9 "
        "for a film with transparency.",
    )
    crf: int | None = Field(
        default=None,
        ge=0,
        le=63,
        description="Quality, 0 is best; to 51 for h264 and h265. The codec's usual if absent.",
    )

    @model_validator(mode="after")
    def _in_range(self) -> Encoding:
        codec = self.codec or Codec.H264
        if self.crf is not None and self.crf > codec.max_crf:
            allowed = f"goes from 0 to {codec.max_crf}" if codec.max_crf else "is not for it: it has one quality"
            raise ValueError(f"crf {self.crf}: that of {codec} {allowed}")
        return self


class FilmOutput(Made):
    """A film, and what it is."""

    video: Annotated[OutputFile, FILM_TYPES] = Field(description="The film.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: float = Field(description="Frames per second, constant.")
    frames: int = Field(description="How many there are.")
    duration_s: float = Field(description="Length, seconds.")
    origin: str | None = Field(default=None, description="The mark of origin it carries on, where the input had one.")


class Step:
    """One run of an engine: what it made, since when, and with which mark of origin."""

    def __init__(self, engine: Engine[Any, Any], name: str) -> None:
        self._engine, self._name, self._began = engine, name, time.monotonic()

    def made(self) -> Made:
        return Made(**self._engine.made(self._began, engine=self._name))

    def carry(self, source: Path, target: Path, *, action: str) -> str | None:
        """Hand on the mark of origin of `source`, if it has one; gives how `target` carries it."""
        from springtide.engines.provenance import carry

        return carry(source, target, made=self.made(), title=self._engine.title, action=action)


def rewrite(
    source: Path,
    progress: Progress,
    *,
    encoding: Encoding,
    change: Callable[[NDArray[np.uint8], float], None] | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    sound: bool = True,
    name: str = "film",
) -> dict[str, Any]:
    """The film at `source` written anew under `progress.folder`; gives the fields of `FilmOutput` that say what it is.

    change: may draw on each frame, uint8[height, width, 3 or 4], and is told its time in seconds.
    size, fps: of the new film; as the old where None. Raises BadMedia.
    """
    from springtide.media.film import FilmWriter, opened_film

    with opened_film(source) as film:
        codec = encoding.codec or (Codec.VP9 if film.has_alpha else Codec.H264)
        alpha = film.has_alpha and codec.has_alpha
        width, height = size or (film.width, film.height)
        _check_film_size(width, height)
        rate = fps or film.fps
        path = progress.folder / f"{name}{codec.suffix}"
        track = source if sound and film.has_audio else None
        with FilmWriter(
            path, width=width, height=height, fps=rate, codec=codec, crf=encoding.crf, alpha=alpha, sound=track
        ) as new:
            for frame in counted(film, progress, film.frames(fps=rate, size=(width, height), alpha=alpha), rate):
                if change is not None:
                    change(frame, new.frames_written / rate)
                new.write(frame)
    return described(path, codec, new.width, new.height, fps=float(new.fps), frames=new.frames_written)


def described(path: Path, codec: Codec, width: int, height: int, *, fps: float, frames: int) -> dict[str, Any]:
    """Fields of `FilmOutput`."""
    return {
        "video": OutputFile(path=path, media_type=codec.media_type),
        "width": width,
        "height": height,
        "fps": round(fps, 3),
        "frames": frames,
        "duration_s": round(frames / fps, 3),
    }


def counted(
    film: Film, progress: Progress, frames: Iterator[NDArray[np.uint8]], fps: float
) -> Iterator[NDArray[np.uint8]]:
    """The frames, with a word of progress before each."""
    whole = None if film.duration_s is None else max(1.0, film.duration_s * fps)
    for number, frame in enumerate(frames):
        progress(0.0 if whole is None else min(0.98, number / whole), "film")
        yield frame


def _check_film_size(width: int, height: int) -> None:
    """Raises InvalidInput for a size that the codecs or the memory do not take."""
    if width * height > MAX_FRAME_PIXELS * 4 or min(width, height) < 2:
        message = f"a film of {width} x {height} pixels cannot be made: 2 to 8192 a side, 37 megapixels at most"
        raise InvalidInput(message, errors=[{"loc": "width", "message": message}])


def film_estimate(file: InputFile | None, codec: Codec | None, *, scale: float = 1.0, most: float = 4.0) -> float:
    """Seconds for decoding and encoding, from what probing says of the file; `scale` times its pixels come out."""
    pixels = (file.width or 0) * (file.height or 0) if file is not None else 0
    seconds = (file.duration_s if file is not None else None) or _USUAL_S
    megapixels = (pixels or _USUAL_PIXELS) * min(scale, most) / 1e6
    return 0.3 + seconds * _USUAL_FPS * megapixels * PER_MEGAPIXEL_S[codec or Codec.H264]

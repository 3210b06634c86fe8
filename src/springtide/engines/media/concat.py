"""Several films one after another, cut or cross-faded, whatever sizes, rates and sounds they have. On the processor.

Promises one size and one rate throughout, shapes kept (black bars where they differ, or cropped to fill), sound in step
with its pictures to the sample (silence where a film has none), and flat memory: during a cross-fade two films are read
at once, no frame is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from springtide.engines.media.films import (
    FILM,
    Encoding,
    FilmOutput,
    Step,
    described,
    film_estimate,
)
from springtide.engines.media.splice import joined_sound
from springtide.engines.protocol import Engine, InputFile, InvalidInput, Progress
from springtide.media.film_codecs import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Fit(StrEnum):
    """What becomes of a film of another shape."""

    CONTAIN = "contain"
    COVER = "cover"


class Input(Encoding):
    """Films, in order."""

    videos: Annotated[list[InputFile], FILM] = Field(min_length=2, max_length=50, description="The films, 2 to 50.")
    transition_s: float = Field(default=0.0, ge=0, le=10, description="Cross-fade between two films, seconds; 0 cuts.")
    width: int | None = Field(default=None, ge=16, le=8192, description="Of the result; the first film's where absent.")
    height: int | None = Field(
        default=None, ge=16, le=8192, description="Of the result; the first film's where absent."
    )
    fps: float | None = Field(default=None, gt=0, le=120, description="Of the result; the first film's where absent.")
    fit: Fit = Field(default=Fit.CONTAIN, description="contain: black bars; cover: edges cut off.")

    @model_validator(mode="after")
    def _both_sides(self) -> Input:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together: give both or neither")
        if self.codec is Codec.PRORES and self.crf is not None:
            raise ValueError("crf is not for prores")
        return self


class Output(FilmOutput):
    """All of them as one film."""


class Clip(NamedTuple):
    """One film, as it goes into the whole."""

    path: Path
    frames: int  # at the whole's rate
    has_audio: bool


class Concat(Engine[Input, Output]):
    """Joins films."""

    title = "Concatenate"
    description = "Joins films of any size, rate and sound into one, cut or cross-faded."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("measure", "film")
    example: ClassVar[Mapping[str, Any]] = {"videos": ["clip.mp4", "clip.mp4"], "transition_s": 0.4}
    preload = ("numpy", "springtide.media.film")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.film import FilmWriter, opened_film

        step = Step(self, "concat")
        with opened_film(inputs.videos[0].path) as first:
            size = inputs.width or first.width, inputs.height or first.height
            fps = inputs.fps or first.fps
        clips = _measured(inputs, fps, progress)
        overlap = round(inputs.transition_s * fps)
        _check_lengths(clips, overlap, fps)
        total = sum(clip.frames for clip in clips) - overlap * (len(clips) - 1)
        codec = inputs.codec or Codec.H264
        path = progress.folder / f"joined{codec.suffix}"
        sound = joined_sound(clips, fps, overlap) if any(clip.has_audio for clip in clips) else None
        with FilmWriter(path, width=size[0], height=size[1], fps=fps, codec=codec, crf=inputs.crf, sound=sound) as new:
            for frame in _joined(clips, size, fps, overlap, inputs.fit):
                progress(0.1 + 0.88 * new.frames_written / total, "film")
                new.write(frame)
        film = described(path, codec, new.width, new.height, fps=float(new.fps), frames=new.frames_written)
        marked = (step.carry(one.path, path, action="c2pa.edited") for one in inputs.videos)
        origin = next((mark for mark in marked if mark is not None), None)  # of the first that has one
        return Output(**film, origin=origin, **step.made().model_dump())

    def estimate(self, inputs: Input) -> float:
        # Each is decoded once more beforehand, to know how long it is.
        return sum(1.2 * film_estimate(video, inputs.codec) for video in inputs.videos)


def _measured(inputs: Input, fps: float, progress: Progress) -> list[Clip]:
    """How many frames each has. Containers only say roughly, and a cross-fade has to begin at the right one."""
    from springtide.media.film import opened_film

    clips: list[Clip] = []
    for number, video in enumerate(inputs.videos):
        progress(0.1 * number / len(inputs.videos), "measure")
        with opened_film(video.path) as film:
            frames = sum(1 for _ in film.frames(fps=fps, size=(16, 16)))
            clips.append(Clip(video.path, frames, film.has_audio))
    return clips


def _check_lengths(clips: list[Clip], overlap: int, fps: float) -> None:
    for number, clip in enumerate(clips):
        fades = (number > 0) + (number < len(clips) - 1)
        if overlap * fades > clip.frames:
            message = (
                f"film {number + 1} is {clip.frames / fps:.2f} s long, too short for {fades} cross-fade(s) of "
                f"{overlap / fps:.2f} s"
            )
            raise InvalidInput(message, errors=[{"loc": "transition_s", "message": message}])


def _joined(
    clips: list[Clip], size: tuple[int, int], fps: float, overlap: int, fit: Fit
) -> Iterator[NDArray[np.uint8]]:
    import numpy as np

    before: Iterator[NDArray[np.uint8]] = iter(())
    for number, clip in enumerate(clips):
        frames = _fitted(clip, size, fps, fit)
        for step in range(overlap if number else 0):
            share = (step + 1) / (overlap + 1)
            old, new = next(before).astype(np.float32), next(frames)
            yield np.rint(old + (new - old) * np.float32(share)).astype(np.uint8)
        tail = overlap if number < len(clips) - 1 else 0
        for _ in range(clip.frames - (overlap if number else 0) - tail):
            yield next(frames)
        before = frames


def _fitted(clip: Clip, size: tuple[int, int], fps: float, fit: Fit) -> Iterator[NDArray[np.uint8]]:
    """`clip.frames` frames of that size, and the last one again should it have been miscounted."""
    import numpy as np

    from springtide.media.film import opened_film

    width, height = size
    with opened_film(clip.path) as film:
        ratios = width / film.width, height / film.height
        scale = min(ratios) if fit is Fit.CONTAIN else max(ratios)
        inner = max(1, round(film.width * scale)), max(1, round(film.height * scale))
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        for frame in film.frames(fps=fps, size=inner):
            if inner == size:
                yield frame
            elif fit is Fit.COVER:
                yield np.ascontiguousarray(frame[-top : height - top, -left : width - left])
            else:
                canvas = np.zeros((height, width, 3), np.uint8)
                canvas[top : top + inner[1], left : left + inner[0]] = frame
                yield canvas

"""A film in another codec, size or rate; its sound kept. On the processor, with no weights.

Promises upright frames in square pixels at a constant rate (what telephones film has neither), 8 bits, and a shape that
stays: width and height are bounds, nothing is stretched and nothing cut off.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from springtide.engines.media.films import Encoding, FilmFile, FilmOutput, Step, film_estimate, rewrite
from springtide.engines.protocol import Engine, Progress
from springtide.media.film_codecs import Codec


class Sound(StrEnum):
    """What becomes of the sound."""

    KEEP = "keep"
    NONE = "none"


class Input(Encoding):
    """A film, and how it is wanted."""

    video: FilmFile = Field(description="The film.")
    width: int | None = Field(default=None, ge=16, le=8192, description="At most so wide; never larger than it was.")
    height: int | None = Field(default=None, ge=16, le=8192, description="At most so high; never larger than it was.")
    fps: float | None = Field(default=None, gt=0, le=120, description="Frames per second; as it was where absent.")
    sound: Sound = Field(default=Sound.KEEP, description="keep or none.")


class Output(FilmOutput):
    """The film as asked for."""


class Transcode(Engine[Input, Output]):
    """Writes a film anew in another codec, size or rate."""

    title = "Transcode"
    description = "A film in another codec (H.264, H.265, VP9, ProRes), quality, size or rate."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("film",)
    preload = ("numpy", "springtide.media.film")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.film import opened_film

        step = Step(self, "transcode")
        source = inputs.video.path
        with opened_film(source) as film:
            size = _within(film.width, film.height, inputs.width, inputs.height)
        film = rewrite(source, progress, encoding=inputs, size=size, fps=inputs.fps, sound=inputs.sound is Sound.KEEP)
        origin = step.carry(source, film["video"].path, action="c2pa.transcoded")
        return Output(**film, origin=origin, **step.made().model_dump())

    def estimate(self, inputs: Input) -> float:
        file = inputs.video
        size = _within(file.width or 1280, file.height or 720, inputs.width, inputs.height)
        scale = size[0] * size[1] / ((file.width or 1280) * (file.height or 720))
        # Decoding costs about a fifth of encoding with H.264, and stays.
        return film_estimate(file, inputs.codec, scale=scale) + 0.2 * film_estimate(file, Codec.H264, scale=1 - scale)


def _within(width: int, height: int, most_wide: int | None, most_high: int | None) -> tuple[int, int]:
    """The size in the same shape, even sides, within the bounds."""
    scale = min(1.0, (most_wide or width) / width, (most_high or height) / height)
    if scale == 1.0:
        return width, height
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))

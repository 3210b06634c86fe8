"""Subtitles drawn into a film, for players and places that show none of their own. On the processor, with no weights.

Promises letters that can be read on any ground (light with a dark rim), Chinese and Latin, wrapped within the picture
and clear of its edges, at the times the subtitles name. What the typeface has no letter for is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from springtide.domain.errors import ConfigError
from springtide.engines.media.captions import Cue, read_cues, wrapped
from springtide.engines.media.films import Encoding, FilmFile, FilmOutput, Step, film_estimate, rewrite
from springtide.engines.media.watermark import Settings
from springtide.engines.protocol import BadMedia, Engine, InputFile, Media, Progress
from springtide.engines.settings import read_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.media.overlay import Overlay

MAX_BYTES = 4 << 20  # of a file of subtitles: some hundred hours of talk
_WIDEST = 0.86  # of the picture: what broadcasters call title-safe, nearly
_EDGE = 0.05  # of its height, clear below or above
_MOST_HIGH = 0.5  # of the picture: more lines than that go smaller
_LEAST_PIXELS = 10


class Place(StrEnum):
    """Where subtitles stand."""

    BOTTOM = "bottom"
    TOP = "top"


class Input(Encoding):
    """A film, and what is said in it."""

    video: FilmFile = Field(description="The film.")
    subtitles: Annotated[InputFile | None, Media("application/x-subrip, text/vtt, text/plain", max_bytes=MAX_BYTES)] = (
        Field(default=None, description="A SubRip or WebVTT file, as the speech model gives.")
    )
    text: str | None = Field(
        default=None, min_length=1, max_length=1_000_000, description="Or its text: SubRip or WebVTT."
    )
    size: float = Field(default=0.055, ge=0.02, le=0.2, description="Height of the letters, as a part of the film's.")
    place: Place = Field(default=Place.BOTTOM, description="bottom or top.")
    delay_s: float = Field(default=0.0, ge=-3600, le=3600, description="Show everything so much later.")

    @model_validator(mode="after")
    def _one_source(self) -> Input:
        if (self.subtitles is None) == (self.text is None):
            raise ValueError("give subtitles or text, one of the two")
        if self.text is not None:
            read_cues(self.text)  # a mistake in it is told before the job is accepted
        return self


class Output(FilmOutput):
    """The film with subtitles in it."""

    subtitles: int = Field(description="How many were drawn.")


class Subtitles(Engine[Input, Output]):
    """Draws subtitles into a film."""

    title = "Subtitles"
    description = "Draws SubRip or WebVTT subtitles into a film, Chinese included."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("film",)
    example: ClassVar[Mapping[str, Any]] = {
        "video": "clip.mp4",
        "text": "1\n00:00:00,000 --> 00:00:02,000\nThe tide comes in. 潮水来了。",
    }
    preload = ("numpy", "PIL.Image", "PIL.ImageFont", "PIL.ImageDraw", "springtide.media.film")

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(Settings, settings, engine="subtitles")
        if self.options.font is not None and not self.options.font.is_file():
            raise ConfigError(f"subtitles: font: there is no file {self.options.font}")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.film import opened_film

        step = Step(self, "subtitles")
        cues = read_cues(inputs.text if inputs.text is not None else _text_of(inputs))
        with opened_film(inputs.video.path) as film:
            writing = _Writing(cues, (film.width, film.height), inputs, self.options.font)
        film = rewrite(inputs.video.path, progress, encoding=inputs, change=writing.draw, name="subtitled")
        origin = step.carry(inputs.video.path, film["video"].path, action="c2pa.edited")
        return Output(**film, subtitles=writing.drawn, origin=origin, **step.made().model_dump())

    def estimate(self, inputs: Input) -> float:
        return film_estimate(inputs.video, inputs.codec)


class _Writing:
    """What stands on the film at each time. Texts are drawn when they come up, and forgotten after."""

    def __init__(self, cues: list[Cue], canvas: tuple[int, int], inputs: Input, font: Path | None) -> None:
        self._cues, self._canvas, self._inputs, self._font = cues, canvas, inputs, font
        self._next = 0
        self._shown: list[Cue] = []
        self._overlay: Overlay | None = None
        self.drawn = 0

    def draw(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """Times only go forward."""
        now_s = time_s - self._inputs.delay_s + 1e-6
        still = [cue for cue in self._shown if cue.end_s > now_s]
        begun: list[Cue] = []
        while self._next < len(self._cues) and self._cues[self._next].start_s <= now_s:
            if self._cues[self._next].end_s > now_s:
                begun.append(self._cues[self._next])
            self._next += 1
        if begun or len(still) < len(self._shown):
            self._shown = still + begun
            self.drawn += len(begun)
            self._overlay = self._written("\n".join(cue.text for cue in self._shown)) if self._shown else None
        if self._overlay is not None:
            self._overlay.lay_on(frame)

    def _written(self, text: str) -> Overlay | None:
        from springtide.media.lettering import drawable, font_of, written
        from springtide.media.overlay import Overlay

        width, height = self._canvas
        text = drawable(text, self._font)
        if not text:
            return None
        # By the shorter side: on an upright film letters by its height alone would leave four to a line.
        size = max(_LEAST_PIXELS, round(self._inputs.size * min(height, width * 0.75)))
        while True:
            font = font_of(self._font, size)
            ink = written(wrapped(text, width * _WIDEST, font.getlength), font)
            if ink.height <= height * _MOST_HIGH or size <= _LEAST_PIXELS:
                break
            size = max(_LEAST_PIXELS, int(size * 0.8))
        edge = round(height * _EDGE)
        y = edge if self._inputs.place is Place.TOP else height - edge - ink.height
        return Overlay(ink, ((width - ink.width) // 2, y))


def _text_of(inputs: Input) -> str:
    assert inputs.subtitles is not None
    data = inputs.subtitles.path.read_bytes()
    for encoding in ("utf-8-sig", "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadMedia("The subtitles are no text in UTF-8, UTF-16 or GB 18030: save them as UTF-8.", code="broken_media")

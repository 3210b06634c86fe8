"""One picture that stands for a film, and a sheet of small ones for a player's time line.

Promises that the best of several is sharp, neither black nor white, and no title card of one colour; that the sheet's
WebVTT names a rectangle for every moment of the film; and that a film of hours takes seconds: frames are sought, not
decoded one after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.media.films import FilmFile, Step
from springtide.engines.media.watermark import JPEG_QUALITY
from springtide.engines.protocol import Engine, InvalidInput, Media, OutputFile, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.media.film import Film

MOST_TILES = 400  # 20 × 20: with the widest tiles a sheet of 8000 pixels, what browsers still decode
MOST_SHEET_SIDE = 8192
USUAL_TILES = 100
_JUDGED_AT = (320, 180)  # frames are compared at about this size
_SHEET_QUALITY = 80
_WORTH_A_SEEK_S = 5.0  # key frames are 2 to 10 s apart: closer together, seeking decodes everything again and again


class Input(BaseModel):
    """A film, and which picture of it is wanted."""

    video: FilmFile = Field(description="The film.")
    at_s: float | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="The picture at this time, seconds; the best of several where absent.",
    )
    candidates: int = Field(default=12, ge=2, le=60, description="From how many the best is chosen.")
    width: int | None = Field(default=None, ge=16, le=8192, description="Of the picture; as the film where absent.")
    sheet: bool = Field(default=False, description="Make a sheet of small pictures and its WebVTT, too.")
    interval_s: float | None = Field(
        default=None, ge=0.1, le=3600, description="Between two of them; a hundredth of the film where absent."
    )
    tile_width: int = Field(default=160, ge=32, le=400, description="Of a small picture, pixels.")
    columns: int = Field(default=10, ge=1, le=20, description="Small pictures side by side.")

    @model_validator(mode="after")
    def _of_a_sheet(self) -> Input:
        if self.interval_s is not None and not self.sheet:
            raise ValueError("interval_s is for a sheet: set sheet = true")
        return self


class Output(Made):
    """The picture, and the sheet."""

    picture: Annotated[OutputFile, Media("image/jpeg")] = Field(description="The picture.")
    sheet: Annotated[OutputFile | None, Media("image/jpeg")] = Field(default=None, description="The small pictures.")
    vtt: Annotated[OutputFile | None, Media("text/vtt")] = Field(
        default=None, description="Which rectangle of sheet.jpg stands for which time, as WebVTT."
    )
    at_s: float = Field(description="Of the picture, seconds.")
    width: int = Field(description="Of the picture, pixels.")
    height: int = Field(description="Of the picture, pixels.")
    tiles: int = Field(default=0, description="Small pictures on the sheet.")
    origin: str | None = Field(default=None, description="The mark of origin it carries on, where the film had one.")


class Thumbnail(Engine[Input, Output]):
    """Takes a picture out of a film, and a sheet of small ones."""

    title = "Thumbnail"
    description = "A picture out of a film: at a time, or the best of several; and a sheet of small ones with WebVTT."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("picture", "sheet")
    preload = ("numpy", "PIL.Image", "springtide.media.film")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from PIL import Image

        from springtide.media.film import opened_film

        step = Step(self, "thumbnail")
        with opened_film(inputs.video.path) as film:
            if inputs.at_s is not None and film.duration_s is not None and inputs.at_s > film.duration_s:
                message = f"at_s is {inputs.at_s:g}, and the film is {film.duration_s:.2f} s long"
                raise InvalidInput(message, errors=[{"loc": "at_s", "message": message}])
            at_s = inputs.at_s if inputs.at_s is not None else _best(film, inputs.candidates, progress)
            pixels = film.frame_at(at_s, size=_scaled(film, inputs.width))
            path = progress.folder / "thumbnail.jpg"
            Image.fromarray(pixels).save(path, "JPEG", quality=JPEG_QUALITY)
            sheet = _sheet(film, inputs, progress) if inputs.sheet else {}
        return Output(
            picture=OutputFile(path=path, media_type="image/jpeg"),
            at_s=round(at_s, 3),
            width=pixels.shape[1],
            height=pixels.shape[0],
            origin=step.carry(inputs.video.path, path, action="c2pa.edited"),
            **sheet,
            **step.made().model_dump(),
        )

    def estimate(self, inputs: Input) -> float:
        sought = (1 if inputs.at_s is not None else inputs.candidates) + (USUAL_TILES if inputs.sheet else 0)
        megapixels = (inputs.video.width or 1280) * (inputs.video.height or 720) / 1e6
        seconds = min(inputs.video.duration_s or 60.0, sought * _WORTH_A_SEEK_S)
        return (
            0.2 + seconds * 30 * 0.002 * megapixels
        )  # what is decoded, whether in one go or on the way from key frames


def _best(film: Film, candidates: int, progress: Progress) -> float:
    """The time of the frame that shows most: sharp, with light and dark in it. The first and last tenth of a film are
    left out, where titles and fades are."""
    length = film.duration_s or 1.0
    scale = min(1.0, _JUDGED_AT[0] / film.width, _JUDGED_AT[1] / film.height)
    size = max(2, round(film.width * scale)), max(2, round(film.height * scale))
    first_s, step_s = length * 0.1, length * 0.8 / (candidates - 1)
    best = (-1.0, 0)
    for number, pixels in enumerate(_spread(film, first_s, step_s, candidates, size)):
        progress(0.5 * number / candidates, "picture")
        best = max(best, (_worth(pixels), -number))
    # Half a frame on: one that was due within half a frame was taken for the one there.
    return first_s - best[1] * step_s + 0.5 / film.fps


def _spread(
    film: Film, first_s: float, step_s: float, count: int, size: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """`count` frames, evenly spread: read in one go where they are close together, sought where they are not."""
    given = 0
    if step_s < _WORTH_A_SEEK_S:
        for pixels in islice(film.frames(fps=1 / step_s, size=size, start_s=first_s), count):
            yield pixels
            given += 1
    for number in range(given, count):  # all of them, or what a container promised and has not
        yield film.frame_at(first_s + number * step_s, size=size)


def _worth(pixels: NDArray[np.uint8]) -> float:
    """How much a picture shows: edges (log of the Laplacian's variance) times spread of light, less where it is nearly
    black or burnt out."""
    import numpy as np

    grey: Any = pixels.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    clipped = float(np.mean((grey < 12) | (grey > 243)))
    sharpness = math.log1p(float(edges.var())) if edges.size else 0.0
    return sharpness * float(grey.std()) * (1 - clipped) ** 2


def _scaled(film: Film, width: int | None) -> tuple[int, int]:
    if width is None or width >= film.width:
        return film.width, film.height
    return width, max(1, round(film.height * width / film.width))


def _sheet(film: Film, inputs: Input, progress: Progress) -> dict[str, Any]:
    """Fields of `Output` for the sheet. Raises InvalidInput where it would be too large."""
    from PIL import Image

    length = film.duration_s or 1.0
    interval_s = inputs.interval_s or max(0.1, length / USUAL_TILES)
    count = max(1, math.ceil(length / interval_s - 1e-6))
    wide, high = inputs.tile_width, max(1, round(film.height * inputs.tile_width / film.width))
    columns = min(inputs.columns, count)
    rows = math.ceil(count / columns)
    if count > MOST_TILES or max(columns * wide, rows * high) > MOST_SHEET_SIDE:
        message = (
            f"a picture every {interval_s:g} s makes {count} of {wide} x {high}; at most {MOST_TILES} on "
            f"{MOST_SHEET_SIDE} x {MOST_SHEET_SIDE} pixels are made: take a longer interval_s or smaller tiles"
        )
        raise InvalidInput(message, errors=[{"loc": "interval_s", "message": message}])
    sheet = Image.new("RGB", (columns * wide, rows * high))
    lines = ["WEBVTT", ""]
    first_s = min(interval_s, length) / 2  # what stands for a span is its middle
    for number, pixels in enumerate(_spread(film, first_s, interval_s, count, (wide, high))):
        progress(0.5 + 0.48 * number / count, "sheet")
        x, y = number % columns * wide, number // columns * high
        sheet.paste(Image.fromarray(pixels), (x, y))
        lines += [
            _cue(number * interval_s, min(length, (number + 1) * interval_s)),
            f"sheet.jpg#xywh={x},{y},{wide},{high}",
            "",
        ]
    picture, vtt = progress.folder / "sheet.jpg", progress.folder / "sheet.vtt"
    sheet.save(picture, "JPEG", quality=_SHEET_QUALITY)
    vtt.write_text("\n".join(lines), encoding="utf-8")
    return {
        "sheet": OutputFile(path=picture, media_type="image/jpeg"),
        "vtt": OutputFile(path=vtt, media_type="text/vtt"),
        "tiles": count,
    }


def _cue(begin_s: float, end_s: float) -> str:
    return f"{_clock(begin_s)} --> {_clock(end_s)}"


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"

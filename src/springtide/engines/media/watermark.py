"""A line of text or a logo laid over a picture or a film: a last step of a pipeline, on the processor, with no weights.

Promises that transparency stays, that the mark is as large as asked at any size of the picture, that text can be read
on any ground (light with a dark rim), that a film keeps its sound, and that a mark of origin is handed on. Refuses a
mark of nothing. Letters that the typeface does not have (emoji) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from springtide.domain.errors import ConfigError
from springtide.engines.made import Made
from springtide.engines.media.films import FILM, Encoding, Step, film_estimate, rewrite
from springtide.engines.media.marks import Position, overlay, text_mark
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress
from springtide.engines.settings import EngineSettings, read_settings

if TYPE_CHECKING:
    from PIL import Image

    from springtide.media.overlay import Overlay

JPEG_QUALITY = 92
PNG_LEVEL = 1  # a third of the time of Pillow's default, files 1.3 times as large (measured for matting)


class Format(StrEnum):
    """File format of a picture."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Input(Encoding):
    """A picture or a film, and what to lay over it."""

    image: Annotated[InputFile | None, Media("image/*", max_pixels=50_000_000)] = Field(
        default=None, description="The picture."
    )
    video: Annotated[InputFile | None, FILM] = Field(default=None, description="Or the film.")
    logo: Annotated[InputFile | None, Media("image/*", max_pixels=10_000_000)] = Field(
        default=None, description="A picture as the mark, best with transparency."
    )
    text: str | None = Field(default=None, min_length=1, max_length=200, description="A line of text as the mark.")
    position: Position = Field(default=Position.BOTTOM_RIGHT, description="Where the mark stands.")
    size: float = Field(default=0.3, gt=0, le=1, description="Width of the mark, as a part of the picture's.")
    opacity: float = Field(default=0.7, gt=0, le=1, description="1 hides what is under the mark.")
    format: Format | None = Field(default=None, description="File format of a picture; png where absent.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Input:
        if (self.image is None) == (self.video is None):
            raise ValueError("give image or video, one of the two")
        if (self.text is None) == (self.logo is None):
            raise ValueError("give text or logo, one of the two")
        if self.video is not None and self.format is not None:
            raise ValueError("format is for pictures; a film's follows from its codec")
        if self.image is not None and (self.codec is not None or self.crf is not None):
            raise ValueError("codec and crf are for films")
        return self


class Output(Made):
    """The marked picture or film."""

    result: Annotated[
        OutputFile, Media("image/png, image/jpeg, image/webp, video/mp4, video/webm, video/quicktime")
    ] = Field(description="The picture or film with the mark.")
    width: int = Field(description="Of the result, pixels.")
    height: int = Field(description="Of the result, pixels.")
    frames: int | None = Field(default=None, description="Frames of a film; none of a picture.")
    origin: str | None = Field(default=None, description="The mark of origin it carries on, where the input had one.")


class Settings(EngineSettings):
    """The model's table in springtide.toml."""

    font: Path | None = Field(default=None, description="A TrueType or OpenType file; Noto Sans SC where absent.")


class Watermark(Engine[Input, Output]):
    """Lays a line of text or a logo over a picture or a film."""

    title = "Watermark"
    description = "Lays a line of text or a logo over a picture or a film."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("mark", "film", "encode")
    example: ClassVar[Mapping[str, Any]] = {"image": "portrait.jpg", "text": "Springtide"}
    preload = ("numpy", "PIL.Image", "PIL.ImageFont", "PIL.ImageDraw", "springtide.media.images")

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(Settings, settings, engine="watermark")
        if self.options.font is not None and not self.options.font.is_file():
            raise ConfigError(f"watermark: font: there is no file {self.options.font}")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        step = Step(self, "watermark")
        progress(0.0, "mark")
        if inputs.image is not None:
            picture, path = self._picture(inputs, inputs.image.path, progress)
            file = OutputFile(path=path, media_type=f"image/{inputs.format or Format.PNG}")
            source, size, frames = inputs.image.path, picture, None
        else:
            assert inputs.video is not None
            film = self._film(inputs, inputs.video.path, progress)
            file, source = film["video"], inputs.video.path
            size, frames = (film["width"], film["height"]), film["frames"]
        progress(0.99, "encode")
        origin = step.carry(source, file.path, action="c2pa.edited")
        return Output(
            result=file, width=size[0], height=size[1], frames=frames, origin=origin, **step.made().model_dump()
        )

    def estimate(self, inputs: Input) -> float:
        if inputs.video is not None:
            return film_estimate(inputs.video, inputs.codec)
        file = inputs.image
        pixels = ((file.width if file else None) or 1024) * ((file.height if file else None) or 1024)
        return 0.05 + 0.12 * pixels / 1e6

    def _picture(self, inputs: Input, source: Path, progress: Progress) -> tuple[tuple[int, int], Path]:
        import numpy as np
        from PIL import Image

        from springtide.media.images import open_rgba

        pixels = np.array(open_rgba(source))
        size = pixels.shape[1], pixels.shape[0]
        self._mark(inputs, size).lay_on(pixels)
        progress(0.6, "encode")
        kind = inputs.format or Format.PNG
        return size, _save(Image.fromarray(pixels), progress.folder / f"watermarked.{kind}", kind)

    def _film(self, inputs: Input, source: Path, progress: Progress) -> dict[str, Any]:
        from springtide.media.film import opened_film

        with opened_film(source) as film:
            mark = self._mark(inputs, (film.width, film.height))
        return rewrite(
            source, progress, encoding=inputs, change=lambda frame, _: mark.lay_on(frame), name="watermarked"
        )

    def _mark(self, inputs: Input, canvas: tuple[int, int]) -> Overlay:
        from springtide.media.images import open_rgba

        width = max(1, round(canvas[0] * inputs.size))
        if inputs.logo is not None:
            ink, height = open_rgba(inputs.logo.path), round(canvas[1] * inputs.size)
        else:
            ink, height = text_mark(inputs.text or "", width, self.options.font), canvas[1]
        return overlay(ink, canvas, inputs.position, fit=(width, height), opacity=inputs.opacity)


def _save(picture: Image.Image, path: Path, kind: Format) -> Path:
    if kind is Format.PNG:
        picture.save(path, "PNG", compress_level=PNG_LEVEL)
    elif kind is Format.WEBP:
        picture.save(path, "WEBP", quality=JPEG_QUALITY)
    else:
        _on_white(picture).save(path, "JPEG", quality=JPEG_QUALITY)
    return path


def _on_white(picture: Image.Image) -> Image.Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")

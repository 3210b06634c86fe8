"""A line of text or a logo laid over a picture: the last step of a pipeline, on the processor, with no weights.

Promises that transparency stays, that the mark is as large as asked at any size of the picture, and that text can be
read on any ground (light with a dark rim). Refuses a mark of nothing. The built-in typeface knows Latin letters; the
model's `font` setting names a file for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, Field, model_validator

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress
from springtide.engines.settings import EngineSettings, read_settings

if TYPE_CHECKING:
    from PIL import Image

DRAWN_AT = 100  # pixels: text is drawn so large once to learn its proportions
RIM = 0.05  # of the letters' height: enough to part white letters from a white ground
MARGIN = 0.03  # of the picture's shorter side
JPEG_QUALITY = 92
PNG_LEVEL = 1  # a third of the time of Pillow's default, files 1.3 times as large (measured for matting)


class Position(StrEnum):
    """Where the mark stands."""

    CENTER = "center"
    TOP_LEFT = "top-left"
    TOP_RIGHT = "top-right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM_RIGHT = "bottom-right"


class Format(StrEnum):
    """File format of the result."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Input(BaseModel):
    """A picture, and what to lay over it."""

    image: Annotated[InputFile, Media("image/*", max_pixels=50_000_000)] = Field(description="The picture.")
    logo: Annotated[InputFile | None, Media("image/*", max_pixels=10_000_000)] = Field(
        default=None, description="A picture as the mark, best with transparency."
    )
    text: str | None = Field(default=None, min_length=1, max_length=200, description="A line of text as the mark.")
    position: Position = Field(default=Position.BOTTOM_RIGHT, description="Where the mark stands.")
    size: float = Field(default=0.3, gt=0, le=1, description="Width of the mark, as a part of the picture's.")
    opacity: float = Field(default=0.7, gt=0, le=1, description="1 hides what is under the mark.")
    format: Format = Field(default=Format.PNG, description="File format of the result.")

    @model_validator(mode="after")
    def _one_mark(self) -> Input:
        if (self.text is None) == (self.logo is None):
            raise ValueError("give text or logo, one of the two")
        return self


class Output(BaseModel):
    """The marked picture."""

    picture: Annotated[OutputFile, Media("image/png, image/jpeg, image/webp")] = Field(description="The result.")
    width: int
    height: int


class Settings(EngineSettings):
    """The model's table in springtide.toml."""

    font: Path | None = Field(default=None, description="A TrueType or OpenType file; built-in Latin where absent.")


class Watermark(Engine[Input, Output]):
    """Lays a line of text or a logo over a picture."""

    title = "Watermark"
    description = "Lays a line of text or a logo over a picture."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("decode", "mark", "encode")
    example: ClassVar[Mapping[str, Any]] = {"image": "portrait.jpg", "text": "Springtide"}
    preload = ("PIL.Image", "PIL.ImageFont", "PIL.ImageDraw", "springtide.media.images")

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(Settings, settings, engine="watermark")
        if self.options.font is not None and not self.options.font.is_file():
            raise ConfigError(f"watermark: font: there is no file {self.options.font}")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.images import open_rgba

        progress(0.0, "decode")
        picture = open_rgba(inputs.image.path)
        progress(0.4, "mark")
        width = max(1, round(picture.width * inputs.size))
        mark = open_rgba(inputs.logo.path) if inputs.logo is not None else self._written(inputs.text or "", width)
        mark = _fitted(mark, width, round(picture.height * inputs.size) if inputs.logo else picture.height)
        mark.putalpha(mark.getchannel("A").point([round(level * inputs.opacity) for level in range(256)]))
        picture.alpha_composite(mark, _corner(picture, mark, inputs.position))
        progress(0.6, "encode")
        path = _save(picture, progress.folder / f"watermarked.{inputs.format}", inputs.format)
        file = OutputFile(path=path, media_type=f"image/{inputs.format}")
        return Output(picture=file, width=picture.width, height=picture.height)

    def estimate(self, inputs: Input) -> float:
        return 0.05 + 0.12 * (inputs.image.width or 1024) * (inputs.image.height or 1024) / 1e6

    def _written(self, text: str, width: int) -> Image.Image:
        """The text, light with a dark rim, about `width` pixels wide."""
        from PIL import Image, ImageDraw

        first = self._font(DRAWN_AT)
        left, _, right, _ = first.getbbox(text, stroke_width=round(DRAWN_AT * RIM))
        height = max(8, round(DRAWN_AT * width / max(1.0, right - left)))
        font, rim = self._font(height), max(1, round(height * RIM))
        left, top, right, bottom = font.getbbox(text, stroke_width=rim)
        mark = Image.new("RGBA", (max(1, round(right - left)), max(1, round(bottom - top))), (0, 0, 0, 0))
        ImageDraw.Draw(mark).text((-left, -top), text, font=font, fill="white", stroke_width=rim, stroke_fill="#222")
        return mark

    def _font(self, size: int) -> Any:
        from PIL import ImageFont

        if self.options.font is None:
            return ImageFont.load_default(size)
        return ImageFont.truetype(self.options.font, size)


def _fitted(mark: Image.Image, width: int, height: int) -> Image.Image:
    """The mark as wide as asked, and no higher than `height`."""
    scale = min(width / mark.width, max(1, height) / mark.height)
    return mark.resize((max(1, round(mark.width * scale)), max(1, round(mark.height * scale))))


def _corner(picture: Image.Image, mark: Image.Image, position: Position) -> tuple[int, int]:
    free_x, free_y = picture.width - mark.width, picture.height - mark.height
    if position is Position.CENTER:
        return free_x // 2, free_y // 2
    margin = round(min(picture.size) * MARGIN)
    vertical, horizontal = position.split("-")
    x = min(margin, free_x) if horizontal == "left" else max(0, free_x - margin)
    y = min(margin, free_y) if vertical == "top" else max(0, free_y - margin)
    return x, y


def _save(picture: Image.Image, path: Path, format_: Format) -> Path:
    if format_ is Format.PNG:
        picture.save(path, "PNG", compress_level=PNG_LEVEL)
    elif format_ is Format.WEBP:
        picture.save(path, "WEBP", quality=JPEG_QUALITY)
    else:
        _on_white(picture).save(path, "JPEG", quality=JPEG_QUALITY)
    return path


def _on_white(picture: Image.Image) -> Image.Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")

"""What every matting engine takes and gives: a picture in, the same picture with alpha and the mask out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_PIXELS = 50_000_000


class Format(StrEnum):
    """File format of the cut-out."""

    PNG = "png"
    WEBP = "webp"


class Input(BaseModel):
    """A picture whose subject is to be cut out."""

    image: Annotated[InputFile, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        description="The picture: JPEG, PNG, WebP, TIFF, BMP or GIF with one frame."
    )
    background: str | None = Field(
        default=None,
        pattern=r"^#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$",
        description="Colour to put behind the subject, such as #ffffff. Transparent where absent.",
    )
    format: Format = Field(default=Format.PNG, description="File format of the cut-out.")
    crop: bool = Field(default=False, description="Crop cut-out and mask to the subject.")


class Output(BaseModel):
    """The cut-out and its mask."""

    cutout: Annotated[OutputFile, Media("image/png, image/webp")] = Field(
        description="The picture with alpha, the size of the upright input unless cropped."
    )
    mask: Annotated[OutputFile, Media("image/png")] = Field(
        description="How much each pixel is subject: 8-bit grey PNG, white is subject."
    )
    width: int = Field(description="Width of cut-out and mask, pixels.")
    height: int = Field(description="Height of cut-out and mask, pixels.")
    engine: str = Field(description="Which model made it.")
    license: str = Field(description="Licence of the model's weights.")
    generative: bool = Field(description="Whether the model makes up content. Matting does not.")
    seconds: float = Field(description="Time inside the engine, seconds.")

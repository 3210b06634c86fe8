"""What upscaling takes and gives: a picture or a video in, the same two or four times as large out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_PIXELS = 25_000_000
MAX_OUTPUT_PIXELS = 100_000_000  # 0.8 GB in memory while it is encoded
MAX_FRAME_PIXELS = 2_200_000  # full HD, in any proportion
MAX_OUTPUT_FRAME_PIXELS = 33_200_000  # 8K, beyond which hardly anything plays
MAX_VIDEO_S = 600.0


def _number(value: object) -> object:
    """A form sends "2", which no list of numbers has."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Sent = BeforeValidator(_number)


class Quality(StrEnum):
    """Which network draws."""

    BEST = "best"
    FAST = "fast"


class Format(StrEnum):
    """File format of the result."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    MP4 = "mp4"
    WEBM = "webm"
    MOV = "mov"

    @property
    def is_video(self) -> bool:
        return self in (Format.MP4, Format.WEBM, Format.MOV)


class Input(BaseModel):
    """A picture or a video that is to become larger."""

    image: Annotated[InputFile | None, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        default=None, description="A picture: JPEG, PNG, WebP, TIFF, BMP or GIF with one frame."
    )
    video: Annotated[InputFile | None, Media("video/*", max_pixels=MAX_FRAME_PIXELS, max_duration_s=MAX_VIDEO_S)] = (
        Field(default=None, description="Or a video, of which every frame is enlarged.")
    )
    scale: Annotated[Literal[2, 4], Sent] = Field(default=2, description="How many times as wide and as high.")
    quality: Quality | None = Field(
        default=None,
        description="best draws texture, fast smooth areas with clean edges, twenty times as quick. "
        "best for pictures, fast for videos where absent.",
    )
    format: Format | None = Field(
        default=None,
        description="Of a picture png (default), jpeg or webp; of a video mp4 (default), or webm or mov, which keep "
        "transparency; webm where the video has any.",
    )
    crf: int | None = Field(
        default=None,
        ge=0,
        le=51,
        description="Quality of a video's encoder, 0 is best; the codec's usual one if absent.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Input:
        file = self.image or self.video
        if file is None or (self.image is not None and self.video is not None):
            raise ValueError("give image or video, one of the two")
        is_video = self.video is not None
        if self.format is not None and self.format.is_video != is_video:
            allowed = ", ".join(one for one in Format if one.is_video == is_video)
            raise ValueError(f"format: {self.format} is not for a {'video' if is_video else 'picture'}: {allowed}")
        if self.crf is not None and (not is_video or self.format is Format.MOV):
            raise ValueError("crf: is for mp4 and webm only")
        most = MAX_OUTPUT_FRAME_PIXELS if is_video else MAX_OUTPUT_PIXELS
        pixels = (file.width or 1) * (file.height or 1) * self.scale**2
        if pixels > most:
            raise ValueError(
                f"scale: {file.width}x{file.height} times {self.scale} makes {pixels / 1e6:.0f} megapixels, "
                f"the most is {most / 1e6:.0f}"
            )
        return self

    @property
    def chosen_quality(self) -> Quality:
        return self.quality or (Quality.BEST if self.video is None else Quality.FAST)


class Output(Made):
    """The larger picture or video."""

    result: Annotated[
        OutputFile, Media("image/png, image/jpeg, image/webp, video/mp4, video/webm, video/quicktime")
    ] = Field(description="The picture or video, `scale` times as wide and as high.")
    width: int = Field(description="Width of the result, pixels.")
    height: int = Field(description="Height of the result, pixels.")
    frames: int | None = Field(default=None, description="Frames of a video; none of a picture.")

"""What matting takes and gives: a picture or a video in, the same with alpha and the mask out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_PIXELS = 50_000_000
MAX_FRAME_PIXELS = 9_500_000  # 4K as cameras (4096 × 2304) and screens have it
MAX_VIDEO_S = 600.0  # 15,000 frames at 25 a second: hours with the best network on two cores


class Quality(StrEnum):
    """Which network looks."""

    BEST = "best"
    FAST = "fast"


class Format(StrEnum):
    """File format of the cut-out."""

    PNG = "png"
    WEBP = "webp"
    WEBM = "webm"
    MOV = "mov"
    MP4 = "mp4"

    @property
    def is_video(self) -> bool:
        return self in (Format.WEBM, Format.MOV, Format.MP4)

    @property
    def media_type(self) -> str:
        return {Format.MOV: "video/quicktime"}.get(self, f"{'video' if self.is_video else 'image'}/{self}")


class Input(BaseModel):
    """A picture or a video whose subject is to be cut out."""

    image: Annotated[InputFile | None, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        default=None, description="A picture: JPEG, PNG, WebP, TIFF, BMP or GIF with one frame."
    )
    video: Annotated[InputFile | None, Media("video/*", max_pixels=MAX_FRAME_PIXELS, max_duration_s=MAX_VIDEO_S)] = (
        Field(default=None, description="Or a video, of which every frame is cut out.")
    )
    background: str | None = Field(
        default=None,
        pattern=r"^#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$",
        description="Colour to put behind the subject, such as #ffffff. Transparent where absent; green in an mp4.",
    )
    background_image: Annotated[InputFile | None, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        default=None,
        description="Or a picture to put behind it, scaled to fill the frame; what stands over is cut off.",
    )
    quality: Quality = Field(
        default=Quality.BEST, description="fast: a small network that knows people only, a hundred times as quick."
    )
    format: Format | None = Field(
        default=None,
        description="Of a picture png (default) or webp; of a video webm (default) or mov with alpha, or mp4 without.",
    )
    crop: bool = Field(default=False, description="Crop a picture's cut-out and mask to the subject.")

    @model_validator(mode="after")
    def _fit_together(self) -> Input:
        if (self.image is None) == (self.video is None):
            raise ValueError("give image or video, one of the two")
        if self.background is not None and self.background_image is not None:
            raise ValueError("give background or background_image, not both")
        is_video = self.video is not None
        if self.format is not None and self.format.is_video != is_video:
            allowed = ", ".join(one for one in Format if one.is_video == is_video)
            raise ValueError(f"format: {self.format} is not for a {'video' if is_video else 'picture'}: {allowed}")
        if self.crop and is_video:
            raise ValueError("crop: only pictures are cropped, the subject of a video moves")
        return self

    @property
    def chosen_format(self) -> Format:
        return self.format or (Format.PNG if self.video is None else Format.WEBM)


class Output(Made):
    """The cut-out and its mask."""

    cutout: Annotated[OutputFile, Media("image/png, image/webp, video/webm, video/quicktime, video/mp4")] = Field(
        description="The picture or video with alpha, the size of the upright input unless cropped."
    )
    mask: Annotated[OutputFile, Media("image/png, video/mp4")] = Field(
        description="How much each pixel is subject, white is subject: 8-bit grey PNG, or a video of the same length."
    )
    width: int = Field(description="Width of cut-out and mask, pixels.")
    height: int = Field(description="Height of cut-out and mask, pixels.")
    frames: int | None = Field(default=None, description="Frames of a video; none of a picture.")

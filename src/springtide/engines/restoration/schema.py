"""What every restorer takes and gives: a picture in, the same with its faces made whole and sharp out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile
from springtide.engines.upscaling.schema import MAX_OUTPUT_PIXELS, Sent

MAX_PIXELS = 50_000_000


class Background(StrEnum):
    """What is done to the picture around the faces."""

    KEEP = "keep"
    FAST = "fast"
    BEST = "best"


class LargeFaces(StrEnum):
    """What is done to faces that the picture shows larger than the network sees them."""

    LEAVE = "leave"
    BLEND = "blend"
    RESTORE = "restore"


class Format(StrEnum):
    """File format of the result."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Action(StrEnum):
    """What became of one face."""

    RESTORED = "restored"
    BLENDED = "blended"
    LEFT = "left"


class Input(BaseModel):
    """A picture whose faces are to be restored."""

    image: Annotated[InputFile, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        description="The picture: JPEG, PNG, WebP, TIFF, BMP or GIF with one frame."
    )
    strength: float = Field(
        default=0.85, ge=0, le=1, description="How much of a restored face is taken; 0 changes nothing."
    )
    scale: Annotated[Literal[1, 2, 4], Sent] = Field(
        default=2, description="How many times as wide and as high. Small faces have no room for detail at 1."
    )
    background: Background = Field(
        default=Background.KEEP,
        description="keep: resampled only. fast, best: drawn by a network, at 0.02 or 0.3 CPU seconds a kilopixel.",
    )
    large_faces: LargeFaces = Field(
        default=LargeFaces.BLEND,
        description="Faces with more pixels than the network sees: left alone, blended the less the larger they are, "
        "or restored all the same, which helps where they are large but blurred.",
    )
    max_faces: int = Field(default=20, ge=1, le=200, description="The largest so many are restored.")
    format: Format = Field(default=Format.PNG, description="File format of the result.")
    label: bool = Field(default=False, description='Write "AI-generated" on the picture, where a face was restored.')

    @model_validator(mode="after")
    def _fits(self) -> Input:
        pixels = (self.image.width or 1) * (self.image.height or 1) * self.scale**2
        if pixels > MAX_OUTPUT_PIXELS:
            raise ValueError(
                f"scale: {self.image.width}x{self.image.height} times {self.scale} makes {pixels / 1e6:.0f} "
                f"megapixels, the most is {MAX_OUTPUT_PIXELS / 1e6:.0f}"
            )
        return self


class FaceReport(BaseModel):
    """One face: where it is, what was done, and what that did."""

    box: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in pixels of the upright input: from the brow to the chin."
    )
    side: float = Field(description="Side of the face's square, hair and chin within, in pixels of the input.")
    confidence: float = Field(description="How sure it is that this is a face, 0 to 1.")
    action: Action = Field(description="restored, blended (partly, as it is large) or left as it was.")
    reason: str | None = Field(default=None, description="Why a face was left or blended.")
    strength: float = Field(description="How much of the restored face was taken.")
    sharpness_before: float | None = Field(
        default=None, description="Mean edge strength in the face, aligned to 512 pixels, in grey levels."
    )
    sharpness_after: float | None = Field(default=None, description="The same after restoration.")
    landmark_shift: float | None = Field(
        default=None,
        description="How far eyes, nose or mouth moved at the most, as a part of the distance of the eyes.",
    )


class Output(Made):
    """The picture with its faces restored."""

    picture: Annotated[OutputFile, Media("image/png, image/jpeg, image/webp")] = Field(description="The result.")
    width: int = Field(description="Width of the result, pixels.")
    height: int = Field(description="Height of the result, pixels.")
    faces: int = Field(description="How many faces were found.")
    restored: int = Field(description="How many of them were changed.")
    details: list[FaceReport] = Field(description="Each face, the largest first.")
    message: str = Field(description="What was done, in a sentence.")

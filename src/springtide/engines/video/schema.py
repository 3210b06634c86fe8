"""What a video engine takes and gives: a picture, words or both in; a short film out, and what was understood."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_PIXELS = 50_000_000  # of the picture
LEAST_SIDE, MOST_SIDE = 64, 1920  # of the film, pixels
MOST_FRAME_PIXELS = 1920 * 1088
MOST_PROMPT = 2000  # characters; video models read some 500 words and cut the rest off unsaid


class Camera(StrEnum):
    """A camera move; auto takes it from the prompt."""

    AUTO = "auto"
    STILL = "still"
    ZOOM_IN = "zoom_in"
    ZOOM_OUT = "zoom_out"
    PAN_LEFT = "pan_left"
    PAN_RIGHT = "pan_right"
    ORBIT = "orbit"
    RISE = "rise"
    FALL = "fall"
    HANDHELD = "handheld"


class Input(BaseModel):
    """A picture that is to move, or a scene in words."""

    image: Annotated[InputFile | None, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        default=None, description="The picture: JPEG, PNG, WebP, TIFF, BMP or GIF with one frame."
    )
    prompt: str = Field(
        default="",
        max_length=MOST_PROMPT,
        description="What to show, in English or Chinese: camera, weather, light and, without a picture, the place.",
        examples=["slow push in, snow at night", "镜头环绕，夕阳下的海边"],
    )
    camera: Camera = Field(default=Camera.AUTO, description="The camera move; auto takes it from the prompt.")
    motion: float = Field(default=1.0, ge=0, le=2, description="How far the camera goes: 0 stands still, 1 is usual.")
    width: int | None = Field(
        default=None,
        ge=LEAST_SIDE,
        le=MOST_SIDE,
        description="Of the film, pixels; from the picture's shape if absent.",
    )
    height: int | None = Field(
        default=None,
        ge=LEAST_SIDE,
        le=MOST_SIDE,
        description="Of the film, pixels; from the picture's shape if absent.",
    )
    seconds: float = Field(default=5.0, ge=0.25, le=30, description="Length of the film.")
    fps: float = Field(default=16.0, ge=1, le=60, description="Frames per second.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="The same seed and inputs give the same film.")
    crf: int = Field(default=18, ge=0, le=40, description="Quality of H.264: less is better and larger.")

    @model_validator(mode="after")
    def _something_to_show(self) -> Input:
        if self.image is None and not self.prompt.strip():
            raise ValueError("give image, prompt or both: there is nothing to film")
        if (self.width or 0) * (self.height or 0) > MOST_FRAME_PIXELS:
            raise ValueError(f"width × height may be at most {MOST_FRAME_PIXELS} pixels, a frame of 1920 × 1088")
        return self


class Understood(BaseModel):
    """Words of the prompt, and what they were taken for."""

    words: str = Field(description="As they stand in the prompt, in small letters.")
    meaning: str = Field(description="Such as camera: zoom_in, effect: snow, light: night or place: sea.")


class Output(Made):
    """The film."""

    video: Annotated[OutputFile, Media("video/mp4")] = Field(description="H.264 in MP4, ready to stream; no sound.")
    poster: Annotated[OutputFile, Media("image/jpeg")] = Field(description="The frame in the middle, JPEG.")
    width: int = Field(description="Of the film, pixels; even.")
    height: int = Field(description="Of the film, pixels; even.")
    frames: int = Field(description="How many frames it has.")
    fps: float = Field(description="Frames per second.")
    duration_s: float = Field(description="Length, seconds.")
    seed: int = Field(description="The seed it was made with.")
    camera: list[str] = Field(description="The camera moves that were made.")
    has_subject: bool = Field(
        description="Whether something in the picture was taken for its subject and stands in front."
    )
    understood: list[Understood] = Field(description="What of the prompt had an effect; all else had none.")
    set_aside: list[Understood] = Field(description="Camera words that contradict earlier ones, and were not followed.")

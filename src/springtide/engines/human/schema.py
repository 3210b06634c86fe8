"""What a digital human takes and gives: a face, a voice and a consent in; a video of the face saying it out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, model_validator

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_PIXELS = 50_000_000
MAX_VIDEO_PIXELS = 3840 * 2160


class Extend(StrEnum):
    """What is seen when a video ends before the voice does."""

    PINGPONG = "pingpong"  # backwards and forwards: no jump anywhere
    LOOP = "loop"
    HOLD = "hold"  # the last frame


class Drive(StrEnum):
    """What moves the mouth."""

    VOICE = "voice"  # what a voice detector takes for speech
    SOUND = "sound"  # everything that is to be heard: for song


class Input(BaseModel):
    """A face and a voice."""

    image: Annotated[InputFile | None, Media("image/*", max_pixels=MAX_PIXELS)] = Field(
        default=None, description="A photo of a face, seen from the front. Give this or `video`."
    )
    video: Annotated[InputFile | None, Media("video/*", max_pixels=MAX_VIDEO_PIXELS)] = Field(
        default=None, description="A film of a face; its own sound is replaced. Give this or `image`."
    )
    audio: Annotated[InputFile, Media("audio/*, video/*", needs_audio=True)] = Field(
        description="What is to be said: any audio file, or a video with sound."
    )
    consent: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=5,
        max_length=1000,
        description="A sentence by which you state that the person shown and the person heard agree, or are you. It is "
        "kept with the job.",
    )
    label: bool = Field(default=False, description="Write that it is AI-generated, in Chinese and English, on it.")
    seed: int = Field(default=0, ge=0, lt=1 << 32, description="The same seed, the same blinks and movements.")
    strength: float = Field(
        default=1.0, ge=0, le=1.5, description="How far the mouth opens: 1 is natural, 0 not at all."
    )
    blink: bool = Field(default=True, description="The face of a photo blinks.")
    idle_motion: float = Field(
        default=1.0, ge=0, le=2, description="How much the head of a photo moves: 1 is natural, 0 not at all."
    )
    drive: Drive = Field(
        default=Drive.VOICE, description="`voice`: only speech moves the mouth; `sound`: song as well."
    )
    extend: Extend = Field(
        default=Extend.PINGPONG, description="What is seen when the video ends before the audio does."
    )
    size: int | None = Field(
        default=None, ge=128, le=1920, description="Longer side of the result, pixels; as the input, at most 1280."
    )
    fps: float | None = Field(default=None, ge=10, le=60, description="Frames per second: 25, or those of the video.")
    crf: int = Field(default=20, ge=0, le=40, description="H.264 quality: 0 is lossless, 18 looks so, 28 is small.")

    @model_validator(mode="after")
    def _one_face(self) -> Input:
        if (self.image is None) == (self.video is None):
            raise ValueError("give image or video, one of the two")
        return self


class Output(Made):
    """The face saying it."""

    video: Annotated[OutputFile, Media("video/mp4")] = Field(description="H.264 and AAC in an MP4 that plays at once.")
    poster: Annotated[OutputFile, Media("image/jpeg")] = Field(description="Its first frame.")
    width: int = Field(description="Of the video, pixels; even.")
    height: int = Field(description="Of the video, pixels; even.")
    fps: float = Field(description="Frames per second.")
    frames: int = Field(description="Frames in the video.")
    audio_s: float = Field(description="Length of the sound, seconds; the video is as long, to a frame.")
    speech_found: bool | None = Field(
        description="Whether anybody speaks; where nobody does, the mouth stays closed. Null where that is not known."
    )
    faces_found: int | None = Field(
        description="Faces in the picture (in a video, the most at once); the largest one speaks. Null if not known."
    )
    frames_without_face: int | None = Field(
        description="Frames of the video that are as they were, as no face is seen in them. Null where not known."
    )
    notes: list[str] = Field(description="What else is worth knowing about this result.")

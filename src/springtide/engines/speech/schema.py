"""What every speech engine takes and gives: sound in; text, segments with times and subtitles out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from springtide.engines.protocol import InputFile, Media, OutputFile


class Input(BaseModel):
    """Sound, or a video with sound, that is to be written down."""

    audio: Annotated[InputFile, Media("audio/*, video/*", needs_audio=True)] = Field(
        description="The sound: any common audio or video file with an audio track."
    )
    language: str | None = Field(
        default=None,
        pattern=r"^(auto|[a-z]{2,3})$",
        description="ISO 639 code such as zh or en; found from the sound where absent or auto.",
    )
    hotwords: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=[], max_length=100, description="Names and terms that are likely to occur."
    )
    prompt: str | None = Field(default=None, max_length=1000, description="Text that sets style and spelling.")
    word_times: bool = Field(default=False, description="Also give the times of every word.")


class Word(BaseModel):
    """One word and when it is said."""

    start_s: float
    end_s: float
    word: str
    probability: float


class Segment(BaseModel):
    """A stretch of speech, as long as a subtitle."""

    id: int
    start_s: float
    end_s: float
    text: str
    words: list[Word] | None = None


class Output(BaseModel):
    """The transcript, also as subtitles."""

    text: str = Field(description="All that was said.")
    language: str | None = Field(description="ISO 639 code; null where nothing was said.")
    duration_s: float = Field(description="Length of the sound, seconds.")
    speech_found: bool = Field(description="Whether anybody speaks in it.")
    segments: list[Segment] = Field(description="Stretches of speech; words of long recordings are in `transcript`.")
    srt: Annotated[OutputFile, Media("application/x-subrip")] = Field(description="Subtitles as SubRip.")
    vtt: Annotated[OutputFile, Media("text/vtt")] = Field(description="Subtitles as WebVTT.")
    transcript: Annotated[OutputFile, Media("application/json")] = Field(
        description="Text, segments and words as JSON."
    )
    engine: str = Field(description="Which model made it.")
    license: str = Field(description="Licence of the model's weights.")
    generative: bool = Field(description="Whether the model makes up content. It writes down what it hears.")
    seconds: float = Field(description="Time inside the engine, seconds.")

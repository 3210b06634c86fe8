"""What every speech engine takes and gives: sound in; text, segments with times and subtitles out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from springtide.engines.made import Made
from springtide.engines.protocol import InputFile, Media, OutputFile

MAX_HOURS = 4.0  # what a model takes unless its max_duration_s in springtide.toml says otherwise


class Quality(StrEnum):
    """Which model listens."""

    STANDARD = "standard"
    FAST = "fast"


class Script(StrEnum):
    """Characters that Mandarin is written in."""

    SIMPLIFIED = "simplified"
    TRADITIONAL = "traditional"


class Input(BaseModel):
    """Sound, or a video with sound, that is to be written down."""

    audio: Annotated[InputFile, Media("audio/*, video/*", needs_audio=True, max_duration_s=MAX_HOURS * 3600)] = Field(
        description="The sound: any common audio or video file with an audio track."
    )
    language: str | None = Field(
        default=None,
        pattern=r"^(auto|[a-z]{2,3})$",
        description="ISO 639 code such as zh or en; found from the sound, piece by piece, where absent or auto.",
    )
    quality: Quality = Field(
        default=Quality.STANDARD, description="standard hears every language; fast is quicker and knows English only."
    )
    hotwords: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=[], max_length=100, description="Names and terms that are likely to occur."
    )
    prompt: str | None = Field(default=None, max_length=1000, description="Text that sets style and spelling.")
    word_times: bool = Field(default=False, description="Also give the times of every word.")
    itn: bool | None = Field(
        default=None,
        description="Numbers, dates, money and the like in Mandarin and English: true for figures (23%), "
        "false for words (twenty-three percent), absent for what the model writes.",
    )
    script: Script = Field(default=Script.SIMPLIFIED, description="Characters that Mandarin is written in.")


class Word(BaseModel):
    """One word and when it is said."""

    start_s: float
    end_s: float
    word: str
    probability: float


class Segment(BaseModel):
    """A stretch of speech in one language."""

    id: int
    start_s: float
    end_s: float
    text: str
    language: str = "en"
    words: list[Word] | None = None


class Spoken(BaseModel):
    """A language and how long it is spoken."""

    language: str
    seconds: float


class Output(Made):
    """The transcript, also as subtitles."""

    text: str = Field(description="All that was said.")
    language: str | None = Field(description="ISO 639 code of what is spoken longest; null where nothing was said.")
    languages: list[Spoken] = Field(description="All languages that were heard, the longest first.")
    duration_s: float = Field(description="Length of the sound, seconds.")
    speech_found: bool = Field(description="Whether anybody speaks in it.")
    note: str | None = Field(description="What should be known of this result, in a sentence; mostly null.")
    segments: list[Segment] = Field(description="Stretches of speech; words of long recordings are in `transcript`.")
    srt: Annotated[OutputFile, Media("application/x-subrip")] = Field(description="Subtitles as SubRip.")
    vtt: Annotated[OutputFile, Media("text/vtt")] = Field(description="Subtitles as WebVTT.")
    txt: Annotated[OutputFile, Media("text/plain")] = Field(description="The text, a line for each stretch of talk.")
    transcript: Annotated[OutputFile, Media("application/json")] = Field(
        description="Text, segments and words as JSON."
    )

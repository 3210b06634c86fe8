"""Engines that are tried by test_engine_trial.py, by dotted path."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Engine, InputFile, Media, Progress


class Files(BaseModel):
    face: Annotated[InputFile, Media("image/*")]
    voice: Annotated[InputFile, Media("audio/*, video/*")]
    clips: Annotated[list[InputFile], Media("video/*")]
    prompt: str
    strength: float = Field(ge=0, le=1, examples=[0.5])


class Choice(BaseModel):
    image: Annotated[InputFile | None, Media("image/*")] = None
    count: int = 1


class Output(BaseModel):
    told: str


class Careful(Engine[Files, Output]):
    """Says what it was given, on standard output too."""

    version = "7"

    def load(self) -> None:
        sys.stdout.write("loading\n")

    def run(self, inputs: Files, progress: Progress) -> Output:
        assert inputs.face.path.suffix == ".jpg" and inputs.voice.duration_s and len(inputs.clips) == 1
        assert inputs.strength == 0.5 and inputs.prompt
        (progress.folder / "made").write_text("x")
        progress(1.0, "done")
        sys.stdout.write("ran\n")
        return Output(told="all")

    def estimate(self, inputs: Files) -> float:
        return 0.25


class Chooses(Engine[Choice, Output]):
    """Its example is its own word."""

    example: ClassVar[Mapping[str, Any]] = {"image": "portrait.jpg", "count": 3}

    def load(self) -> None: ...

    def run(self, inputs: Choice, progress: Progress) -> Output:
        assert inputs.image is not None and inputs.image.width == 512 and inputs.count == 3
        return Output(told="")


class Lost(Chooses):
    example: ClassVar[Mapping[str, Any]] = {"image": "nowhere.jpg"}


class Unloadable(Chooses):
    def load(self) -> None:
        raise ConfigError("model files are missing. Run `springtide models pull`", code="weights_missing")


class Failing(Chooses):
    def run(self, inputs: Choice, progress: Progress) -> Output:
        raise ZeroDivisionError("one by none")


class Killed(Chooses):
    def run(self, inputs: Choice, progress: Progress) -> Output:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Hanging(Chooses):
    def load(self) -> None:
        signal.pause()

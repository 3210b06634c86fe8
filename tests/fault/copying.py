"""An engine for the storms: gives back the file it got. Run in the child process only."""

from __future__ import annotations

import shutil
import time
from typing import Annotated

from pydantic import BaseModel

from springtide.engines.protocol import Engine, InputFile, Media, OutputFile, Progress


class Input(BaseModel):
    file: Annotated[InputFile, Media("*/*")]
    seconds: float = 0.0


class Output(BaseModel):
    file: OutputFile


class Copying(Engine[Input, Output]):
    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Progress) -> Output:
        time.sleep(inputs.seconds)
        target = progress.folder / "copy.bin"
        shutil.copyfile(inputs.file.path, target)
        return Output(file=OutputFile(path=target, media_type="application/octet-stream"))

"""Reads the text in a picture with PP-OCR, whose package brings the model along."""

import time
from typing import Annotated

from pydantic import BaseModel, Field

from springtide.engines.made import Made
from springtide.engines.protocol import Engine, InputFile, Media, Progress


class Input(BaseModel):
    image: Annotated[InputFile, Media("image/*", max_pixels=20_000_000)] = Field(description="A photograph or a scan.")


class Output(Made):
    lines: list[str] = Field(description="What is written, line by line from the top.")


class Ocr(Engine[Input, Output]):
    """Reads the text in a picture."""

    title, license, version, stages = "Text recognition", "Apache-2.0", "ppocr-v6-1", ("read",)

    def load(self) -> None:  # once per process; heavy imports belong here and into run()
        from rapidocr import RapidOCR

        self.reader = RapidOCR(params={"Global.log_level": "error"})

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.images import open_rgb

        began_s = time.monotonic()
        progress(0.1, "read")  # cheap; also where a cancel takes effect
        found = self.reader(open_rgb(inputs.image.path))  # upright, 8 bits; BadMedia where it is broken
        return Output(lines=list(found.txts or ()), **self.made(began_s, model="PP-OCRv6-small"))

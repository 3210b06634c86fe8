"""How every result says what made it: the fields that all output schemas share.

    class Output(Made):
        cutout: OutputFile

    began_s = time.monotonic()
    ...
    return Output(cutout=..., **self.made(began_s, model="isnet"))

A client that shows results of several models can so rely on one set of names for origin, licence and time.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class Made(BaseModel):
    """Where a result comes from."""

    engine: str = Field(description="The engine that made it, such as isnet.")
    model: str = Field(description="The weights it used, such as isnet-general-use-fp16; none where there are none.")
    version: str = Field(description="Version of the engine.")
    license: str = Field(description="Licence of the model's weights.")
    generative: bool = Field(description="Whether the model makes up content.")
    seconds: float = Field(description="Time inside the engine, seconds.")

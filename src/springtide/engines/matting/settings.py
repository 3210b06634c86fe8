"""The matting model's table in springtide.toml: which network, and how it is fed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from springtide.engines.onnx import OnnxSettings

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)  # what RMBG-2.0, BiRefNet and most published networks were trained on
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
_OF_A_FILE = ("name", "license", "commercial_use", "input", "output", "size", "mean", "std", "sigmoid")


class MattingSettings(OnnxSettings):
    """Without `file` the network is ISNet, and the keys that describe a file are refused."""

    file: Path | None = Field(
        default=None, description="An ONNX network instead of ISNet; where relative, below the weights folder."
    )
    name: str | None = Field(default=None, min_length=1, description="Its name in results; the file's where absent.")
    license: str = Field(default="unknown", min_length=1, description="Its licence, shown to clients.")
    commercial_use: bool | None = Field(
        default=None, description="Whether that licence allows commercial use; not known where absent."
    )
    input: str | None = Field(default=None, description="Its input tensor; the first where absent.")
    output: str | None = Field(default=None, description="Its output tensor with the mask; the first where absent.")
    size: int | tuple[int, int] | None = Field(
        default=None, description="Pixels it sees: a side, or [width, height]; the file's own where absent, else 1024."
    )
    mean: Triple = Field(default=IMAGENET_MEAN, description="Mean of red, green and blue in 0 to 1.")
    std: Triple = Field(default=IMAGENET_STD, description="Deviation of red, green and blue.")
    sigmoid: bool | Literal["auto"] = Field(
        default="auto", description="Whether the file lacks the sigmoid at its end; auto: where outputs leave 0 to 1."
    )

    @model_validator(mode="after")
    def _describe_a_file(self) -> MattingSettings:
        if self.file is None and (given := [name for name in _OF_A_FILE if name in self.model_fields_set]):
            raise ValueError(f"{', '.join(given)}: describes a network of your own, but file is not set")
        if min(self.std) <= 0:
            raise ValueError("std: must be above 0")
        if self.size is not None and not all(16 <= side <= 8192 for side in self.sides or ()):
            raise ValueError("size: 16 to 8192 pixels a side")
        return self

    @property
    def sides(self) -> tuple[int, int] | None:
        """`size` as width and height."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

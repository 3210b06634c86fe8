"""The restoration model's table in springtide.toml: which network draws the faces, and how it is fed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from springtide.engines.faces.template import Template
from springtide.engines.onnx import OnnxSettings


class RestorationSettings(OnnxSettings):
    """Without `file` faces are drawn by Real-ESRGAN, and the keys that describe a file are refused."""

    face_side: int = Field(
        default=128,
        ge=32,
        le=256,
        description="Pixels of a face's square as Real-ESRGAN sees it: 128 costs 4 CPU seconds.",
    )
    file: Path | None = Field(
        default=None,
        description="An ONNX network that restores aligned faces (GPEN, GFPGAN, CodeFormer) instead of Real-ESRGAN; "
        "where relative, below the weights folder.",
    )
    name: str | None = Field(default=None, min_length=1, description="Its name in results; the file's where absent.")
    license: str = Field(default="unknown", min_length=1, description="Its licence, shown to clients.")
    commercial_use: bool | None = Field(default=None, description="Whether that licence allows commercial use.")
    generative: bool = Field(default=True, description="Whether it makes up what was not there: face priors do.")
    template: Template = Field(
        default=Template.FFHQ, description="Where it expects eyes, nose and mouth: ffhq (most networks) or gpen."
    )
    mean: float = Field(default=0.5, description="Taken from the colours in 0 to 1, before the network.")
    std: float = Field(default=0.5, gt=0, description="What they are divided by; the other way round after it.")
    extra: dict[str, float] = Field(
        default={"weight": 0.5}, description="Values of further inputs by name, such as CodeFormer's weight."
    )

    @model_validator(mode="after")
    def _describe_a_file(self) -> RestorationSettings:
        of_a_file = ("name", "license", "commercial_use", "generative", "template", "mean", "std", "extra")
        if self.file is None and (given := [name for name in of_a_file if name in self.model_fields_set]):
            raise ValueError(f"{', '.join(given)}: describes a network of your own, but file is not set")
        if self.file is not None and "face_side" in self.model_fields_set:
            raise ValueError("face_side: is Real-ESRGAN's, but file is set")
        return self

"""The later steps of a pipeline as typed: `MODEL name=value name=@file name=from:output`.

`from:cutout` is an output of the step before, `from:0.cutout` or `from:matting.cutout` of an earlier one. A step whose
files are not named is fed the primary output file of the step before. Refuses what cannot be read before anything is
sent; whether the steps fit together is the server's word.
"""

from __future__ import annotations

import json
import mimetypes
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from springtide.cli.placing import Described, first_taking
from springtide.client import From
from springtide.client import Step as SentStep
from springtide.domain.errors import InvalidInput

FED, FILE = "from:", "@"


class Step(msgspec.Struct, frozen=True):
    """One `--then`."""

    model: str
    inputs: dict[str, str]

    @property
    def files(self) -> list[Path]:
        return [file_of(value) for value in self.inputs.values() if value.startswith(FILE)]


def read_steps(texts: Sequence[str]) -> list[Step]:
    """Each text as a step. Raises InvalidInput."""
    return [_read(text) for text in texts]


def then_of(steps: Sequence[Step], models: Sequence[Described], first_file: Path | None = None) -> list[SentStep]:
    """The steps as the client takes them; `models` are the first model and each step's. first_file: what the first
    model is given."""
    then: list[SentStep] = []
    kind = (mimetypes.guess_type(first_file.name)[0] or "" if first_file else "").partition("/")[0]
    for step, before, model in zip(steps, models, models[1:], strict=False):
        inputs = {name: value_of(value, may_be_fed=True) for name, value in step.inputs.items()}
        fields = model.input_files
        if before.output_files and not any(field.name in inputs for field in fields):
            given = before.output_files[0]
            types = before.output_media.get(given, ())
            # What may be a picture or a film is a film where one went in.
            alike = [one for one in types if one.startswith(f"{kind}/")] or types
            kind = alike[0].partition("/")[0] if alike else kind
            field = first_taking(fields, alike)
            if field is not None:
                inputs[field.name] = From(given)
        then.append(SentStep(step.model, inputs))
    return then


def value_of(text: str, *, may_be_fed: bool = False) -> Any:
    """A value as typed: `@file`, JSON where it begins like an object or a list, `from:output` in a step, else text."""
    if may_be_fed and text.startswith(FED):
        return From(text[len(FED) :])
    if text.startswith(FILE):
        return file_of(text)
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the server says what is wrong with it
    return text


def file_of(text: str) -> Path:
    """The file that `@file` names."""
    return Path(text[len(FILE) :]).expanduser()


def _read(text: str) -> Step:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"--then {text!r}: {error}") from error
    if not words or "=" in words[0]:
        raise InvalidInput(f"--then takes MODEL and name=value pairs in one argument, not {text!r}")
    inputs: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--then {text!r}: {word!r} is not name=value")
        inputs[name] = value
    return Step(words[0], inputs)

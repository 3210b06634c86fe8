"""One usual job of an engine, to try it on: its own example, or one put together from its schema and samples."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from springtide.domain.errors import SpringtideError
from springtide.domain.ids import BlobId
from springtide.domain.model import FileField
from springtide.engines.binding import bind, file_fields
from springtide.engines.protocol import Engine, InputFile
from springtide.engines.samples import BY_KIND, FOLDER
from springtide.media.probe import probe

TEXT = "A red balloon rises over the sea at dawn."


def example_of(engine: Engine[Any, Any]) -> BaseModel:
    """Inputs of one job. Raises SpringtideError where the engine gives no example and none can be put together."""
    fields = {field.name: field for field in file_fields(engine.Input)}
    given: dict[str, Any] = dict(engine.example) or _put_together(engine.Input, fields)
    files: dict[BlobId, InputFile] = {}
    for name in given.keys() & fields.keys():
        names = given[name] if isinstance(given[name], list | tuple) else [given[name]]
        blobs = [BlobId(f"blob_{name}{number}") for number in range(len(names))]
        for blob, file in zip(blobs, names, strict=True):
            files[blob] = _probed(_found(engine, str(file)), fields[name])
        given[name] = blobs if fields[name].many else blobs[0]
    bound, _ = bind(engine.Input, given, files)
    return bound


def run_example(engine: Engine[Any, Any], inputs: BaseModel) -> None:
    """Run them on the loaded engine, in a folder that is removed again. Raises what the engine raises."""
    with tempfile.TemporaryDirectory(prefix="springtide-example-") as folder:
        engine.run(inputs, _Unheard(Path(folder)))


class _Unheard:
    """A progress line with nobody at its end."""

    checkpoint = None
    traceparent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        """Nothing."""


def _put_together(input_type: type[BaseModel], files: Mapping[str, FileField]) -> dict[str, Any]:
    """Only what is required: samples for files, the field's own first example for the rest, a sentence for text."""
    given: dict[str, Any] = {}
    for name, field in input_type.model_fields.items():
        if not field.is_required():
            continue
        if name in files:
            kinds = [media_type.partition("/")[0] for media_type in files[name].media_types]
            given[name] = next((BY_KIND[kind] for kind in kinds if kind in BY_KIND), BY_KIND["image"])
        else:
            given[name] = field.examples[0] if field.examples else TEXT
    return given


def _found(engine: Engine[Any, Any], name: str) -> Path:
    """A file beside the engine's own module, else a sample."""
    own = Path(inspect.getfile(type(engine))).parent / name
    return own if own.is_file() else FOLDER / name


def _probed(path: Path, field: FileField) -> InputFile:
    if not path.is_file():
        raise SpringtideError(f"its example names {path.name}, which is neither beside it nor a sample")
    seen = probe(path, field)
    return InputFile(
        path=path,
        media_type=seen.media_type,
        bytes=path.stat().st_size,
        name=path.name,
        width=seen.width,
        height=seen.height,
        duration_s=seen.duration_s,
    )

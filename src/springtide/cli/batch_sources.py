"""What a batch is made of: a folder of files, a CSV with a header, or NDJSON. Each gives named jobs.

    folder   each file is a job; it goes to the first input that takes its kind
    CSV      each row is a job, each column an input; empty cells are left out; cells of file inputs are paths
    NDJSON   each line is a job as the API takes it ({"inputs": {…}, "priority": …}), or only its inputs

A value `@path` is a file anywhere; paths are relative to where the list lies. Refuses what cannot be read, all at once.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from springtide.cli.placing import Described, place
from springtide.cli.steps import FILE, value_of
from springtide.client import JobRequest
from springtide.domain.errors import InvalidInput

NDJSON = frozenset({".ndjson", ".jsonl"})
NOT_PATHS = ("blob_", "http://", "https://", "data:")  # what a file input may hold besides


class Named(msgspec.Struct, frozen=True):
    """A job, and what its results are called by."""

    name: str
    job: JobRequest


def read(source: Path, model: Described, common: Mapping[str, Any]) -> list[Named]:
    """The jobs of a source. common: inputs that every job has unless it says otherwise. Raises InvalidInput."""
    if source.is_dir():
        found = _of_folder(source, model)
    elif source.suffix.lower() == ".csv":
        found = _of_csv(source, model)
    elif source.suffix.lower() in NDJSON:
        found = _of_ndjson(source, model)
    else:
        raise InvalidInput(
            f"{source} is no folder, .csv, .ndjson or .jsonl" if source.exists() else f"no such: {source}"
        )
    jobs = [
        Named(one.name, msgspec.structs.replace(one.job, inputs={**common, **one.job.inputs})) for one in _unique(found)
    ]
    if not jobs:
        raise InvalidInput(f"{source} holds nothing")
    missing = sorted({str(path) for one in jobs for path in files_of(one.job.inputs) if not path.is_file()})
    if missing:
        raise InvalidInput(f"{len(missing)} files are not there: {', '.join(missing[:5])}{' …' if missing[5:] else ''}")
    return jobs


def files_of(value: Any) -> Iterator[Path]:
    """Every file among inputs."""
    if isinstance(value, Path):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from files_of(item)


def _of_folder(folder: Path, model: Described) -> Iterator[Named]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            [(field, _)] = place(model, [path])
            many = any(one.name == field and one.many for one in model.input_files)
            yield Named(path.stem, JobRequest(model=model.name, inputs={field: [path] if many else path}))


def _of_csv(path: Path, model: Described) -> Iterator[Named]:
    fields = {field.name for field in model.input_files}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            inputs: dict[str, Any] = {}
            for name, cell in row.items():
                if name is None or cell is None:
                    raise InvalidInput(f"{path}: row {number} has not as many cells as the header")
                if cell == "":
                    continue
                is_path = name in fields and not cell.startswith((FILE, *NOT_PATHS))
                inputs[name] = _value(FILE + cell if is_path else cell, path.parent)
            yield Named(f"{number:05d}", JobRequest(model=model.name, inputs=inputs))


def _of_ndjson(path: Path, model: Described) -> Iterator[Named]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            told: Any = json.loads(line)
            told = told if isinstance(told, dict) and ("inputs" in told or "model" in told) else {"inputs": told}
            job = msgspec.convert({"model": model.name, **told}, JobRequest)
        except (ValueError, msgspec.ValidationError) as error:
            raise InvalidInput(f"{path}: line {number}: {error}") from error
        inputs = {name: _value(value, path.parent) for name, value in job.inputs.items()}
        yield Named(f"{number:05d}", msgspec.structs.replace(job, inputs=inputs))


def _value(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_value(item, folder) for item in value]
    if not (isinstance(value, str) and value.startswith((FILE, "{", "["))):
        return value
    found = value_of(value)
    return folder / found if isinstance(found, Path) else found


def _unique(found: Iterable[Named]) -> Iterator[Named]:
    """a.png and a.jpg are a and a-2."""
    seen: set[str] = set()
    for one in found:
        name, number = one.name, 1
        while name in seen:
            number += 1
            name = f"{one.name}-{number}"
        seen.add(name)
        yield Named(name, one.job)

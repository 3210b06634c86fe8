"""A job taken out of the platform: its inputs, its attempts and how they ended, and a program that runs its engine on
them in one process.

    folder/
    ├── job.json         the job and its attempts, as the API tells them
    ├── inputs.json      its inputs, files by blob id
    ├── files/           those blobs
    └── run.py           python run.py: the engine on these inputs, no server (python -m pdb run.py, py-spy record, …)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from springtide.cli.results import as_json
from springtide.client import Springtide
from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import BlobId, is_blob_id
from springtide.engines.alone import run_alone
from springtide.engines.protocol import InputFile

PROGRAM = '''"""{title}

It runs here with nothing around it: what the engine raises is shown whole, and a crash is a crash of this process.
"""

import pathlib

from springtide.cli.reproduce import run

print(run(pathlib.Path(__file__).parent))
'''


class Recipe(msgspec.Struct, frozen=True):
    """`inputs.json`."""

    engine: str
    settings: dict[str, Any]
    weights_folder: str
    inputs: dict[str, Any]
    files: dict[BlobId, dict[str, Any]]  # what `InputFile` takes; the path is relative to the folder


def take_out(config: Config, client: Springtide, job_id: str, folder: Path) -> Path:
    """Write the folder; gives its program. Of a pipeline it is the step that was begun last. Raises ConfigError where
    it cannot be written, NotFound for a job or a file that is gone."""
    job = client.jobs.get(job_id)
    if begun := [step.job for step in job.steps or [] if step.job and not step.reused]:
        job = client.jobs.get(begun[-1])
    attempts = client.jobs.attempts(job)
    model = config.models.get(job.model)
    engine = model.engine if model else client.models.get(job.model).engine
    try:
        (folder / "files").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {error.strerror}; choose another with -o") from error
    recipe = Recipe(
        engine=engine,
        settings=model.settings if model else {},
        weights_folder=str(config.weights_folder),
        inputs=job.inputs,
        files={blob: _fetch(client, blob, folder) for blob in _blobs(job.inputs)},
    )
    title = f"Job {job_id} of {job.model} (engine {engine}, version {job.model_version}) once more, in this process."
    program = folder / "run.py"
    told = {**msgspec.to_builtins(job), "attempts": msgspec.to_builtins(attempts)}
    for path, text in (
        (folder / "job.json", as_json(told)),
        (folder / "inputs.json", as_json(recipe)),
        (program, PROGRAM.format(title=title)),
    ):
        path.write_text(text, encoding="utf-8")
    return program


def run(folder: Path) -> str:
    """Run what `take_out` has written."""
    recipe = msgspec.json.decode((folder / "inputs.json").read_bytes(), type=Recipe)
    files = {blob: InputFile(**{**told, "path": folder / told["path"]}) for blob, told in recipe.files.items()}
    weights = Path(recipe.weights_folder)
    return run_alone(recipe.engine, recipe.settings, weights_folder=weights, inputs=recipe.inputs, files=files)


def _blobs(inputs: dict[str, Any]) -> list[BlobId]:
    values = [item for value in inputs.values() for item in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(BlobId(item) for item in values if isinstance(item, str) and is_blob_id(item)))


def _fetch(client: Springtide, blob: BlobId, folder: Path) -> dict[str, Any]:
    path = folder / "files" / blob
    client.download(blob, path)
    return {"path": f"files/{blob}", "media_type": client.media_type(blob), "bytes": path.stat().st_size}

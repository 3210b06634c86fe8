"""A job taken out of the platform: its inputs, its attempts and how they ended, and a program that runs its engine on
them in one process.

    folder/
    ├── job.json         the job and its attempts, as the API tells them
    ├── inputs.json      its inputs, files by blob id
    ├── files/           those blobs
    └── run.py           python run.py: the engine on these inputs, no server (python -m pdb run.py, py-spy record, …)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from springtide.cli.client import Api
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


def take_out(config: Config, api: Api, job_id: str, folder: Path) -> Path:
    """Write the folder; gives its program. Of a pipeline it is the step that was begun last. Raises ConfigError where
    it cannot be written, NotFound for a job or a file that is gone."""
    job = api.get(f"/v1/jobs/{job_id}")
    if begun := [step["job"] for step in job.get("steps") or [] if step["job"] and not step["reused"]]:
        job = api.get(f"/v1/jobs/{begun[-1]}")
    attempts = api.get(f"/v1/jobs/{job['id']}/attempts")["data"]
    model = config.models.get(job["model"])
    engine = model.engine if model else api.get(f"/v1/models/{job['model']}")["engine"]
    try:
        (folder / "files").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {error.strerror}; choose another with -o") from error
    recipe = Recipe(
        engine=engine,
        settings=model.settings if model else {},
        weights_folder=str(config.weights_folder),
        inputs=job["inputs"],
        files={blob: _fetch(api, blob, folder) for blob in _blobs(job["inputs"])},
    )
    title = (
        f"Job {job_id} of {job['model']} (engine {engine}, version {job['model_version']}) once more, in this process."
    )
    program = folder / "run.py"
    for path, text in (
        (folder / "job.json", json.dumps({**job, "attempts": attempts}, ensure_ascii=False, indent=2)),
        (folder / "inputs.json", msgspec.json.format(msgspec.json.encode(recipe), indent=2).decode()),
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


def _fetch(api: Api, blob: BlobId, folder: Path) -> dict[str, Any]:
    path = folder / "files" / blob
    media_type = api.download(f"/v1/blobs/{blob}", path)
    return {"path": f"files/{blob}", "media_type": media_type, "bytes": path.stat().st_size}

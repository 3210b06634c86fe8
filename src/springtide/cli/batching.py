"""`springtide batch`: many jobs from a folder or a list, their results into a folder.

Promises: the same command on the same folder goes on where it was, whatever ended it: files that were uploaded are not
sent again, jobs that were submitted are not submitted again, results that are there are not fetched again. The folder
holds `batch.json` (what is going on), `results.ndjson` (what became of each job) and the files.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from springtide.cli import exits
from springtide.cli.batch_sources import Named, files_of, read
from springtide.cli.orders import pairs
from springtide.cli.results import as_json, names, say
from springtide.cli.steps import value_of
from springtide.client import BatchItem, Blob, JobRequest, Springtide
from springtide.client.progress import bytes_bar, counted
from springtide.domain.errors import InvalidInput

TOLD = 10  # jobs without a result that are named on the screen; all are in the file
STATE, RESULTS = "batch.json", "results.ndjson"


class State(msgspec.Struct):
    """`batch.json`. jobs: as they are submitted, files by their ids; batches: what they became."""

    source: str
    model: str
    key: str
    names: list[str]
    jobs: list[JobRequest]
    batches: list[str] = []
    is_submitted: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """The command."""

    model: str
    source: Path
    inputs: list[str]
    folder: Path
    detach: bool
    timeout_s: float | None
    json: bool


def run_batch(client: Springtide, wish: Wish) -> int:
    """Submit, or go on; wait; fetch. Returns the exit code."""
    state = _kept(wish) or _begin(client, wish)
    if not state.is_submitted:
        state.batches = [batch.id for batch in client.batches.submit_all(state.jobs, idempotency_key=state.key)]
        state.is_submitted = True
        _keep(wish.folder, state)
    if wish.detach:
        print("\n".join(state.batches))
        return exits.DONE
    try:
        ended = [client.batches.wait(batch, timeout_s=wish.timeout_s, progress=True) for batch in state.batches]
    except KeyboardInterrupt:
        say(
            f"interrupted; {len(state.jobs)} jobs go on. The same command again waits for them and fetches the results."
        )
        raise typer.Exit(exits.INTERRUPTED) from None
    _fetch(client, state, wish.folder)
    for batch in ended:
        print(as_json(batch) if wish.json else f"{batch.id} {batch.status}: {counted(batch)}")
    say(f"results in {wish.folder}; {wish.folder / RESULTS} says of each what became of it")
    return exits.DONE if all(batch.is_completed for batch in ended) else exits.JOB_FAILED


def _begin(client: Springtide, wish: Wish) -> State:
    """Read the source, send the files."""
    common = {name: [value_of(text) for text in texts] for name, texts in pairs(wish.inputs).items()}
    once = {name: values[0] if len(values) == 1 else values for name, values in common.items()}
    found = read(wish.source, client.models.get(wish.model), once)
    jobs = _with_uploads(client, found)
    state = State(str(wish.source), wish.model, uuid.uuid4().hex, [one.name for one in found], jobs)
    wish.folder.mkdir(parents=True, exist_ok=True)
    _keep(wish.folder, state)
    return state


def _with_uploads(client: Springtide, found: Sequence[Named]) -> list[JobRequest]:
    """The jobs with each file uploaded once."""
    paths = list(dict.fromkeys(path for one in found for path in files_of(one.job.inputs)))
    total = sum(path.stat().st_size for path in paths)
    with bytes_bar(f"upload {len(paths)} files", total, shown=sys.stderr.isatty(), also=None) as tell:
        blobs = {path: client.upload(path, on_bytes=tell) for path in paths}
    return [msgspec.structs.replace(one.job, inputs=_named(one.job.inputs, blobs)) for one in found]


def _named(value: Any, blobs: dict[Path, Blob]) -> Any:
    if isinstance(value, Path):
        return blobs[value].id
    if isinstance(value, dict):
        return {name: _named(item, blobs) for name, item in value.items()}
    return [_named(item, blobs) for item in value] if isinstance(value, list) else value


def _kept(wish: Wish) -> State | None:
    """What an earlier run of the same command left. Raises InvalidInput where it was another command's."""
    path = wish.folder / STATE
    if not path.is_file():
        return None
    state = msgspec.json.decode(path.read_bytes(), type=State)
    if (state.source, state.model) != (str(wish.source), wish.model):
        raise InvalidInput(f"{wish.folder} holds the batch of {state.model} on {state.source}; choose another with -o")
    return state


def _keep(folder: Path, state: State) -> None:
    fresh = folder / f".{STATE}.new"
    fresh.write_bytes(msgspec.json.encode(state))
    fresh.replace(folder / STATE)


def _fetch(client: Springtide, state: State, folder: Path) -> None:
    """Every result, and the list of what became of each."""
    lines: list[bytes] = []
    wrong = 0
    for name, item in zip(state.names, _items(client, state.batches), strict=False):
        job = item.job
        files = {} if job is None else dict(_targets(folder, name, names(job)))
        for path, file in files.items():
            if not (path.is_file() and path.stat().st_size == file.bytes):
                client.download(file, path)
        told = {
            "name": name,
            "status": item.status,
            "job": job and job.id,
            "files": [path.name for path in files],
            "outputs": job and job.outputs,
            "error": job and job.error,
            "problem": item.problem,
        }
        lines.append(msgspec.json.encode({key: value for key, value in told.items() if value}))
        why = (item.problem or {}).get("detail") or (job.error.message if job and job.error else "")
        if why and (wrong := wrong + 1) <= TOLD:
            say(f"{name}: {item.status}: {why}")
    (folder / RESULTS).write_bytes(b"\n".join([*lines, b""]))


def _items(client: Springtide, batches: Sequence[str]) -> Iterator[BatchItem]:
    for batch in batches:
        yield from client.batches.items(batch)


def _targets(folder: Path, name: str, files: Sequence[tuple[str, Any]]) -> Iterator[tuple[Path, Any]]:
    """The first file of a result is NAME.png, the others NAME.mask.png and so on."""
    for number, (own, file) in enumerate(files):
        path = Path(own)
        yield folder / (f"{name}{path.suffix}" if number == 0 else f"{name}.{path.name}"), file

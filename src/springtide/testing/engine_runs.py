"""One engine in a real child process, run as a worker runs it; and what could be seen of each run.

    seen = rehearse(Case(engine="ocr_engine:Ocr", inputs={"image": Path("letter.png")}), folder)
    assert seen.first.ending.outputs

The process is the worker's own (`worker.supervisor`): inputs are bound there, progress and cancels travel its socket,
outputs are checked as for any job, and an engine that takes its process down is reported with how it died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from springtide.domain.errors import SpringtideError
from springtide.domain.ids import BlobId
from springtide.domain.job import BlobRef
from springtide.domain.lease import Payload
from springtide.engines.binding import file_fields
from springtide.engines.catalog import load_engine
from springtide.engines.protocol import InputFile
from springtide.media.probe import probe
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.worker.frames import Made
from springtide.worker.run import Ending, Run
from springtide.worker.supervised import EngineSpec
from springtide.worker.supervisor import Supervisor

BROKEN_SHARE = 3  # of a broken file only the first third is there
RUN_TIMEOUT_S = 600.0

__all__ = ["Case", "Ran", "Rehearsal", "rehearse"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An engine and what to run it on."""

    engine: str  # as in springtide.toml: an entry point or package.module:Class
    inputs: Mapping[str, Any]  # one job's; a file field holds a Path, or a list of them
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    weights_folder: Path = Path("weights")
    load_timeout_s: float = 300.0


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One run as its worker saw it, and its process afterwards."""

    ending: Ending
    told: list[tuple[float, str | None]]  # progress: fraction and stage, as it arrived
    pid: int | None
    threads: int
    open_files: int
    children: int  # processes that the engine started and that live on

    @property
    def files(self) -> dict[str, list[Made]]:
        """The files it made, by output field."""
        found: dict[str, list[Made]] = {}
        for name, value in (self.ending.outputs or {}).items():
            slots: list[Any] = value if isinstance(value, list) else [value]
            made = [self.ending.files[slot["$file"]] for slot in slots if isinstance(slot, dict) and "$file" in slot]
            if made:
                found[name] = made
        return found


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was tried with one engine in one process."""

    load_s: float
    first: Ran
    second: Ran  # the same inputs again
    broken: dict[str, Ran]  # by file field: that file cut off in the middle
    together: list[Ran]  # two at once, where the engine takes batches
    cancelled: Ran  # asked to stop as soon as it was heard of
    last: Ran  # the same inputs, after all that


def rehearse(case: Case, folder: Path) -> Rehearsal:
    """Load the engine in a child process, run it in every way, end the process. Raises AssertionError where it does
    not load. Blocks for as long as it takes; needs no running event loop."""
    return asyncio.run(_rehearse(case, folder))


def bindable(
    case: Case, *, break_field: str | None = None, folder: Path | None = None
) -> tuple[Payload, dict[str, str]]:
    """A job's payload with blob ids for files, and where those files are. With `break_field` that file is cut off."""
    fields = {field.name: field for field in file_fields(load_engine(case.engine).Input)}
    inputs, refs, paths = dict(case.inputs), list[BlobRef](), dict[str, str]()
    for name, field in fields.items():
        given = case.inputs.get(name)
        if given is None:
            continue
        ids: list[BlobId] = []
        for path in given if isinstance(given, list | tuple) else [given]:
            media_type = probe(Path(path), field).media_type
            local = _broken(Path(path), folder) if name == break_field and folder is not None else Path(path)
            blob = new_blob_id()
            refs.append(BlobRef(id=blob, media_type=media_type, bytes=local.stat().st_size, sha256="", name=local.name))
            paths[blob] = str(local.resolve())
            ids.append(blob)
        inputs[name] = ids if isinstance(given, list | tuple) else ids[0]
    return Payload(inputs, tuple(refs)), paths


def probed_inputs(case: Case) -> tuple[dict[str, Any], dict[BlobId, InputFile]]:
    """Inputs and files as the gateway binds them: with what probing says of each file, and no file to be read."""
    payload, paths = bindable(case)
    fields = {field.name: field for field in file_fields(load_engine(case.engine).Input)}
    files: dict[BlobId, InputFile] = {}
    for name, field in fields.items():
        given = payload.inputs.get(name)
        for blob in given if isinstance(given, list | tuple) else [given]:
            if blob is None:
                continue
            seen = probe(Path(paths[blob]), field)
            size = Path(paths[blob]).stat().st_size
            files[blob] = InputFile(
                path=Path("not-there"), media_type=seen.media_type, bytes=size,
                width=seen.width, height=seen.height, duration_s=seen.duration_s,
            )  # fmt: skip
    return dict(payload.inputs), files


class _Stage:
    """The supervisor and its listener: runs one thing after another."""

    def __init__(self, case: Case, folder: Path, batch: int) -> None:
        self._case = case
        self._folder = folder
        spec = EngineSpec(
            model="rehearsed",
            engine_reference=case.engine,
            settings=dict(case.settings),
            weights_folder=case.weights_folder,
            load_timeout_s=case.load_timeout_s,
            batch=batch,
        )
        self.supervisor = Supervisor(spec, self, SystemClock())
        self._changed = asyncio.Event()
        self._told: dict[str, list[tuple[float, str | None]]] = {}
        self._endings: dict[str, Ending] = {}
        self._cancel_when_heard: Run | None = None

    async def ready(self) -> None:
        await self.supervisor.start()
        while not self.supervisor.is_ready:
            problem = self.supervisor.problem
            assert problem is None, f"{self._case.engine} does not load: {problem.message}"
            await self._change()

    async def run(self, *jobs: tuple[Payload, dict[str, str]], cancel: bool = False) -> list[Ran]:
        while not self.supervisor.is_ready:  # a process that died is replaced
            await self._change()
        runs = [self._run(payload, paths) for payload, paths in jobs]
        self._cancel_when_heard = runs[0] if cancel else None
        self.supervisor.dispatch(runs)
        while any(run.id not in self._endings for run in runs):
            await self._change()
        return [self._seen(run) for run in runs]

    # --- worker.supervised.Listener -----------------------------------------------------------------------------

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        self._told.setdefault(run.id, []).append((fraction, stage))
        if run is self._cancel_when_heard:
            self.supervisor.cancel(run)
            self._cancel_when_heard = None

    def on_endings(self, endings: Sequence[Ending]) -> None:
        self._endings.update({ending.run.id: ending for ending in endings})
        self._changed.set()

    def on_child(self) -> None:
        self._changed.set()

    def on_ghost(self, run: Run) -> None:
        """A cancelled run of a batch has ended after all; nothing here waits for that."""

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _run(self, payload: Payload, paths: dict[str, str]) -> Run:
        base = self._folder / f"run-{len(self._told) + len(self._endings)}-{new_job_id()}"
        base.mkdir(parents=True)
        return Run(
            id=new_job_id(),
            attempt=1,
            payload=msgspec.msgpack.encode(payload),
            timeout_s=RUN_TIMEOUT_S,
            base=str(base),
            folder=str(base / "own"),
            paths=paths,
        )

    def _seen(self, run: Run) -> Ran:
        pid = self.supervisor.pid
        threads = open_files = children = 0
        if pid is not None and psutil.pid_exists(pid):
            process = psutil.Process(pid)
            threads, open_files = process.num_threads(), process.num_fds()
            children = len(process.children(recursive=True))
        return Ran(
            ending=self._endings[run.id],
            told=self._told.get(run.id, []),
            pid=pid,
            threads=threads,
            open_files=open_files,
            children=children,
        )


async def _rehearse(case: Case, folder: Path) -> Rehearsal:
    engine_type = load_engine(case.engine)
    stage = _Stage(case, folder, min(2, max(engine_type.max_batch, engine_type.lanes)))
    job = bindable(case)
    try:
        await stage.ready()
        load_s = stage.supervisor.load_s or 0.0
        [first] = await stage.run(job)
        [second] = await stage.run(job)
        broken: dict[str, Ran] = {}
        for field in file_fields(engine_type.Input):
            if case.inputs.get(field.name) is not None:
                cut = bindable(case, break_field=field.name, folder=folder)
                [broken[field.name]] = await stage.run(cut)
        together = await stage.run(job, bindable(case)) if stage.supervisor.most_together > 1 else []
        [cancelled] = await stage.run(job, cancel=True)
        [last] = await stage.run(job)
    finally:
        await stage.supervisor.stop()
    return Rehearsal(
        load_s=load_s,
        first=first,
        second=second,
        cancelled=cancelled,
        broken=broken,
        together=together,
        last=last,
    )


def _broken(path: Path, folder: Path) -> Path:
    """A copy that ends in the middle, as uploads do that were cut off before anybody looked."""
    data = path.read_bytes()
    cut = folder / f"broken-{new_job_id()}{path.suffix}"
    cut.write_bytes(data[: max(1, len(data) // BROKEN_SHARE)])
    return cut


def refusal(path: Path, case: Case, name: str) -> str | None:
    """The code with which the platform refuses the file at `path` for the field `name`; None where it is taken."""
    field = next(field for field in file_fields(load_engine(case.engine).Input) if field.name == name)
    try:
        probe(path, field)
    except SpringtideError as error:
        return error.code
    return None

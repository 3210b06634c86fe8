"""What each process of a gang does: `fetch` brings the inputs, `run` computes, rank 0 stores and reports the result.

The same in a process of this machine and in a container of a cluster: the order (a lease) and the folder come in from
outside, all else from the model's settings. Promises: whoever fails says why, in the platform's own codes, before its
process ends; a rank that only felt a neighbour's death waits a moment, so that the neighbour or the worker may name it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.domain.job import JobError
from springtide.domain.lease import Lease, Payload
from springtide.engines import signing
from springtide.engines.catalog import check_license, load_engine
from springtide.engines.groups import GENERATE, POSTPROCESS, Group, GroupEngine
from springtide.engines.places import place
from springtide.fleet.gangs import REPORTED_EXIT
from springtide.worker.frames import Task, TaskResult
from springtide.worker.outcome import (
    bind_task,
    describe_load_failure,
    describe_problem,
    finish_task,
    keep_checkpoint,
    trace_of,
)
from springtide.worker.rank_line import RankLine
from springtide.worker.settings import WorkerSettings

log = logging.getLogger(__name__)

FETCHED_FILE = "fetched.json"
BLAME_S = 1.0  # a worker sees a dead process at once, a cluster's watch within a second
_BROKEN = ("NCCL", "Gloo", "gloo", "onnection closed by peer", "onnection reset", "ocket closed")  # what torch says


class Fetched(msgspec.Struct):
    """What the first phase leaves for the second."""

    paths: dict[str, str] = {}
    checkpoint: str | None = None


class Rank:
    """One process of the gang that runs `lease`."""

    def __init__(self, settings: WorkerSettings, lease: Lease, folder: Path, *, group: Group, line: RankLine) -> None:
        """folder: of the attempt, on this machine; ranks may share it."""
        self._settings = settings
        self._lease = lease
        self._folder = folder
        self._group = group
        self._line = line

    def fetch(self) -> int:
        """The first phase. Gives the process's exit code."""
        folder = self._folder / "in"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            files = list(msgspec.msgpack.decode(self._lease.payload, type=Payload).files)
            fetched = Fetched(self._line.fetch(files, folder), self._line.fetch_checkpoint(folder))
        except msgspec.DecodeError as error:
            return self._failed(JobError(code="invalid_input", message=f"the job's payload cannot be read: {error}"))
        except AttemptFailed as error:
            return self._failed(describe_problem(error).as_error())
        (self._folder / FETCHED_FILE).write_bytes(msgspec.json.encode(fetched))
        return 0

    def run(self) -> int:
        """The second phase. Gives the process's exit code."""
        found = self._folder / FETCHED_FILE
        if not found.exists() and (code := self.fetch()) != 0:
            return code
        fetched = msgspec.json.decode(found.read_bytes(), type=Fetched)
        try:
            engine = self._load()
        except Exception as error:
            log.exception("the engine does not load")
            problem = describe_load_failure(error)
            return self._failed(JobError(code=problem.code, message=problem.message, retryable=True))
        payload, own = self._lease.payload, str(self._folder / f"out-{self._group.rank}")
        task = Task(self._group.rank, payload, fetched.paths, own, 1, fetched.checkpoint)
        inputs = bind_task(engine.Input, task)
        if isinstance(inputs, TaskResult):
            assert inputs.problem is not None
            return self._failed(inputs.problem.as_error())
        try:
            return self._compute(engine, inputs, task)
        except Exception as error:
            return self._failed_with(error)

    def _load(self) -> GroupEngine[Any, Any]:
        settings = self._settings
        engine = load_engine(settings.engine_reference)(settings.settings, settings.weights_folder)
        if not isinstance(engine, GroupEngine):
            raise ConfigError(f"engine {settings.engine_reference!r} is no GroupEngine: a group cannot run it")
        check_license(engine, accepted=settings.accept_non_commercial)
        signing.use(settings.signing)
        engine.load()
        return engine

    def _compute(self, engine: GroupEngine[Any, Any], inputs: BaseModel, task: Task) -> int:
        is_first = self._group.rank == 0
        progress = _Progress(task, self._line if is_first else None)
        progress(0.0)
        began_s = time.monotonic()
        generated = engine.generate(inputs, progress, self._group)
        if not is_first:
            return 0
        progress.begin(POSTPROCESS)
        output = engine.postprocess(inputs, generated, progress)
        result = finish_task(engine.Output, task, output, time.monotonic() - began_s)
        if result.problem is not None:
            return self._failed(result.problem.as_error())
        assert result.outputs is not None
        try:
            refs = self._line.store(result.files)
        except AttemptFailed as error:
            return self._failed(describe_problem(error).as_error())
        outputs = place(msgspec.msgpack.decode(result.outputs), [ref.id for ref in refs])
        self._line.complete(outputs, refs, size=len(result.outputs), run_s=result.run_s)
        return 0

    def _failed_with(self, error: Exception) -> int:
        if trace_of(error) is not None:
            log.error("the engine failed in rank %d", self._group.rank, exc_info=error)
        if self._group.size > 1 and _is_broken_connection(error):
            self._line.pause(BLAME_S)
            message = f"rank {self._group.rank} of {self._group.size} lost touch with its group: {error}"
            return self._failed(JobError(code="worker_lost", message=message, retryable=True))
        return self._failed(describe_problem(error).as_error())

    def _failed(self, error: JobError) -> int:
        settings, group = self._settings, self._group
        facts = {"engine": settings.engine_reference, "rank": group.rank, "ranks": group.size}
        self._line.fail(msgspec.structs.replace(error, details={**facts, **error.details}))
        return REPORTED_EXIT


class _Progress:
    """`engines.protocol.Progress` of one rank; silent without a line."""

    def __init__(self, task: Task, line: RankLine | None) -> None:
        self._task = task
        self._line = line
        self._stage = GENERATE
        self._fraction = 0.0
        self._kept = 0

    @property
    def folder(self) -> Path:
        path = Path(self._task.folder)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def traceparent(self) -> str | None:
        return self._task.traceparent

    @property
    def checkpoint(self) -> Path | None:
        return None if self._task.checkpoint is None else Path(self._task.checkpoint)

    def begin(self, stage: str) -> None:
        """Of an engine that names no stage from now on."""
        self._stage = stage
        self(self._fraction)

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        if self._line is None:
            return
        kept = None
        if checkpoint is not None:
            self._kept += 1
            kept = keep_checkpoint(checkpoint, self._task.folder, self._kept)
        share = float(fraction)
        self._fraction = min(max(share, 0.0), 1.0) if share == share else 0.0
        self._line.progress(self._fraction, stage or self._stage, kept)


def _is_broken_connection(error: Exception) -> bool:
    """What a neighbour's death looks like from here, in Python's, torch's (by name, it is never imported) and NCCL's
    words."""
    if isinstance(error, ConnectionError | EOFError | TimeoutError):
        return True
    name = type(error).__name__
    is_of_torch = name.startswith("Dist") and name.endswith("Error")
    return is_of_torch or (isinstance(error, RuntimeError) and any(words in str(error) for words in _BROKEN))

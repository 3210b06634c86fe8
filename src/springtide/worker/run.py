"""One attempt on its way through the child, and how it ended there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from springtide.domain.ids import JobId
from springtide.domain.job import JobError
from springtide.worker.frames import MOST_TOGETHER, Made, TaskResult

UNSEEN_MAX = 3  # a job whose child keeps dying before it is seen to begin is to blame after all


class Stop(StrEnum):
    """Why a run was asked to stop."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(slots=True, eq=False)
class Run:
    """What the supervisor needs of an attempt, and what it notes on it."""

    id: JobId
    attempt: int
    payload: bytes
    timeout_s: float
    base: str  # the attempt's folder; fetched inputs are in it
    folder: str  # the engine's own, in `base`
    paths: dict[str, str] = field(default_factory=dict[str, str])
    checkpoint: str | None = None  # a local file to go on from
    traceparent: str | None = None  # for services that the engine calls
    needs_cleaning: bool = False  # something was written under the attempt's folder
    seq: int = 0  # in the child that has it now
    stop: Stop | None = None
    kill_at_s: float = 0.0  # when a run that was asked to stop and did not is killed
    together: int = MOST_TOGETHER  # most that may share its run: fewer each time one ended with nobody to blame
    handbacks: int = 0
    unseen: int = 0  # times its child died with nobody seen to run


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. Exactly one of: `outputs`, `error`, `cancelled`, `unbegun`."""

    run: Run
    run_s: float = 0.0
    outputs: dict[str, Any] | None = None  # a file is {"$file": n}
    outputs_bytes: int = 0
    files: tuple[Made, ...] = ()
    error: JobError | None = None
    cancelled: bool = False
    unbegun: bool = False  # it never began, or was caught in another one's end: dispatch it again
    has_folder: bool = True  # its folder may be there
    lingers: bool = False  # its batch runs on; `on_ghost` tells when its folder is no longer in use


def ending_of(run: Run, result: TaskResult) -> Ending:
    """How a run ended that its process has told of."""
    if result.outputs is not None:
        outputs = msgspec.msgpack.decode(result.outputs)
        return Ending(
            run=run,
            run_s=result.run_s,
            outputs=outputs,
            outputs_bytes=len(result.outputs),
            files=tuple(result.files),
            has_folder=result.has_folder,
        )
    error = None if result.problem is None else result.problem.as_error()
    if result.cancelled and run.stop is Stop.TIMED_OUT:
        error = timed_out(run)
    return Ending(
        run=run,
        run_s=result.run_s,
        error=error,
        cancelled=result.cancelled and error is None,
        unbegun=result.unbegun,
        has_folder=result.has_folder,
    )


def endings_after_death(runs: list[Run], running: tuple[int, ...], error: JobError) -> list[Ending]:
    """Who is to blame when the child has died with `runs` unfinished and tasks `running` (their seqs) in it.

    Only what was running is blamed, and only where it ran by itself. A batch that died together is tried again: in
    halves where memory ran out, which a smaller batch may cure; else one by one, since each further death would cost
    another loading of the model. Those that had not begun are handed back unspent.
    """
    together = len(running)
    endings: list[Ending] = []
    for run in runs:
        began = run.seq in running
        if run.stop is Stop.CANCELLED:
            endings.append(Ending(run=run, cancelled=True))
        elif run.stop is Stop.TIMED_OUT and began:
            endings.append(Ending(run=run, error=timed_out(run)))
        elif (began and together == 1) or run.unseen >= UNSEEN_MAX:
            endings.append(Ending(run=run, error=error))
        else:
            if began:
                run.together = together // 2 if error.code == "out_of_memory" else 1
            run.unseen += not running
            endings.append(hand_back(run))
    return endings


def hand_back(run: Run) -> Ending:
    """It is dispatched again, in a fresh folder, with its attempt unspent."""
    run.handbacks += 1
    return Ending(run=run, unbegun=True)


def timed_out(run: Run) -> JobError:
    message = f"the run took longer than its limit of {run.timeout_s:g} s and was stopped"
    return JobError(code="timed_out", message=message, details={"timeout_s": run.timeout_s})

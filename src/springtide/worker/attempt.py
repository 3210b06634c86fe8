"""One attempt on a worker, the stages it goes through, and the books in which the worker has those it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from springtide.domain.ids import JobId
from springtide.domain.lease import Lease
from springtide.worker.phases import Phases
from springtide.worker.run import Run


class Stage(IntEnum):
    """Where an attempt is."""

    FETCHING = 0
    READY = 1
    RUNNING = 2  # in the child, also where it has not begun there
    STORING = 3
    REPORTING = 4


@dataclass(slots=True, eq=False)
class Attempt:
    """A lease and what has become of it so far."""

    lease: Lease
    run: Run
    stage: Stage = Stage.FETCHING
    is_cancelled: bool = False
    ready_at_s: float = 0.0  # monotonic
    task: asyncio.Task[None] | None = None  # that moves its files
    phases: Phases | None = None  # where traces are told


class Books:
    """The attempts that are held, one a job, and how many are at each stage."""

    def __init__(self) -> None:
        self._attempts: dict[JobId, Attempt] = {}
        self._in_stage = [0] * len(Stage)

    def __iter__(self) -> Iterator[Attempt]:
        """As they are now: who goes through them may take some off."""
        return iter(list(self._attempts.values()))

    def get(self, job: JobId) -> Attempt | None:
        return self._attempts.get(job)

    def of(self, run: Run) -> Attempt | None:
        """The attempt that `run` is of; None where that is not held any more."""
        attempt = self._attempts.get(run.id)
        return attempt if attempt is not None and attempt.run is run else None

    def holds(self, attempt: Attempt) -> bool:
        return self._attempts.get(attempt.lease.id) is attempt

    def count(self, stage: Stage) -> int:
        return self._in_stage[stage]

    def enter(self, attempt: Attempt) -> None:
        self._attempts[attempt.lease.id] = attempt
        self._in_stage[attempt.stage] += 1

    def move(self, attempt: Attempt, stage: Stage) -> None:
        self._in_stage[attempt.stage] -= 1
        self._in_stage[stage] += 1
        attempt.stage = stage

    def strike(self, job: JobId) -> Attempt | None:
        """Take one off; None where there is none."""
        attempt = self._attempts.pop(job, None)
        if attempt is not None:
            self._in_stage[attempt.stage] -= 1
        return attempt

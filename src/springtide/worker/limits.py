"""Holds an engine's process to its limits: time to load, time of a run, memory, and heeding a cancel.

Promises that nobody is stopped for another's sake where that can be helped: jobs that share a process go on without a
cancelled one, a batch is as patient as its most patient job. Whoever heeds nothing costs the process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from springtide.domain.clock import Clock
from springtide.domain.job import JobError
from springtide.worker.inside import Inside
from springtide.worker.run import Run, Stop, timed_out
from springtide.worker.supervised import ChildProcess, EngineSpec

log = logging.getLogger(__name__)

WATCH_EVERY_S = 0.25  # of memory and time limits, while something runs: a sample costs 50 µs
TIMEOUT_GRACE_S = 1.0  # for an engine to come by its next progress(): a model that stays loaded is worth a second
_BESIDE = JobError(code="crashed", message="killed for another job beside it", retryable=True)


class Enforcer(Protocol):
    """Who does what has to be done: the supervisor."""

    @property
    def is_ready(self) -> bool: ...

    @property
    def lanes(self) -> int: ...

    def note_memory(self) -> float | None:
        """What the process holds now, MiB."""
        ...

    def stop_run(self, run: Run, why: Stop, grace_s: float) -> None:
        """Ask it to stop; it is killed after so long."""
        ...

    def forsake(self, runs: Sequence[Run]) -> None:
        """They were cancelled and did not heed it: they have ended, for all that others need to know."""
        ...

    def kill(self, verdict: JobError) -> None:
        """End the process."""
        ...


class Limits:
    """Of one life of the process."""

    def __init__(self, spec: EngineSpec, child: ChildProcess, inside: Inside, enforcer: Enforcer, clock: Clock) -> None:
        self._spec = spec
        self._child = child
        self._inside = inside
        self._enforcer = enforcer
        self._clock = clock

    async def watch(self, started_s: float) -> None:
        """Until cancelled. started_s: when the process was (monotonic)."""
        enforcer = self._enforcer
        while not enforcer.is_ready:
            await self._clock.sleep(WATCH_EVERY_S)
            if self._clock.monotonic_s() - started_s > self._spec.load_timeout_s and not enforcer.is_ready:
                limit = f"loading took longer than its limit of {self._spec.load_timeout_s:g} s"
                enforcer.kill(JobError(code="load_timed_out", message=limit))
                return
            self._check_memory()
        while True:
            await self._inside.occupied.wait()
            now_s = self._clock.monotonic_s()
            self._inside.see_running(self._child.running(), now_s)
            runs = self._inside.running()
            self._check_memory()
            self._check_time(runs, now_s)
            self._check_stops(runs, now_s)
            await self._clock.sleep(self._until_next_s(runs, now_s))

    def _until_next_s(self, runs: list[Run], now_s: float) -> float:
        instants = [run.kill_at_s for run in runs if run.stop is not None]
        instants += [self._inside.ends_s(run) for run in runs]
        soonest = min((instant - now_s for instant in instants if instant > now_s), default=WATCH_EVERY_S)
        return min(WATCH_EVERY_S, soonest + 0.001)

    def _check_memory(self) -> None:
        used = self._enforcer.note_memory()
        limit = self._spec.memory_limit_mb
        if limit is not None and used is not None and used > limit:
            message = f"the engine's process used {used:.0f} MiB, over the model's limit of {limit} MiB"
            details = {"used_mb": round(used), "limit_mb": limit}
            self._enforcer.kill(JobError(code="out_of_memory", message=message, retryable=True, details=details))

    def _check_time(self, runs: list[Run], now_s: float) -> None:
        overdue = [run for run in runs if now_s >= self._inside.ends_s(run)]
        if self._enforcer.lanes > 1 or len(runs) == 1:  # each is on its own
            for run in overdue:
                self._enforcer.stop_run(run, Stop.TIMED_OUT, TIMEOUT_GRACE_S)
        elif runs and len(overdue) == len(runs):
            self._enforcer.kill(timed_out(runs[0]))  # each is tried again alone: then the slow one is known

    def _check_stops(self, runs: list[Run], now_s: float) -> None:
        overdue = [run for run in runs if run.stop is not None and now_s >= run.kill_at_s]
        if self._enforcer.lanes > 1 and self._inside.ghosts and not self._inside.runs:
            log.warning("a cancelled job goes on in its lane: killing its process, now that nothing else is in it")
            self._enforcer.kill(_BESIDE)
            return
        if not overdue:
            return
        if all(run.stop is not None for run in runs) or any(run.stop is Stop.TIMED_OUT for run in overdue):
            log.warning("job %s did not heed its stop (%s): killing its process", overdue[0].id, overdue[0].stop)
            self._enforcer.kill(_BESIDE)
            return
        self._enforcer.forsake(overdue)

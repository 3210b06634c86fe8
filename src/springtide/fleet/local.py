"""Workers as processes of this machine: started, watched, restarted with back-off, drained, never left behind.

Each worker's standard input is its lifeline: when this process dies, however, the pipe closes and the worker finishes
what it runs and leaves. A worker that dies is restarted after a delay that doubles with each death in a row, so a
crash loop costs little and says so; a slow load is not a death.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.fleet import Decision, Replica, ReplicaPhase, Trouble
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.backoff import Backoff

log = logging.getLogger(__name__)
STEADY_AFTER_S = 60.0  # a worker that lived this long ends a run of deaths
FIRST_RESTART_S = 0.5
MOST_RESTART_S = 60.0
LOOP_AFTER = 2  # deaths in a row: one alone is nothing that somebody has to mend


class Launch(msgspec.Struct, frozen=True):
    """How a worker's process is started: argv, and variables on top of this process's own."""

    argv: Sequence[str]
    variables: Mapping[str, str] = {}


class _Process:
    def __init__(self, worker: WorkerId, process: asyncio.subprocess.Process, clock: Clock) -> None:
        self.worker = worker
        self.process = process
        self.started_at_s = clock.now_s()
        self.began_s = clock.monotonic_s()  # a clock that is set does not change how long it lived
        self.draining = False
        self.watcher: asyncio.Task[None] | None = None

    def drain(self) -> None:
        self.draining = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class _ModelFleet:
    def __init__(self) -> None:
        self.wanted = 0
        self.processes: dict[WorkerId, _Process] = {}
        self.backoff = Backoff(FIRST_RESTART_S, MOST_RESTART_S)
        self.not_before_s = float("-inf")  # monotonic
        self.restarts = 0
        self.last_exit: str | None = None

    @property
    def staying(self) -> list[_Process]:
        return [process for process in self.processes.values() if not process.draining]


class LocalFleet:
    """`Fleet` on this machine."""

    def __init__(
        self,
        launch: Callable[[ModelName, WorkerId], Launch],
        new_worker_id: Callable[[ModelName], WorkerId],
        on_gone: Callable[[ModelName, WorkerId], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """on_gone: told at once when a worker's process has ended, so that what it held need not wait for its lease to
        expire."""
        self._launch = launch
        self._new_worker_id = new_worker_id
        self._on_gone = on_gone
        self._clock = clock
        self._models: dict[ModelName, _ModelFleet] = {}
        self._stopping = False

    async def start(self) -> None:
        self._stopping = False

    async def stop(self, grace_s: float) -> None:
        """Drain all; kill what is left after `grace_s`."""
        self._stopping = True
        for fleet in self._models.values():
            fleet.wanted = 0
        processes = [process for fleet in self._models.values() for process in fleet.processes.values()]
        for process in processes:
            process.drain()
        watchers = [process.watcher for process in processes if process.watcher is not None]
        if not watchers:
            return
        await asyncio.wait(watchers, timeout=grace_s)
        for process in processes:
            if process.process.returncode is None:
                log.warning("worker %s did not end within %.0f s: killed", process.worker, grace_s)
                with contextlib.suppress(ProcessLookupError):
                    process.process.kill()
        await asyncio.wait(watchers)

    async def observe(self) -> list[Replica]:
        replicas: list[Replica] = []
        for model, fleet in self._models.items():
            for process in fleet.processes.values():
                phase = ReplicaPhase.DRAINING if process.draining else ReplicaPhase.RUNNING
                replicas.append(self._replica(model, fleet, phase, process.worker, process.started_at_s))
            for n in range(fleet.wanted - len(fleet.staying)):
                worker = WorkerId(f"{model}-waiting-{n}")
                starts_at_s = self._clock.now_s() + max(0.0, fleet.not_before_s - self._clock.monotonic_s())
                replicas.append(self._replica(model, fleet, ReplicaPhase.BACKING_OFF, worker, starts_at_s))
        return replicas

    async def drain(self, workers: Sequence[WorkerId]) -> None:
        for process in [one for fleet in self._models.values() for one in fleet.staying if one.worker in workers]:
            log.info("worker %s drains, as ordered", process.worker)
            process.drain()

    async def apply(self, decision: Decision, *, drain_first: Sequence[WorkerId]) -> None:
        fleet = self._models.setdefault(decision.model, _ModelFleet())
        fleet.wanted = decision.replicas
        if self._stopping:
            return
        surplus = len(fleet.staying) - fleet.wanted
        if surplus > 0:
            rank = {worker: place for place, worker in enumerate(drain_first)}
            for process in sorted(fleet.staying, key=lambda one: rank.get(one.worker, len(rank)))[:surplus]:
                log.info("worker %s drains", process.worker)
                process.drain()
        while len(fleet.staying) < fleet.wanted and self._clock.monotonic_s() >= fleet.not_before_s:
            await self._start_one(decision.model, fleet)

    async def _start_one(self, model: ModelName, fleet: _ModelFleet) -> None:
        worker = self._new_worker_id(model)
        launch = self._launch(model, worker)
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            env={**os.environ, **launch.variables},
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for `up`, which drains its workers itself
        )
        one = _Process(worker, process, self._clock)
        fleet.processes[worker] = one
        one.watcher = asyncio.create_task(self._watch(model, fleet, one))
        log.info("worker %s started (pid %d)", worker, process.pid)

    async def _watch(self, model: ModelName, fleet: _ModelFleet, one: _Process) -> None:
        code = await one.process.wait()
        del fleet.processes[one.worker]
        fleet.last_exit = _exit_text(code)
        if code == 0 and not one.draining:
            log.info("worker %s has left: somebody told it to stop", one.worker)
        elif not one.draining and not self._stopping:
            now_s = self._clock.monotonic_s()
            if now_s - one.began_s > STEADY_AFTER_S:
                fleet.backoff.reset()
            delay_s = fleet.backoff.next_s()
            fleet.not_before_s = now_s + delay_s
            fleet.restarts += 1
            loop_note = f", {fleet.backoff.failures} deaths in a row" if fleet.backoff.failures > 1 else ""
            log.warning("worker %s died: %s%s; next start in %.1f s", one.worker, fleet.last_exit, loop_note, delay_s)
        try:
            await self._on_gone(model, one.worker)
        except Exception as error:  # its lease runs out by itself; the word was only to be quicker
            log.debug("could not say that %s is gone: %s", one.worker, error)

    def _replica(
        self, model: ModelName, fleet: _ModelFleet, phase: ReplicaPhase, worker: WorkerId, started_at_s: float
    ) -> Replica:
        deaths, trouble = fleet.backoff.failures, None
        if phase is ReplicaPhase.BACKING_OFF and deaths >= LOOP_AFTER:
            trouble = Trouble(
                code="crash_looping", message=f"its workers died {deaths} times in a row: {fleet.last_exit}"
            )
        return Replica(
            worker=worker,
            model=model,
            phase=phase,
            restarts=fleet.restarts,
            started_at_s=started_at_s,
            last_exit=fleet.last_exit,
            trouble=trouble,
        )


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"

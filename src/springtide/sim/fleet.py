"""Simulated workers and the fleet that keeps them: `fleet.local` without processes of the system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from springtide.domain.fleet import Decision, Replica, ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.backoff import Backoff
from springtide.runtime.ids import new_worker_id
from springtide.sim.nodes import Node
from springtide.sim.trace import Trace
from springtide.worker.service import Worker

STEADY_AFTER_S = 60.0  # as in fleet.local
FIRST_RESTART_S, MOST_RESTART_S = 0.5, 60.0


class WorkerProcess:
    """One worker from its start to its end, whichever that is."""

    def __init__(self, node: Node, model: ModelName, worker: Worker, trace: Trace) -> None:
        self.node = node
        self.model = model
        self.worker = worker
        self.started_at_s = node.host.now_s()
        self.is_draining = False
        self._trace = trace
        self._main = node.spawn(worker.run())
        # In no process: whoever started it may die before it.
        self._end = asyncio.get_running_loop().create_task(self._see_the_end(), context=Context())

    def drain(self) -> None:
        """SIGTERM."""
        self.is_draining = True
        self.worker.drain()

    async def ended(self) -> str:
        """Wait for its end; returns how it came."""
        return await asyncio.shield(self._end)

    async def _see_the_end(self) -> str:
        await asyncio.wait([self._main])
        if not self.node.is_alive:
            return "killed by SIGKILL"
        if self._main.cancelled() or self._main.exception() is not None:
            self._trace.violation(f"worker {self.node.name} ended with {self._main.exception()!r}")
            self.node.kill()
            return "exit code 1"
        if remains := self.node.remains():
            await asyncio.wait(remains, timeout=1.0)
        if remains := self.node.remains():
            self._trace.violation(f"worker {self.node.name} left tasks behind: {remains}")
        self.node.kill()
        return "exit code 0"


class SimFleet:
    """`Fleet` of simulated workers; they are children of the process that has it."""

    def __init__(
        self,
        node: Node,
        start: Callable[[ModelName, WorkerId], WorkerProcess],
        on_gone: Callable[[ModelName, WorkerId], Coroutine[Any, Any, None]],
        trace: Trace,
    ) -> None:
        self._node = node
        self._start = start
        self._on_gone = on_gone
        self._trace = trace
        self._wanted: dict[ModelName, int] = {}
        self._backoff: dict[ModelName, Backoff] = {}
        self._not_before_s: dict[ModelName, float] = {}
        self.processes: list[WorkerProcess] = []

    async def start(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...

    async def observe(self) -> list[Replica]:
        return [
            Replica(
                worker=WorkerId(process.node.name),
                model=process.model,
                phase=ReplicaPhase.DRAINING if process.is_draining else ReplicaPhase.RUNNING,
                restarts=0,
                started_at_s=process.started_at_s,
            )
            for process in self.processes
        ]

    async def drain(self, workers: Sequence[WorkerId]) -> None:
        for process in self.processes:
            if process.node.name in workers and not process.is_draining:
                self._trace.add(f"drain {process.node.name} by order")
                process.drain()

    async def apply(self, decision: Decision, *, drain_first: Sequence[WorkerId]) -> None:
        model = decision.model
        staying = [one for one in self.processes if one.model == model and not one.is_draining]
        surplus = len(staying) - decision.replicas
        if surplus > 0:
            for process in sorted(staying, key=lambda one: one.node.name not in drain_first)[:surplus]:
                self._trace.add(f"drain {process.node.name}")
                process.drain()
        now_s = self._node.host.monotonic_s()
        for _ in range(-surplus if now_s >= self._not_before_s.get(model, 0.0) else 0):
            process = self._start(model, new_worker_id(model))
            self._trace.add(f"start {process.node.name}")
            self.processes.append(process)
            self._node.spawn(self._watch(process))

    def orphan(self) -> None:
        """The process that had the fleet is gone: its workers see their lifeline close, finish and leave."""
        for process in self.processes:
            process.drain()

    async def _watch(self, process: WorkerProcess) -> None:
        model = process.model
        end = await process.ended()
        self._trace.add(f"{process.node.name} ended: {end}")
        self.processes.remove(process)
        if not process.is_draining:
            backoff = self._backoff.setdefault(model, Backoff(FIRST_RESTART_S, MOST_RESTART_S))
            if self._node.host.now_s() - process.started_at_s > STEADY_AFTER_S:
                backoff.reset()
            self._not_before_s[model] = self._node.host.monotonic_s() + backoff.next_s()
        await self._on_gone(model, WorkerId(process.node.name))

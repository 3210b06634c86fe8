"""A worker that hosts several models in one process, under one memory budget.

Each model has its own worker: queue, heartbeat, supervised child. What they share is memory: `policy.residency` says
which of them have a loaded child. A model that is not loaded waits on its queue's doorbell like any other worker, so
nothing polls; while it is not loaded it says so with its heartbeat.

What a model takes is measured while it is loaded (the memory of its process, at its peak) and remembered here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from springtide.blobs.protocol import Blobs
from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.ids import ModelName, WorkerId
from springtide.policy.residency import Plan, Resident, arrange
from springtide.runtime.waiting import first_of, stop_task
from springtide.worker.place import Place
from springtide.worker.service import Worker
from springtide.worker.settings import WorkerSettings

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0  # memory grows without anybody saying so
FIRST_JOB_S = 2.0  # a model that was loaded for a job is not unloaded before it had the time to take it


class Host:
    """Runs jobs of several models from `run()` until `drain()`."""

    def __init__(
        self,
        models: Sequence[WorkerSettings],
        memory_mb: int,
        *,
        worker_id: WorkerId,
        broker: Broker,
        blobs: Blobs,
        clock: Clock,
        **parts: Any,
    ) -> None:
        """parts: what else each `Worker` takes."""
        self._memory_mb = memory_mb
        self._clock = clock
        self._changed = asyncio.Event()
        self._places = {settings.model: Place(self._changed.set) for settings in models}
        self._declared_mb = {settings.model: settings.memory_mb or 0.0 for settings in models}
        self.workers = {
            settings.model: Worker(
                settings,
                worker_id=worker_id,
                broker=broker,
                blobs=blobs,
                clock=clock,
                place=self._places[settings.model],
                **parts,
            )
            for settings in models
        }

    def drain(self) -> None:
        """Finish what runs, give back the rest, leave. `run` returns then. May be called again."""
        for worker in self.workers.values():
            worker.drain()

    async def run(self) -> None:
        """Work until drained. Raises ConfigError where the scratch folder cannot be used."""
        runs = [asyncio.create_task(worker.run(), name=f"worker {model}") for model, worker in self.workers.items()]
        arranging = asyncio.create_task(self._arrange(), name="residency")
        arranging.add_done_callback(_log_failure)
        try:
            await asyncio.gather(*runs)
        finally:
            await stop_task(arranging)
            for run in runs:
                await stop_task(run)

    async def _arrange(self) -> None:
        while True:
            self._changed.clear()
            now_s = self._clock.monotonic_s()
            plan = arrange([self._resident(model, now_s) for model in self.workers], self._memory_mb, now_s)
            await self._carry_out(plan)
            wait_s = min(LOOK_AGAIN_S, plan.again_in_s or LOOK_AGAIN_S, self._until_served_s(now_s))
            await first_of(self._changed.wait(), self._clock.sleep(wait_s))

    async def _carry_out(self, plan: Plan) -> None:
        for model in plan.leave:
            log.info("%s takes no more work: another model has waited long enough", model)
            self._places[model].leave()
        for model in plan.unload:
            if self.workers[model].is_occupied:  # it took work while another one was unloaded: plan anew
                return
            log.info("unloading %s", model)
            await self.workers[model].unload()
        for model in plan.load:
            log.info("loading %s", model)
            await self.workers[model].load()

    def _resident(self, model: ModelName, now_s: float) -> Resident:
        place, worker = self._places[model], self.workers[model]
        is_fresh = place.is_loaded and not worker.is_failing and self._is_unserved(model, now_s)
        return Resident(
            model=model,
            is_loaded=place.is_loaded,
            is_busy=worker.is_occupied or is_fresh,
            is_leaving=place.is_leaving,
            memory_mb=worker.memory_mb or self._declared_mb[model],
            loaded_at_s=place.loaded_at_s,
            used_at_s=place.used_at_s,
            wanted_since_s=place.wanted_since_s,
        )

    def _is_unserved(self, model: ModelName, now_s: float) -> bool:
        """Loading, or loaded a moment ago for a job that it has not taken yet."""
        ready_at_s = self.workers[model].ready_at_s
        return ready_at_s is None or (not self._places[model].has_served and now_s < ready_at_s + FIRST_JOB_S)

    def _until_served_s(self, now_s: float) -> float:
        return min(
            (
                worker.ready_at_s + FIRST_JOB_S - now_s + 0.001
                for model, worker in self.workers.items()
                if worker.ready_at_s is not None and self._is_unserved(model, now_s)
            ),
            default=LOOK_AGAIN_S,
        )


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("models are no longer loaded and unloaded", exc_info=error)

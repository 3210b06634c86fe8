"""Learns how long jobs really run, model by model, from those that have ended: `policy.cost` fed from the record.

What is learnt is written down as memory `cost:MODEL`, where gateways (for the time a job will be ready) and the
scaler (for the work that waits) read it. Never on a job's path: it looks a few times a minute, at the newest jobs only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.ids import JobId, ModelName
from springtide.ledger.history import FleetHistory, Memory, cost_memory
from springtide.policy.cost import CostMemory, learn
from springtide.policy.elastic.view import memory_of
from springtide.runtime.loops import Loop

LOOK_EVERY_S = 5.0
RECENT_S = 3600.0
RECENT_JOBS = 200  # of one look: forty a second teach enough
KNOWN = 4096  # ids of jobs that were learnt from: none twice


class Costs:
    """A service: `start`, `stop`."""

    def __init__(self, history: FleetHistory, models: Sequence[ModelName], clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._models = models
        self._memories: dict[ModelName, CostMemory] = {}
        self._learnt: OrderedDict[JobId, None] = OrderedDict()
        self._is_first = True
        self._loop = Loop("costs", self.learn_once, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    async def learn_once(self) -> None:
        """Look at the newest jobs of every model."""
        if self._is_first:
            await self._recall()
        now_s = self._clock.now_s()
        told: list[Memory] = []
        ended = await self._history.ended(since_s=now_s - RECENT_S, limit=RECENT_JOBS)
        for model in self._models:
            fresh = [job for job in reversed(ended) if job.model == model and job.id not in self._learnt]
            self._learnt.update(dict.fromkeys(job.id for job in fresh))
            if self._is_first and model in self._memories:
                continue  # whoever wrote that down has learnt from these already
            memory = self._memories.get(model, CostMemory())
            for job in fresh:
                memory = learn(memory, {}, job.predicted_s, run_s=job.run_s)
            if memory is not self._memories.get(model) and memory.jobs:
                self._memories[model] = memory
                told.append(Memory(name=cost_memory(model), at_s=now_s, body=msgspec.json.encode(memory).decode()))
        while len(self._learnt) > KNOWN + RECENT_JOBS:
            self._learnt.popitem(last=False)
        self._is_first = False
        await self._history.put_memories(told)

    async def _recall(self) -> None:
        names = [cost_memory(model) for model in self._models]
        for model, memory in zip(self._models, await self._history.memories(names), strict=True):
            known = None if memory is None else memory_of(memory.body, CostMemory)
            if known is not None:
                self._memories[model] = known

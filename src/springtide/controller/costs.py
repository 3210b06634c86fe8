"""Learns how long jobs really run, model by model, from those that have ended, and how far promises are off.

Three things, each written down as a memory: `features:MODEL`, run seconds by what the engine says of a job, with which
gateways predict what they queue; `cost:MODEL`, run seconds by what was predicted, which puts right what was queued
before that was learnt, or before a change; `eta:MODEL`, how promises of when a job is done came out. Never on a job's
path: it looks a few times a minute, at the newest jobs only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.ids import JobId, ModelName
from springtide.ledger.history import Ended, FleetHistory, Memory, cost_memory, eta_memory, features_memory
from springtide.policy.cost import CostMemory, learn
from springtide.policy.elastic.view import memory_of
from springtide.policy.eta import Calibration, band_of, correct
from springtide.runtime.loops import Loop

LOOK_EVERY_S = 5.0
RECENT_S = 3600.0
RECENT_JOBS = 200  # of one look: forty a second teach enough
KNOWN = 1000  # ids of jobs that were learnt from, for none twice: a look finds none but the newest RECENT_JOBS


_NAMES = (cost_memory, features_memory, eta_memory)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is learnt of one model."""

    cost: CostMemory = CostMemory()
    features: CostMemory = CostMemory()
    eta: Calibration = Calibration()


class Costs:
    """A service: `start`, `stop`."""

    def __init__(self, history: FleetHistory, models: Sequence[ModelName], clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._models = models
        self._known: dict[ModelName, Known] = {}
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
            if self._is_first and model in self._known:
                continue  # whoever wrote that down has learnt from these already
            known = self._known.get(model, Known())
            for job in fresh:
                known = _taught(known, job)
            if fresh:
                self._known[model] = known
                told += _memories(model, known, now_s)
        while len(self._learnt) > KNOWN + RECENT_JOBS:
            self._learnt.popitem(last=False)
        self._is_first = False
        await self._history.put_memories(told)

    async def _recall(self) -> None:
        names = [name(model) for model in self._models for name in _NAMES]
        found = iter(await self._history.memories(names))
        for model in self._models:
            known = Known()
            for field, kind in (("cost", CostMemory), ("features", CostMemory), ("eta", Calibration)):
                memory = next(found)
                learnt = None if memory is None else memory_of(memory.body, kind)
                if learnt is not None:
                    known = msgspec.structs.replace(known, **{field: learnt})
            if known.cost.jobs:
                self._known[model] = known


def _taught(known: Known, job: Ended) -> Known:
    """With what this job teaches."""
    cost, features, eta = known.cost, known.features, known.eta
    cost = learn(cost, {}, job.predicted_s, run_s=job.run_s)
    told = job.foretold
    if told is not None:
        features = learn(features, told.features, told.estimate_s, run_s=job.run_s)
        if told.done_s is not None:
            band = band_of(told.done_s, told.spread, waits=told.waits, calibration=eta)
            eta = correct(eta, band, took_s=job.took_s)
    return Known(cost=cost, features=features, eta=eta)


def _memories(model: ModelName, known: Known, now_s: float) -> list[Memory]:
    """What there is to write down."""
    has_promised = known.eta.seen_served + known.eta.seen_queued > 0
    there = (known.cost.jobs > 0, known.features.jobs > 0, has_promised)
    return [
        Memory(name=name(model), at_s=now_s, body=msgspec.json.encode(body).decode())
        for name, body, is_there in zip(_NAMES, (known.cost, known.features, known.eta), there, strict=True)
        if is_there
    ]

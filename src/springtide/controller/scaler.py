"""observe → decide → apply, once a beat for every model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.fleet import Decision, QueueView, Replica, ReplicaPhase, ScalingSnapshot, WorkerView
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.protocol import Fleet
from springtide.policy.scaling import ScalingMemory, ScalingSettings, decide
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
SCALE_EVERY_S = 0.5  # a cold start takes seconds; half a second to notice is a small part of it


class Scaler:
    """A service: `start`, `stop`; `decisions` holds the newest decision of each model."""

    def __init__(
        self,
        broker: Broker,
        fleet: Fleet,
        settings: Mapping[ModelName, ScalingSettings],
        clock: Clock,
        *,
        pools: Mapping[ModelName, Sequence[ModelName]] | None = None,
    ) -> None:
        """settings: by model, or by the name of a pool. pools: the models of each: its work is the sum of theirs."""
        self._pools = pools or {}
        self._broker = broker
        self._fleet = fleet
        self._settings = settings
        self._clock = clock
        self._memory: dict[ModelName, ScalingMemory] = {}
        self._loop = Loop("scaler", self.scale_once, every_s=SCALE_EVERY_S, clock=clock)
        self.decisions: dict[ModelName, Decision] = {}

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    async def scale_once(self) -> None:
        """One round over all models."""
        views = await self._views()
        replicas = await self._fleet.observe()
        for model, settings in self._settings.items():
            mine = [replica for replica in replicas if replica.model == model]
            view = views.get(model)
            snapshot = ScalingSnapshot(now_s=self._clock.now_s(), queue=view, replicas=_wanted(mine))
            decision, self._memory[model] = decide(snapshot, self._memory.get(model, ScalingMemory()), settings)
            if decision.replicas != snapshot.replicas:
                log.info(
                    "%s: %d → %d replicas (%s: %s)",
                    model,
                    snapshot.replicas,
                    decision.replicas,
                    decision.reason,
                    decision.message,
                )
            self.decisions[model] = decision
            idle = [worker.worker for worker in view.workers if worker.held == 0] if view else []
            await self._fleet.apply(decision, drain_first=idle)

    async def _views(self) -> dict[ModelName, QueueView]:
        members = {name: self._pools.get(name, (name,)) for name in self._settings}
        try:
            asked = [model for models in members.values() for model in models]
            views = {view.model: view for view in await self._broker.queues(asked, self._clock.now_s())}
        except (Unavailable, OutcomeUnknown):
            return {}
        return {name: _together(name, [views[model] for model in models]) for name, models in members.items()}


def _together(name: ModelName, views: Sequence[QueueView]) -> QueueView:
    """The queues of one pool as if they were one: a worker of it is idle where it holds nothing of any."""
    if len(views) == 1:
        return views[0]
    workers: dict[WorkerId, WorkerView] = {}
    for worker in (worker for view in views for worker in view.workers):
        known = workers.get(worker.worker)
        held = worker.held + (known.held if known else 0)
        workers[worker.worker] = msgspec.structs.replace(worker, model=name, held=held)
    oldest = [view.oldest_enqueued_at_s for view in views if view.oldest_enqueued_at_s is not None]
    return QueueView(
        model=name,
        queued=sum(view.queued for view in views),
        leased=sum(view.leased for view in views),
        predicted_s=sum(view.predicted_s for view in views),
        oldest_enqueued_at_s=min(oldest, default=None),
        workers=tuple(workers.values()),
        taken_at_s=views[0].taken_at_s,
    )


def _wanted(replicas: list[Replica]) -> int:
    return sum(replica.phase is not ReplicaPhase.DRAINING for replica in replicas)

"""observe → decide → apply, once a beat for every model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.fleet import Decision, QueueView, Replica, ReplicaPhase, ScalingSnapshot
from springtide.domain.ids import ModelName
from springtide.fleet.protocol import Fleet
from springtide.policy.scaling import ScalingMemory, ScalingSettings, decide
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
SCALE_EVERY_S = 0.5  # a cold start takes seconds; half a second to notice is a small part of it


class Scaler:
    """A service: `start`, `stop`; `decisions` holds the newest decision of each model."""

    def __init__(
        self, broker: Broker, fleet: Fleet, settings: Mapping[ModelName, ScalingSettings], clock: Clock
    ) -> None:
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
        try:
            views = await self._broker.queues(list(self._settings), self._clock.now_s())
        except (Unavailable, OutcomeUnknown):
            return {}
        return {view.model: view for view in views}


def _wanted(replicas: list[Replica]) -> int:
    return sum(replica.phase is not ReplicaPhase.DRAINING for replica in replicas)

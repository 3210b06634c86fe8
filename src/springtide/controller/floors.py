"""How many workers of each version are kept alive when idle: the model's floor, shared out by the weights of a rollout.

A version to which nothing goes keeps none; the stable one keeps the whole floor of its own once it takes everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from springtide.domain.clock import Clock
from springtide.domain.ids import ModelName, parted
from springtide.domain.rollout import Rollout, newest
from springtide.ledger.rollouts import Rollouts
from springtide.policy.rollout import floor_of
from springtide.runtime.loops import Loop

LOOK_EVERY_S = 1.0


class Floors:
    """A service: `start`, `stop`. `of` is as the record was when it could be read last."""

    def __init__(self, record: Rollouts, least: Mapping[ModelName, int], clock: Clock) -> None:
        """least: `min_replicas` of each unit of the models that have several."""
        self._record = record
        self._least = least
        self._changes: int | None = None
        self._floors: dict[ModelName, int] = {
            unit: much if parted(unit)[1] is None else 0 for unit, much in least.items()
        }
        self._loop = Loop("floors", self.refresh, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        if self._least:
            await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    def of(self, unit: ModelName) -> int:
        """Workers of it that stay whatever its policy wishes."""
        return self._floors.get(unit, 0)

    async def refresh(self) -> None:
        """Look what has changed. Runs once a LOOK_EVERY_S."""
        changes = await self._record.rollout_changes()
        if changes != self._changes:
            last = newest(await self._record.rollouts())
            self._floors = {unit: self._floor(unit, last.get(parted(unit)[0])) for unit in self._least}
            self._changes = changes

    def _floor(self, unit: ModelName, rollout: Rollout | None) -> int:
        model, version = parted(unit)
        if version is not None:
            return 0 if rollout is None else floor_of(self._least[unit], rollout.weight_of(version))
        others = sum(rollout.weight_of(each) for each in self._declared(model)) if rollout is not None else 0.0
        return floor_of(self._least[unit], 100.0 - others)

    def _declared(self, model: ModelName) -> list[str]:
        found = (parted(unit) for unit in self._least)
        return [version for of, version in found if of == model and version is not None]

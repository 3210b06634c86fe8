"""What keeps workers from coming up, told on to those who are asked why a job waits: gateways see no pods.

Kept beside what was learnt, the newest of each model: written when it changes and now and then while it lasts, so that
who reads it can tell news from what a controller that is gone has left behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.fleet import FleetNews, Trouble
from springtide.domain.ids import ModelName
from springtide.ledger.history import FleetHistory, Memory, fleet_memory

AGAIN_EVERY_S = 30.0  # a third of the age at which it is taken for old


class TroubleBoard:
    """Written by whoever scales."""

    def __init__(self, history: FleetHistory, clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._told: dict[ModelName, FleetNews] = {}

    async def tell(self, troubles: Mapping[ModelName, Sequence[Trouble]]) -> None:
        """What there is now, of every model."""
        now_s = self._clock.now_s()
        due: dict[ModelName, FleetNews] = {}
        for model, found in troubles.items():
            kinds = tuple({trouble.code: trouble for trouble in found}.values())  # one of each kind says enough
            told = self._told.get(model, FleetNews(at_s=now_s))
            is_old = bool(kinds) and now_s - told.at_s >= AGAIN_EVERY_S
            if [one.code for one in kinds] != [one.code for one in told.troubles] or is_old:
                due[model] = FleetNews(at_s=now_s, troubles=kinds)
        if due:
            bodies = {fleet_memory(model): msgspec.json.encode(news).decode() for model, news in due.items()}
            await self._history.put_memories(
                [Memory(name=name, at_s=now_s, body=body) for name, body in bodies.items()]
            )
            self._told |= due

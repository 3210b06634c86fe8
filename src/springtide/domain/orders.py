"""What operators have ordered by hand: a model paused, its replicas pinned, a worker sent away.

An order holds until it is taken back, runs out or is carried out; it is on record, so that it outlives every process.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from springtide.domain.ids import ModelName, WorkerId


class OrderKind(StrEnum):
    """What is ordered."""

    PAUSE = "pause"
    PIN = "pin"
    DRAIN = "drain"


class Pause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=OrderKind.PAUSE.value):
    """A model takes jobs in and keeps them; none is begun. What runs is finished."""

    model: ModelName
    at_s: float
    by: str  # who ordered it
    note: str | None = None  # why, in their words; shown to whoever asks why a job waits


class Pin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=OrderKind.PIN.value):
    """So many replicas, whatever the policy wishes."""

    model: ModelName  # or the pool that it shares its workers with
    replicas: int
    at_s: float
    by: str
    until_s: float | None = None  # None: until it is taken back
    note: str | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=OrderKind.DRAIN.value):
    """A worker finishes what it holds, takes nothing new, and leaves."""

    worker: WorkerId
    model: ModelName  # or its pool
    at_s: float
    by: str
    note: str | None = None


Order = Pause | Pin | Drain


class Orders(msgspec.Struct, frozen=True):
    """All that are in force at one time."""

    pauses: dict[ModelName, Pause] = {}
    pins: dict[ModelName, Pin] = {}
    drains: dict[WorkerId, Drain] = {}

    def pause_of(self, models: Iterable[ModelName]) -> Pause | None:
        """Of workers that serve these: the last pause, where all of them are paused."""
        found = [self.pauses.get(model) for model in models]
        paused = [pause for pause in found if pause is not None]
        return max(paused, key=lambda pause: pause.at_s) if paused and len(paused) == len(found) else None


def in_force(orders: Iterable[Order], now_s: float) -> Orders:
    """Those that have not run out."""
    found = Orders({}, {}, {})
    for order in orders:
        match order:
            case Pause():
                found.pauses[order.model] = order
            case Pin():
                if order.until_s is None or now_s < order.until_s:
                    found.pins[order.model] = order
            case Drain():
                found.drains[order.worker] = order
    return found

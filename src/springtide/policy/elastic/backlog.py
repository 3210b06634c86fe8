"""`backlog`, the simplest policy that is right: as many replicas as the work in sight fills, at once upwards.

Downwards only when fewer would have done for the whole of `idle_s`. No data is not zero: without a queue view it holds.
"""

from __future__ import annotations

import math

import msgspec

from springtide.policy.elastic.bounds import STALE_AFTER_S
from springtide.policy.elastic.view import Advice, PoolView, Reason

LOOK_EVERY_S = 0.5  # it looks at nothing but the queue


class BacklogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and pace of one model."""

    min_replicas: int = 0
    max_replicas: int = 1
    jobs_per_replica: int = 2  # that wait before another replica is worth its start
    idle_s: float = 300.0


class BacklogMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy remembers: since when fewer replicas would do, and the most that were wanted since."""

    low_since_s: float | None = None
    high_water: int = 0


def decide(view: PoolView, memory: BacklogMemory | None, settings: BacklogSettings) -> tuple[Advice, BacklogMemory]:
    """Reasons: QUEUE, IDLE, HOLD, NO_DATA, FLOOR and CEILING."""
    memory = memory or BacklogMemory()
    now = view.replicas
    if view.waiting is None or view.age_s > STALE_AFTER_S:
        return _advice(_clamp(now, settings), now, Reason.NO_DATA, "the broker cannot be asked; holding"), memory
    busy = len(view.busy_left_s)
    wish = busy + math.ceil(view.waiting / settings.jobs_per_replica)
    target = _clamp(wish, settings)
    figures = {"waiting": float(view.waiting), "busy": float(busy)}
    message = f"{view.waiting} jobs wait, {settings.jobs_per_replica} are worth a replica; {busy} busy"
    if target >= now:
        if wish > target:
            reason = Reason.CEILING
        elif wish < target:
            reason = Reason.FLOOR
        else:
            reason = Reason.QUEUE if target > now else Reason.HOLD
        return _advice(target, wish, reason, message, figures), BacklogMemory()
    if memory.low_since_s is None:
        memory = BacklogMemory(low_since_s=view.now_s, high_water=target)
    else:
        memory = msgspec.structs.replace(memory, high_water=max(memory.high_water, target))
    assert memory.low_since_s is not None
    quiet_s = view.now_s - memory.low_since_s
    if quiet_s < settings.idle_s:
        message = f"{target} would do since {quiet_s:.0f} s of {settings.idle_s:.0f} s"
        return _advice(now, wish, Reason.HOLD, message, figures), memory
    lower = min(memory.high_water, now)
    message = f"{lower} would have done for {quiet_s:.0f} s"
    return _advice(lower, wish, Reason.IDLE, message, figures), BacklogMemory()


def _advice(replicas: int, wish: int, reason: Reason, message: str, figures: dict[str, float] | None = None) -> Advice:
    return Advice(replicas=replicas, wish=wish, reason=reason, message=message, figures=figures or {})


def _clamp(replicas: int, settings: BacklogSettings) -> int:
    return max(settings.min_replicas, min(settings.max_replicas, replicas))

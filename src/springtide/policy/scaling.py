"""How many replicas a model should have: `decide(snapshot, memory, settings) -> (decision, memory)`.

The simplest policy that is right: as many replicas as the work in sight fills, between the bounds, at once upwards;
downwards only when fewer would have done for the whole of `idle_s`. No data is not zero: without a queue view it holds.
"""

from __future__ import annotations

import math

import msgspec

from springtide.domain.fleet import Decision, ScalingSnapshot
from springtide.domain.ids import ModelName


class ScalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and pace of one model."""

    model: ModelName
    min_replicas: int = 0
    max_replicas: int = 1
    jobs_per_replica: int = 2  # what one replica may hold and have waiting before another one is worth its start
    idle_s: float = 300.0


class ScalingMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy remembers: since when fewer replicas would do, and the most that were wanted since."""

    low_since_s: float | None = None
    high_water: int = 0


def decide(
    snapshot: ScalingSnapshot, memory: ScalingMemory, settings: ScalingSettings
) -> tuple[Decision, ScalingMemory]:
    """Replicas for one model, with the reason: QUEUE, IDLE, HOLD, NO_DATA, FLOOR or CEILING."""

    def decision(replicas: int, reason: str, message: str) -> Decision:
        return Decision(model=settings.model, replicas=replicas, reason=reason, message=message)

    queue, now = snapshot.queue, snapshot.replicas
    if queue is None:
        return decision(_clamp(now, settings), "NO_DATA", "the broker cannot be asked; holding"), memory
    work = queue.queued + queue.leased
    wanted = math.ceil(work / settings.jobs_per_replica)
    target = _clamp(wanted, settings)
    if target >= now:
        if wanted > target:
            reason = "CEILING"
        elif wanted < target:
            reason = "FLOOR"
        else:
            reason = "QUEUE" if target > now else "HOLD"
        message = f"{work} jobs in sight, {settings.jobs_per_replica} a replica"
        return decision(target, reason, message), ScalingMemory()
    if memory.low_since_s is None:
        memory = ScalingMemory(low_since_s=snapshot.now_s, high_water=target)
    else:
        memory = msgspec.structs.replace(memory, high_water=max(memory.high_water, target))
    assert memory.low_since_s is not None
    quiet_s = snapshot.now_s - memory.low_since_s
    if quiet_s < settings.idle_s:
        return decision(now, "HOLD", f"{target} would do since {quiet_s:.0f} s of {settings.idle_s:.0f} s"), memory
    lower = min(memory.high_water, now)
    return decision(lower, "IDLE", f"{lower} would have done for {quiet_s:.0f} s"), ScalingMemory()


def _clamp(replicas: int, settings: ScalingSettings) -> int:
    return max(settings.min_replicas, min(settings.max_replicas, replicas))

"""The bounds that every elastic policy keeps: least, most, accelerators that may be had, money for the day.

A bound never stops what is busy: it limits what is wished for, and the fleet drains.
"""

from __future__ import annotations

import msgspec

from springtide.policy.elastic.view import Advice, PoolView, Reason

DAY_S = 86_400.0
STALE_AFTER_S = 30.0  # three controllers' rounds missed in a row and the figures tell of another time


_BOUND_BY = {  # for an operator, after what was wished for
    Reason.CEILING: "max_replicas is {}",
    Reason.FLOOR: "min_replicas is {}",
    Reason.BUDGET: "the fleet has room for {}",
    Reason.COST: "the day's replica hours are spent but for {}",
}


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one model's pool."""

    min_replicas: int = 0
    max_replicas: int = 1_000
    budget: int | None = None  # accelerators (or cores, locally) that it may have now; None: no limit of its own
    replica_hours_a_day: float | None = None  # what may be spent in a day, saved up for a day at most
    stale_after_s: float = STALE_AFTER_S


class Purse(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of the day's replica hours: a bucket that fills evenly."""

    left_s: float
    at_s: float


def has_data(view: PoolView, bounds: Bounds) -> bool:
    """Whether the queue is known, and recently enough."""
    return view.waiting is not None and view.age_s <= bounds.stale_after_s


def spend(view: PoolView, purse: Purse | None, bounds: Bounds) -> Purse | None:
    """The purse now: filled for the time since, less what the replicas there have used of it."""
    if bounds.replica_hours_a_day is None:
        return None
    day_s = bounds.replica_hours_a_day * 3600
    if purse is None:
        return Purse(left_s=day_s, at_s=view.now_s)
    past_s = max(0.0, view.now_s - purse.at_s)
    left_s = purse.left_s + past_s * (day_s / DAY_S - view.replicas - view.draining)
    return Purse(left_s=max(0.0, min(day_s, left_s)), at_s=view.now_s)


def bounded(wish: int, advice: Advice, *, bounds: Bounds, purse: Purse | None = None) -> Advice:
    """The advice with its wish put between the bounds, and the bound named that changed it."""
    is_free = bounds.budget is None and purse is None and bounds.min_replicas <= wish <= bounds.max_replicas
    if is_free and wish == advice.wish == advice.replicas:
        return advice  # most are like this, and a simulation has millions
    replicas, reason = wish, advice.reason
    if wish > bounds.max_replicas:
        replicas, reason = bounds.max_replicas, Reason.CEILING
    if bounds.budget is not None and replicas > bounds.budget:
        replicas, reason = max(0, bounds.budget), Reason.BUDGET
    if purse is not None and bounds.replica_hours_a_day is not None and purse.left_s <= 0:
        affordable = int(bounds.replica_hours_a_day / 24)
        if replicas > affordable:
            replicas, reason = affordable, Reason.COST
    least = min(bounds.min_replicas, bounds.max_replicas, bounds.budget if bounds.budget is not None else 1 << 30)
    if replicas < least:
        replicas, reason = least, Reason.FLOOR
    if replicas == advice.replicas and wish == advice.wish and reason is advice.reason:
        return advice
    message = advice.message
    if message and reason in _BOUND_BY:
        message = f"{message}; {_BOUND_BY[reason].format(replicas)}"
    return msgspec.structs.replace(advice, replicas=replicas, wish=wish, reason=reason, message=message)

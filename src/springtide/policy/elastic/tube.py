"""Demand against capacity over the next minutes, in replica seconds on a grid of horizons.

U(h): work that can have been done by h. D(h): work that must have been done by h, so that every job starts within its
wait. X(h): what the replicas there could do. What they will do: S(h) = X(h) + min(0, min over u <= h of U(u) − X(u)).
The objective is kept as long as D stays below S (docs/elasticity.md has the derivation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from springtide.policy.elastic.forecast import Forecast
from springtide.policy.elastic.horizons import Horizons


def capacity(free_in_s: Sequence[float], idle: int, step_s: float, points: int) -> list[float]:
    """X on the grid: `idle` replicas free now, others after so many seconds each."""
    slope, less = [0] * points, [0.0] * points  # from each point on: replicas, and what of a whole step they miss
    slope[1] = idle
    for free_s in free_in_s:
        if free_s > 0:
            whole = int(free_s / step_s)
            if whole + 1 < points:
                slope[whole + 1] += 1
                less[whole + 1] += free_s - whole * step_s
        else:
            slope[1] += 1
    total, running = 0.0, 0
    return [
        total := total + ((running := running + more) * step_s - missed)
        for more, missed in zip(slope, less, strict=True)
    ]


def arriving_work(ahead: Forecast, at: Horizons, z: float, points: int) -> list[float]:
    """U of jobs that come: the work expected by each horizon, times the quantile of their count over its mean."""
    rate, rises = ahead.rate, ahead.season_ahead
    bend, spread, error, third = rises / 2, ahead.spread, 1 / ahead.shape, z / 3
    most, found, root_of = 0.0, [0.0], math.sqrt
    for h, work, rising in at.curves[1:points]:
        mean = h + bend * h * h
        mean = rate * (mean if mean > 0.1 * h else 0.1 * h)
        if mean > 1e-12:
            over = spread / mean + error
            root = 1 - over / 9 + third * root_of(over)
            if root > 0:
                work = root * root * root * rate * (work + rises * rising)
                if work > most:
                    most = work
        found.append(most)
    return found


def delayed(curve: Sequence[float], steps: float) -> list[float]:
    """The same curve so many steps later."""
    whole = min(int(steps), len(curve))
    share = steps - whole
    later = [*[0.0] * whole, *curve[: len(curve) - whole]]
    return [now + share * (before - now) for before, now in pairwise([0.0, *later])] if share else later


def queued_work(waiting: int, work_s: float, oldest_s: float, wait_s: float, grid: Sequence[float]) -> list[float]:
    """D of what waits: jobs of the mean size, their ages spread evenly up to the oldest.

    It stands for U as well: that it could be done a little sooner makes no difference, and so more jobs in the queue
    can never ask for fewer replicas.
    """
    size_s = work_s / waiting
    kinds = min(waiting, 6)
    each = waiting / kinds
    must = [0.0] * len(grid)
    for i in range(kinds):
        due_s = max(0.0, wait_s - oldest_s * (i + 0.5) / kinds)
        for j, h in enumerate(grid):
            if h > due_s:
                must[j] += each * min(h - due_s, size_s)
    return must


def holds(
    can: Sequence[float], must: Sequence[float], supply: Sequence[float], window: range, tolerance_s: float
) -> bool:
    """Whether the demand is met all over the window."""
    lag = 0.0
    first = window.start
    for j in range(window.stop):
        gap = can[j] - supply[j]
        if gap < lag:
            lag = gap
        if j >= first and must[j] - supply[j] - lag > tolerance_s:
            return False
    return True

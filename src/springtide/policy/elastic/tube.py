"""Demand against capacity over the next minutes, in replica seconds on a grid of horizons.

U(h): work that can have been done by h. D(h): work that must have been done by h, so that every job starts within its
wait. X(h): what the replicas there could do. What they will do: S(h) = X(h) + min(0, min over u <= h of U(u) − X(u)).
The objective is kept as long as D stays below S (docs/elasticity.md has the derivation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import mul


def partial_means(mean: float, cv2: float, grid: Sequence[float]) -> list[float]:
    """E[min(S, x)] for each x of the grid: the work that a job can have got x seconds after it came.

    S is log-normal with this mean and squared coefficient of variation.
    """
    spread = math.sqrt(math.log1p(max(cv2, 1e-4)))
    middle = math.log(mean) - spread * spread / 2
    found: list[float] = []
    for x in grid:
        if x <= 0:
            found.append(0.0)
            continue
        d = (math.log(x) - middle) / spread
        found.append(mean * _phi(d - spread) + x * (1 - _phi(d)))
    return found


def capacity(free_in_s: Sequence[float], idle: int, step_s: float, points: int) -> list[float]:
    """X on the grid: `idle` replicas free now, others after so many seconds each."""
    slope, extra = [0] * (points + 1), [0.0] * (points + 1)
    for free_s in free_in_s:
        first = int(free_s / step_s) + 1 if free_s > 0 else 1
        if first < points:
            extra[first] += first * step_s - max(0.0, free_s) - step_s
            slope[first] += 1
    found, total, running = [0.0] * points, 0.0, idle
    for j in range(1, points):
        running += slope[j]
        total += running * step_s + extra[j]
        found[j] = total
    return found


def convolved(counts: Sequence[float], partial: Sequence[float]) -> list[float]:
    """Work that can have been done by h of jobs that come: cumulated counts on the grid, and E[min(S, x)]."""
    steps = [max(0.0, later - earlier) for earlier, later in pairwise(counts)]
    points = len(counts)
    turned = list(reversed(steps))
    found = [0.0]
    for j in range(1, points):  # the arrivals of step i have had (j - i) steps less a half
        found.append(sum(map(mul, turned[points - 1 - j :], partial)))
    return found


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


def running_max(values: Sequence[float]) -> list[float]:
    return list(accumulate(values, max))


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x * 0.7071067811865476)

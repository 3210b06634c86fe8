"""The horizons on which demand is laid against capacity, and what of it is the same for hours on end: computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import msgspec

POINTS = 12  # of the grid: 10 s apart at a start of 40 s; twice as many decide no better
FINE = 8  # parts of a step, to integrate
REVIEW_S = 30.0  # what falls due so long after a launch could be ready may still be launched for later
LOOSE = 0.9  # share of the wait that plans use when starts take no time; the rest is for what plans leave out,
HALF_AT = 2.0  # and half of that when a start takes so many waits


class Horizons(msgspec.Struct, frozen=True):
    """A grid of seconds from now, and curves on it."""

    cold_s: float
    slow: float  # 1: a job that finds no replica is late; 0: a start takes no time
    wait_s: float  # that plans use
    step_s: float
    grid: list[float]
    curves: list[tuple[float, float, float]]  # each horizon; replica seconds that can have been done by it, of one job
    # a second from now on; and of a rate that grows by one job a second in each second
    spill_s: float  # of a run, what can fall into the seconds after a launch could be ready: E[min(S, x)]
    new: list[float]  # what a replica launched now will have done
    after_launch: range  # points from which on a launch helps and cannot be put off
    before_launch: range  # points until when another one launched now would not be there


@lru_cache(maxsize=64)  # 4 kB each; three simulated days come by with 35, and no slower with 32
def horizons(cold_s: float, wait_s: float, mean_s: float, cv2: float) -> Horizons:
    """For a start of so many seconds, an objective's wait, and runs of this mean and squared spread."""
    slow = min(1.0, cold_s / wait_s)
    used_s = wait_s * LOOSE / (1 + cold_s / (HALF_AT * wait_s))
    step_s = (cold_s + REVIEW_S + max(wait_s, REVIEW_S) + used_s) / (POINTS - 1)
    grid = [step_s * j for j in range(POINTS)]
    fine_s = step_s / FINE
    done, work, rising = (
        partial_means(mean_s, cv2, [fine_s * (j + 0.5) for j in range(FINE * (POINTS - 1))]),
        [0.0],
        [0.0],
    )
    for one in done:
        work.append(work[-1] + one * fine_s)
    for before, after in pairwise(work):
        rising.append(rising[-1] + (before + after) / 2 * fine_s)
    return Horizons(
        cold_s,
        slow,
        used_s,
        step_s,
        grid,
        list(zip(grid, work[::FINE], rising[::FINE], strict=True)),
        partial_means(mean_s, cv2, [grid[-1] - cold_s])[0],
        [max(0.0, h - cold_s) for h in grid],
        range(min(POINTS - 1, math.ceil((cold_s + REVIEW_S) / step_s - 1e-9)), POINTS),
        range(min(POINTS, int((cold_s + used_s) / step_s) + 1)),
    )


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


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x * 0.7071067811865476)

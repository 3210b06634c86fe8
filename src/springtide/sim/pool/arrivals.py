"""Arrivals and run times by chance: from a rate over time to jobs. Seeded; the same seed gives the same jobs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from springtide.sim.pool.chance import Chance, seeded
from springtide.sim.pool.jobs import Jobs


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How long jobs run: log-normal, and how well that is foreseen."""

    mean_s: float = 60.0
    cv: float = 0.8  # between that of Stable Diffusion requests (0.7) and of videos of any length
    heavy: float = 0.0  # share of jobs that are ten times as long
    error_cv: float = 0.3  # of the prediction, log-normal without bias


def lognormal(mean: float, cv: float, chance: Chance) -> float:
    """One draw with this mean and coefficient of variation."""
    if cv <= 0:
        return mean
    spread = math.sqrt(math.log1p(cv * cv))
    return mean * math.exp(spread * chance.gauss(0.0, 1.0) - spread * spread / 2)


def renewal(times_s: Sequence[float], rates: Sequence[float], *, cv: float, chance: Chance) -> list[float]:
    """Arrival times under a piecewise linear rate: gamma gaps of this coefficient of variation in stretched time.

    times_s ascending, rates in jobs a second at those times. cv 1 is a Poisson process, more comes in clumps.
    """
    levels = [0.0]
    for i in range(1, len(times_s)):
        levels.append(levels[-1] + (rates[i] + rates[i - 1]) / 2 * (times_s[i] - times_s[i - 1]))
    shape = 1.0 / (cv * cv)
    found: list[float] = []
    at = chance.random() * chance.gammavariate(shape, 1 / shape)
    while at < levels[-1]:
        i = min(bisect_right(levels, at) - 1, len(times_s) - 2)
        found.append(_invert(at - levels[i], rates[i], rates[i + 1], times_s[i + 1] - times_s[i]) + times_s[i])
        at += chance.gammavariate(shape, 1 / shape)
    return found


def _invert(area: float, low: float, high: float, width_s: float) -> float:
    """Where a linear rate from `low` to `high` over `width_s` has summed up to `area`."""
    slope = (high - low) / width_s
    if abs(slope) * width_s < 1e-9 * max(low, high, 1e-12):
        return min(width_s, area / max(low, 1e-12))
    root = math.sqrt(max(0.0, low * low + 2 * slope * area))
    return min(width_s, max(0.0, (root - low) / slope))


def sized(name: str, at_s: Sequence[float], sizes: Sizes, *, chance: Chance, note: str = "") -> Jobs:
    """Jobs at these times, with run times and predictions drawn."""
    run_s: list[float] = []
    for _ in at_s:
        run = lognormal(sizes.mean_s, sizes.cv, chance)
        if sizes.heavy and chance.random() < sizes.heavy:
            run *= 10.0
        run_s.append(max(0.05, run))
    predicted_s = [foreseen(run, sizes.error_cv, chance) for run in run_s]
    return Jobs(name=name, at_s=list(at_s), run_s=run_s, predicted_s=predicted_s, note=note)


def foreseen(run_s: float, error_cv: float, chance: Chance) -> float:
    """A prediction of this run, as wrong as `error_cv` says."""
    return lognormal(run_s, error_cv, chance)


def tide_silence_burst(seed: int = 1) -> Jobs:
    """Ten minutes of all that a fleet must do: a tide out of nothing, four and a half minutes without a job, about 45
    jobs within fifteen seconds when nobody is there, and a second tide. Jobs of four seconds, some of twelve.
    """
    chance = seeded("tide, silence, burst", seed)
    parts = (
        (0.0, [0.0, 75.0, 150.0], [0.1, 0.9, 0.05], 1.0),
        (420.0, [0.0, 15.0], [3.0, 3.0], 0.5),
        (435.0, [0.0, 50.0, 165.0], [0.2, 0.9, 0.1], 1.2),
    )
    at_s = [
        begin_s + at for begin_s, times_s, rates, cv in parts for at in renewal(times_s, rates, cv=cv, chance=chance)
    ]
    run_s = [lognormal(4.0, 0.6, chance) for _ in at_s]
    return Jobs(name="tide, silence, burst", at_s=at_s, run_s=run_s, predicted_s=run_s)


def two_tides(seed: int = 1) -> Jobs:
    """Ten minutes in which the load rises and falls twice, in bursts; jobs of four seconds, some of twelve."""
    chance = seeded("two tides", seed)
    at_s = renewal([0.0, 150.0, 300.0, 450.0, 600.0], [0.1, 0.9, 0.2, 1.2, 0.1], cv=1.2, chance=chance)
    run_s = [lognormal(4.0, 0.6, chance) for _ in at_s]
    return Jobs(name="two tides", at_s=at_s, run_s=run_s, predicted_s=run_s)

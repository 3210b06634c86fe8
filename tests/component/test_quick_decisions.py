"""What makes the simulator quick changes no decision: every one on a seeded trace is taken again with the formulas of
docs/elasticity.md written down plainly, point by point, and with the sentences that a simulation leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from springtide.policy.elastic import tide
from springtide.policy.elastic.forecast import Forecast, ForecastMemory, count_quantile
from springtide.policy.elastic.horizons import Horizons
from springtide.policy.elastic.season import rates
from springtide.policy.elastic.view import Advice, PoolView
from springtide.sim.pool.contenders import Ours, tide_for
from springtide.sim.pool.engine import Setup, simulate
from springtide.sim.pool.families import invent
from springtide.sim.pool.outcome import Outcome
from springtide.sim.pool.weather import Weather

Said = list[tuple[float, int, int, str]]


def capacity(free_in_s: Sequence[float], idle: int, step_s: float, points: int) -> list[float]:
    """X(h) = Σ (h − f)⁺, between the points as straight as the grid is."""

    def given_at(point: int, free_s: float) -> float:
        first = int(max(0.0, free_s) / step_s) + 1  # nothing counts before the first point after it
        return point * step_s - max(0.0, free_s) if point >= first else 0.0

    return [sum(given_at(point, free_s) for free_s in [0.0] * idle + list(free_in_s)) for point in range(points)]


def arriving_work(ahead: Forecast, at: Horizons, z: float, points: int) -> list[float]:
    """U(h) = λ ∫ E[min(S, x)] dx, times a quantile of the count over its mean; never falling."""
    found = [0.0]
    for h, work, rising in at.curves[1:points]:
        mean = ahead.rate * max(0.1 * h, h + ahead.season_ahead / 2 * h * h)
        share = count_quantile(ahead, h, z) / mean if mean > 1e-12 else 0.0
        found.append(max(found[-1], share * ahead.rate * (work + ahead.season_ahead * rising)))
    return found


def delayed(curve: Sequence[float], steps: float) -> list[float]:
    """D(h) = U(h − W), straight between the points."""

    def value(at: float) -> float:
        below = math.floor(at)
        left, right = (curve[i] if i >= 0 else 0.0 for i in (below, below + 1))
        return left + (at - below) * (right - left)

    return [value(point - steps) for point in range(len(curve))]


def holds(
    can: Sequence[float], must: Sequence[float], supply: Sequence[float], window: range, tolerance_s: float
) -> bool:
    """D(h) ≤ S(h) + tolerance, with S(h) = X(h) + min(0, min over u ≤ h of U(u) − X(u))."""
    return all(
        must[h] <= supply[h] + min(0.0, *(can[u] - supply[u] for u in range(h + 1))) + tolerance_s for h in window
    )


def forecast(memory: ForecastMemory, now_s: float) -> Forecast:
    """The mixture of all forecasters: its mean, and its relative variance."""
    base, slope = rates(memory.season, now_s, memory.mean_rate)
    told: list[tuple[float, float, float]] = []
    for number, level in enumerate(memory.levels):
        flat, seasonal = 1.0 + level.seen, 4.0 + level.seen
        told.append((memory.judged[2 * number].weight, flat / (1.0 / max(memory.mean_rate, 1e-6) + level.flat_s), flat))
        told.append((memory.judged[2 * number + 1].weight, base * seasonal / (4.0 + level.seasonal), seasonal))
    rate = sum(weight * one for weight, one, _ in told)
    square = sum(weight * one**2 * (1 + 1 / shape) for weight, one, shape in told)
    trust = sum(weight for weight, _, _ in told[1::2])
    if rate <= 0:
        return Forecast(0.0, 1.0, memory.spread, 0.0, 0.0)
    ahead = sorted((-1e-3, slope / base, 1e-3))[1] * trust
    return Forecast(rate, 1 / max(square / rate**2 - 1, 1e-6), memory.spread, ahead, trust)


PLAIN = (capacity, arriving_work, delayed, holds, forecast)


class Heard:
    """A policy whose every word is written down."""

    def __init__(self, contender: Ours) -> None:
        self.policy = self
        self.initial, self.cancels_loading = contender.initial, contender.cancels_loading
        self.name, self.interval_s = contender.policy.name, contender.policy.interval_s
        self._decide = contender.policy.decide
        self.said: Said = []

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        advice, memory = self._decide(view, memory)
        self.said.append((view.now_s, advice.replicas, advice.wish, advice.reason.value))
        return advice, memory


def heard(family: str, weather: Weather, *, explains: bool = False) -> tuple[Outcome, Said]:
    jobs = invent(family, seed=3, days=0.1, load=5.0)
    contender = Heard(tide_for(30.0, 0.99, weather, explains=explains))
    return simulate(jobs, contender, Setup(weather=weather, lead_in_s=600.0)), contender.said


@pytest.mark.parametrize(
    ("family", "weather"),
    [
        ("flash", Weather(cold_start_s=40.0)),
        ("walk", Weather(cold_start_s=8.0, cold_start_cv=0.5, start_fails=0.1, crashes_per_busy_hour=0.5)),
    ],
)
def test_every_decision_is_that_of_the_formulas(family: str, weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, said = heard(family, weather)
    assert len({replicas for _, replicas, _, _ in said}) > 5  # there was something to decide
    for plain in PLAIN:
        monkeypatch.setattr(tide, plain.__name__, plain)
    assert heard(family, weather, explains=True) == (quick, said)

"""Scenarios: when which job arrives, drawn with a seed; the same seed gives the same load. Pure.

| scenario | arrivals |
|---|---|
| burst | a quiet quarter, then half of all jobs within moments, then quiet again |
| ramp | from nothing to twice the mean rate, in a line |
| sustained | the same rate throughout |
| contention | one tenant keeps two models flooded, another asks both now and then |
| failover | sustained, while workers are killed |

Between arrivals is chance (a Poisson process), as between people who know nothing of each other. No moment exceeds
`bounds.MOST_RATE`: a burst too large for that is spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Any

import msgspec

from springtide.domain.errors import ConfigError
from springtide.loadtest.bounds import MOST_JOBS, MOST_KILLS, MOST_RATE, check_load

BURST_AT, BURST_S = 0.25, 1.0  # of the time; how long a burst takes that need not be spread
FLOOD = 0.8  # of the jobs in contention, from the tenant that floods


class Scenario(StrEnum):
    """What kind of load."""

    BURST = "burst"
    RAMP = "ramp"
    SUSTAINED = "sustained"
    CONTENTION = "contention"
    FAILOVER = "failover"


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of like jobs: a model, for a tenant. inputs: of each job; job_s and spread: how long a synthetic one
    runs (mean, coefficient of variation); None where the inputs say all."""

    model: str
    tenant: str = ""
    inputs: Mapping[str, Any] = {}
    job_s: float | None = None
    spread: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.model} · {self.tenant}" if self.tenant else self.model


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A load test. rate: mean, jobs a second over `seconds`; drain_s: how long their ends are waited for."""

    scenario: Scenario
    lanes: tuple[Lane, ...]
    rate: float = 2.0
    seconds: float = 60.0
    drain_s: float = 300.0
    kills: int = 0
    seed: int = 1

    def checked(self) -> Plan:
        """Itself. Raises ConfigError where it is beyond what is allowed or makes no sense."""
        check_load(self.rate, self.seconds, self.drain_s, self.kills)
        if self.scenario is Scenario.RAMP and 2 * self.rate > MOST_RATE:
            raise ConfigError(f"a ramp ends at twice its mean rate: --rate is at most {MOST_RATE / 2:g} for it")
        if self.scenario is Scenario.CONTENTION and len({lane.model for lane in self.lanes}) < 2:
            raise ConfigError("contention is between two models: name both with --model, or let --up invent them")
        return self


class Arrival(msgspec.Struct, frozen=True):
    """One job to submit: when, and of which lane. seconds: how long a synthetic one runs."""

    at_s: float
    lane: int
    seconds: float | None = None


def arrivals(plan: Plan) -> list[Arrival]:
    """All jobs of a plan, in order; at most MOST_JOBS."""
    chance = Random(plan.seed)  # noqa: S311 - a load that can be repeated, no secret
    return sorted(_drawn(plan, chance), key=lambda one: one.at_s)[:MOST_JOBS]


def kills(plan: Plan) -> list[float]:
    """When workers are killed: evenly over the time, not at its ends."""
    count = min(plan.kills, MOST_KILLS)
    return [plan.seconds * (number + 1) / (count + 1) for number in range(count)]


def _drawn(plan: Plan, chance: Random) -> list[Arrival]:
    rate, span_s = plan.rate, plan.seconds
    match plan.scenario:
        case Scenario.BURST:
            count = round(rate * span_s / 2)
            wide_s = max(BURST_S, 1.05 * count / MOST_RATE)
            at_s = [BURST_AT * span_s + chance.random() * wide_s for _ in range(count)]
            times = [*_steady(rate / 2, span_s, chance), *at_s]
        case Scenario.RAMP:
            times = _poisson(lambda t: 2 * rate * t / span_s, 2 * rate, span_s, chance)
        case Scenario.SUSTAINED | Scenario.FAILOVER:
            times = _steady(rate, span_s, chance)
        case Scenario.CONTENTION:
            return _contended(plan, chance)
    return [_one(plan, at_s, number % len(plan.lanes), chance) for number, at_s in enumerate(times)]


def _contended(plan: Plan, chance: Random) -> list[Arrival]:
    """The first tenant's lanes share the flood, the others' the rest; one tenant alone shares all evenly."""
    first = plan.lanes[0].tenant
    flood = [number for number, lane in enumerate(plan.lanes) if lane.tenant == first]
    rest = [number for number in range(len(plan.lanes)) if number not in flood]
    shares = {number: (FLOOD if rest else 1.0) / len(flood) for number in flood}
    shares |= {number: (1 - FLOOD) / len(rest) for number in rest}
    return [
        _one(plan, at_s, lane, chance)
        for lane, share in shares.items()
        for at_s in _steady(plan.rate * share, plan.seconds, chance)
    ]


def _one(plan: Plan, at_s: float, number: int, chance: Random) -> Arrival:
    lane = plan.lanes[number]
    return Arrival(at_s, number, None if lane.job_s is None else _length(lane.job_s, lane.spread, chance))


def _steady(rate: float, span_s: float, chance: Random) -> list[float]:
    return _poisson(lambda _: rate, rate, span_s, chance)


def _poisson(rate: Callable[[float], float], most: float, span_s: float, chance: Random) -> list[float]:
    """Arrivals under a rate that never exceeds `most`, by thinning."""
    found: list[float] = []
    at_s = chance.expovariate(most)
    while at_s < span_s:
        if chance.random() * most < rate(at_s):
            found.append(at_s)
        at_s += chance.expovariate(most)
    return found


def _length(mean_s: float, spread: float, chance: Random) -> float:
    """Log-normal, as run times of media jobs are; milliseconds are enough."""
    if spread <= 0:
        return mean_s
    sigma = math.sqrt(math.log1p(spread * spread))
    return round(mean_s * math.exp(sigma * chance.gauss(0.0, 1.0) - sigma * sigma / 2), 3)


def lanes_of(models: Sequence[str], tenants: Sequence[str], *, job_s: float | None, spread: float) -> tuple[Lane, ...]:
    """Every model for every tenant, those of the first tenant first."""
    return tuple(Lane(model=model, tenant=tenant, job_s=job_s, spread=spread) for tenant in tenants for model in models)

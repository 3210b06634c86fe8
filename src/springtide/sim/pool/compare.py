"""Policies side by side on one trace, and what may be said about it in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from springtide.domain.errors import ConfigError
from springtide.sim.pool.bound import greedy
from springtide.sim.pool.contenders import named
from springtide.sim.pool.engine import Setup, simulate
from springtide.sim.pool.grids import TUNED, cheapest, grid
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.outcome import Outcome

Told = Callable[[str, float], None]
LATE_JOBS_TO_TELL = 5.0  # that the objective allows: with fewer, a single burst is the verdict
LEAD_IN_S = 600.0  # ten windows of what reacts slowest by default (Knative's stable one)


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """So large a share of jobs begins within so many seconds."""

    wait_s: float = 30.0
    share: float = 0.99


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the table and the report show; `outcomes` in the order in which they were asked for."""

    trace: str
    note: str
    jobs: int
    span_s: float
    load: float
    wait_s: float
    share: float
    cold_start_s: float
    lead_in_s: float
    bound_hours: float  # greedy with perfect knowledge, every job in time; 0: not asked for
    outcomes: tuple[Outcome, ...]

    @property
    def kept(self) -> list[Outcome]:
        """Those that keep the objective, cheapest first."""
        return sorted((one for one in self.outcomes if one.attained >= self.share), key=lambda one: one.replica_hours)

    @property
    def best(self) -> Outcome | None:
        """The cheapest of those that keep the objective."""
        return next(iter(self.kept), None)

    @property
    def subtitle(self) -> str:
        return (
            f"{_jobs(self.jobs)} in {span(self.span_s)}, mean load {self.load:.3g} replicas, cold start "
            f"{self.cold_start_s:g} s; objective: {self.share * 100:.4g} % of jobs begin within {self.wait_s:g} s"
        )

    @property
    def summary(self) -> str:
        """A sentence or two, as true as the figures."""
        return f"{self._found}{self._doubt}"

    @property
    def _doubt(self) -> str:
        """Where one job more or less would change the verdict."""
        if self.jobs * (1 - self.share) >= LATE_JOBS_TO_TELL:
            return ""
        least = math.ceil(LATE_JOBS_TO_TELL / (1 - self.share) - 1e-9)
        return (
            f" Little is proved by {_jobs(self.jobs)}: for a share of {100 * self.share:.4g} % take {least:,} or more."
        )

    @property
    def _found(self) -> str:
        best = self.best
        if best is None:
            nearest = max(self.outcomes, key=lambda one: one.attained)
            return f"No policy keeps the objective here; {nearest.policy} comes nearest with {nearest.attained:.2%}."
        others = [one for one in self.kept if one is not best]
        said = f"{best.policy} keeps the objective ({best.attained:.2%}) for {hours(best.replica_hours)} replica hours"
        if not others:
            return f"{said}; no other policy here keeps it."
        less = 1 - best.replica_hours / max(others[0].replica_hours, 1e-9)
        told = f"{less:.0%} less than" if less >= 0.005 else "as many as"
        return f"{said}, {told} the next that does ({others[0].policy}, {hours(others[0].replica_hours)})."

    @property
    def _tuned(self) -> str:
        if not any(one.policy.endswith(TUNED) for one in self.outcomes):
            return ""
        return " Of a policy called tuned, the cheapest of several settings that keeps the objective here is shown."

    @property
    def described(self) -> str:
        return (
            f"Simulated in discrete events with the policies of the product and rebuilt ones of others. "
            f"{self.note[:1].upper()}{self.note[1:]}. "
            "A replica runs one job at a time and is paid for from launch to end. Jobs wait in one queue: tenants by "
            "weight, shortest predicted first with ageing. A replica that is told to go finishes its job first, in "
            f"every policy. The first {self.lead_in_s:g} seconds are run once before, with the replicas that they keep "
            "busy, and count in no figure: a trace is cut out of a service's life." + self._tuned
        )


def compare(
    jobs: Jobs,
    policies: Sequence[str],
    objective: Objective,
    setup: Setup,
    *,
    with_bound: bool = True,
    told: Told | None = None,
) -> Comparison:
    """Run each policy on the trace. told: hears a policy's name and how far it is. Raises ConfigError for a name that
    nobody has, and for a trace without jobs."""
    if not len(jobs):
        raise ConfigError(f"the trace {jobs.name} has no jobs")
    contenders = [
        grid(name, jobs) or [named(name, objective.wait_s, objective.share, setup.weather)] for name in policies
    ]
    setup = msgspec.structs.replace(setup, wait_s=objective.wait_s)
    outcomes: list[Outcome] = []
    for name, several in zip(policies, contenders, strict=True):
        tried: list[Outcome] = []
        for contender in several:
            heard = partial(_part, told, name, (len(tried), len(several))) if told is not None else None
            tried.append(simulate(jobs, contender, setup, told=heard))
        outcomes.append(msgspec.structs.replace(cheapest(tried, objective.share), policy=name))
    cold_start_s = setup.weather.expected_s
    bound = greedy(jobs, wait_s=objective.wait_s, cold_start_s=cold_start_s).replica_hours if with_bound else 0.0
    return Comparison(
        trace=jobs.name,
        note=jobs.note,
        jobs=len(jobs),
        span_s=jobs.span_s,
        load=jobs.load,
        wait_s=objective.wait_s,
        share=objective.share,
        cold_start_s=cold_start_s,
        lead_in_s=min(setup.lead_in_s, jobs.span_s),
        bound_hours=bound,
        outcomes=tuple(outcomes),
    )


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def hours(value: float) -> str:
    """Replica hours for a reader: three figures, and whole ones from a thousand on."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def span(seconds: float) -> str:
    """A length of time for a reader."""
    for size_s, word in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.3g} {word}"
    return f"{seconds:.3g} seconds"


def _part(told: Told, name: str, part: tuple[int, int], share: float) -> None:
    """How far a policy is of which several settings are tried."""
    told(name, (part[0] + share) / part[1])

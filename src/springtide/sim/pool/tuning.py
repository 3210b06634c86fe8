"""The settings among which peers are tuned for a trace, and bounds for our own.

A tuned peer is the cheapest of its grid that attains the share on that very trace: it knows the trace, ours does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import msgspec

from springtide.policy.elastic.bounds import Bounds
from springtide.sim.pool.compare import Objective, Told
from springtide.sim.pool.contenders import tide_for
from springtide.sim.pool.engine import Contender, Setup, simulate
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.outcome import Outcome
from springtide.sim.pool.peers.kubernetes import Hpa, Keda
from springtide.sim.pool.peers.serving import IdleTimeout, Kpa, RayServe, Static

GRIDS: dict[str, tuple[Callable[[], Contender], ...]] = {
    "hpa": (
        *(lambda target=target: Hpa("busy", target) for target in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        *(lambda floor=floor: Hpa("busy", 0.7, floor=floor) for floor in (2, 4, 8)),
    ),
    "hpa-queue": tuple(lambda target=target: Hpa("queue", target, name="hpa-queue") for target in (1.0, 2.0, 5.0)),
    "keda": tuple(lambda target=target: Keda(target) for target in (1.0, 2.0, 5.0)),
    "kpa": (
        *(lambda target=target: Kpa(target) for target in (0.3, 0.4, 0.5, 0.6, 0.7, 0.85)),
        *(lambda target=target: Kpa(target, delay_s=120.0) for target in (0.5, 0.7, 0.85)),
        *(lambda target=target: Kpa(target, stable_s=180.0) for target in (0.5, 0.7, 0.85)),
    ),
    "ray": (
        *(lambda target=target: RayServe(target) for target in (0.5, 0.6, 0.7, 0.85, 1.0)),
        *(lambda target=target: RayServe(target, up_s=5.0, down_s=180.0) for target in (0.5, 0.7, 0.85, 1.0)),
    ),
    "idle": (
        *(lambda idle=idle: IdleTimeout(idle) for idle in (30.0, 60.0, 90.0, 150.0, 240.0, 400.0)),
        *(lambda idle=idle: IdleTimeout(idle, buffer=1) for idle in (30.0, 60.0, 120.0, 240.0)),
        *(lambda idle=idle: IdleTimeout(idle, buffer=2) for idle in (30.0, 60.0, 120.0)),
        *(lambda idle=idle: IdleTimeout(idle, buffer=4) for idle in (30.0, 60.0)),
    ),
}


def static_grid(jobs: Jobs) -> tuple[Contender, ...]:
    """Fixed numbers about the load of this trace."""
    least = max(1, round(jobs.load))
    return tuple(Static(round(least * factor)) for factor in (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 9.0))


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The cheapest settings that keep the objective, or those that come nearest; `lines` go into springtide.toml."""

    trace: str
    tried: int
    attained: float
    replica_hours: float
    peak: int
    min_replicas: int
    max_replicas: int
    lines: str


HEADROOM = 1.25  # of the most replicas that were ever there: tomorrow is not quite like the trace


def tune(jobs: Jobs, objective: Objective, setup: Setup, *, told: Told | None = None, model: str = "MODEL") -> Tuned:
    """Bounds for `tide` on this trace: it finds the rest by itself. Floors are tried upwards while they make it cheaper
    or until the objective is kept."""
    setup = msgspec.structs.replace(setup, wait_s=objective.wait_s)
    floors = sorted({0, 1, 2, max(1, round(jobs.load / 2)), max(1, round(jobs.load))})
    found: list[tuple[bool, float, float, int, Outcome]] = []
    for floor in floors:
        contender = tide_for(objective.wait_s, objective.share, setup.weather, bounds=Bounds(min_replicas=floor))
        heard = partial(told, f"min_replicas {floor}") if told is not None else None
        one = simulate(jobs, msgspec.structs.replace(contender, initial=floor), setup, told=heard)
        keeps = one.attained >= objective.share
        found.append((not keeps, one.replica_hours if keeps else -one.attained, one.replica_hours, floor, one))
        kept = [cost for missed, _, cost, _, _ in found if not missed]
        if keeps and kept and one.replica_hours > 1.05 * min(kept):
            break
    _, _, hours, floor, best = min(found, key=lambda entry: entry[:4])
    most = math.ceil(best.peak * HEADROOM)
    lines = (
        f"# {best.attained:.2%} of jobs begin within {objective.wait_s:g} s at {hours:,.0f} replica hours\n"
        f"# (simulated on {jobs.name}, cold start {setup.weather.expected_s:g} s; {best.peak} replicas at most)\n"
        f"[models.{model}]\nmin_replicas = {floor}\nmax_replicas = {most}"
    )
    return Tuned(
        trace=jobs.name,
        tried=len(found),
        attained=best.attained,
        replica_hours=hours,
        peak=best.peak,
        min_replicas=floor,
        max_replicas=most,
        lines=lines,
    )

"""The settings among which peers are tuned for a trace.

A tuned peer is the cheapest of its grid that keeps the objective on that very trace, or comes nearest to it: it knows
the trace, `tide` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from springtide.sim.pool.engine import Contender
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.outcome import Outcome
from springtide.sim.pool.peers.kubernetes import Hpa, Keda
from springtide.sim.pool.peers.serving import IdleTimeout, Kpa, RayServe, Static

TUNED = "-tuned"  # after a peer's name

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


def grid(name: str, jobs: Jobs) -> Sequence[Contender]:
    """The settings to try where a policy is called `NAME-tuned`; none for other names."""
    kind = name.removesuffix(TUNED)
    if kind == name:
        return ()
    return static_grid(jobs) if kind == "static" else [make() for make in GRIDS.get(kind, ())]


def cheapest(tried: Sequence[Outcome], share: float) -> Outcome:
    """The cheapest that keeps the objective; where none does, the one that comes nearest."""
    return min(
        tried,
        key=lambda one: (0, one.replica_hours) if one.attained >= share else (1, -one.attained),
    )

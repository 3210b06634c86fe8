"""What to write into springtide.toml for an objective, found on a trace.

`tide` calibrates itself, so there is little to find: how sharply it must aim to end at the objective (`share`), whether
idle workers should stay (`idle_s`, `min_replicas`), how many there may be, and whether one of the simpler policies
would do for less. One thing is changed at a time, and kept if it is cheaper and keeps the objective. The number of runs
is bounded; of a long trace they use the newest jobs, and the whole only once, for the figures that are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from springtide.policy.elastic import queue, tide, utilization
from springtide.policy.elastic.bounds import Bounds
from springtide.policy.elastic.named import bound
from springtide.policy.elastic.patience import Patient
from springtide.sim.pool.compare import Objective, Told
from springtide.sim.pool.contenders import Ours
from springtide.sim.pool.engine import Setup, simulate
from springtide.sim.pool.jobs import Jobs, newest
from springtide.sim.pool.outcome import Outcome

HEADROOM = 1.25  # of the most replicas that were ever there: tomorrow is not quite like the trace
MOST_JOBS = 25_000  # that each run is tried on: some seconds
SHARPER = 3  # steps towards the share that just keeps the objective
MARGIN = 0.1  # of the late jobs allowed that are left for tomorrow


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may be set, by the names it has in springtide.toml."""

    policy: str = "tide"
    share: float = 0.99
    idle_s: float = 0.0
    min_replicas: int = 0
    queue_target: float = 1.0
    utilization_target: float = 0.7


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The cheapest settings that keep the objective, or those that come nearest; `lines` go into springtide.toml."""

    trace: str
    tried: int
    keeps: bool
    attained: float
    replica_hours: float
    peak: int
    settings: Settings
    max_replicas: int
    lines: str


def tune(jobs: Jobs, objective: Objective, setup: Setup, *, told: Told | None = None, model: str = "MODEL") -> Tuned:
    """Settings for this trace. told: hears what is tried and how far it is."""
    setup = msgspec.structs.replace(setup, wait_s=objective.wait_s)
    few = newest(jobs, MOST_JOBS)
    tried: dict[Settings, Outcome] = {}

    def run(settings: Settings) -> Outcome:
        if settings not in tried:
            heard = partial(told, _spoken(settings)) if told is not None else None
            tried[settings] = simulate(few, contender(settings, few, objective, setup), setup, told=heard)
        return tried[settings]

    def better(settings: Settings, than: Settings) -> bool:
        return _cost(run(settings), objective) < _cost(run(than), objective)

    best = _sharpened(Settings(share=objective.share), objective, run)
    for change in _changes(few):
        one = msgspec.structs.replace(best, **change)
        best = one if better(one, best) else best
    for other in _simpler(objective):
        best = other if better(other, best) else best
    whole = simulate(jobs, contender(best, jobs, objective, setup), setup) if few is not jobs else run(best)
    most = min(math.ceil(whole.peak * HEADROOM), setup.accelerators or math.inf)
    return Tuned(
        trace=jobs.name,
        tried=len(tried),
        keeps=whole.attained >= objective.share,
        attained=whole.attained,
        replica_hours=whole.replica_hours,
        peak=whole.peak,
        settings=best,
        max_replicas=int(most),
        lines=_lines(best, whole, jobs, objective, setup, most=int(most), model=model),
    )


def contender(settings: Settings, jobs: Jobs, objective: Objective, setup: Setup) -> Ours:
    """The product with these settings."""
    bounds = Bounds(min_replicas=settings.min_replicas)
    match settings.policy:
        case "queue":
            own = bound(queue.QueueSettings(bounds=bounds, target=settings.queue_target))
        case "utilization":
            own = bound(utilization.UtilizationSettings(bounds=bounds, target=settings.utilization_target))
        case _:
            own = bound(
                tide.TideSettings(
                    bounds=bounds,
                    wait_s=objective.wait_s,
                    share=settings.share,
                    cold_start_s=setup.weather.expected_s,
                    run_s=_run_s(jobs),
                )
            )
    patient = Patient(own, settings.idle_s) if settings.idle_s else own
    return Ours(policy=patient, initial=settings.min_replicas)


# --- what is tried ----------------------------------------------------------------------------------------------------


def _sharpened(first: Settings, objective: Objective, run: Callable[[Settings], Outcome]) -> Settings:
    """The share to aim at so that as many jobs are late as may be, less a margin: from run to run in proportion."""
    aim, best = 1 - _enough(objective), first
    for _ in range(SHARPER):
        late = 1 - first.share
        factor = aim / max(1 - run(first).attained, 1e-5)
        first = msgspec.structs.replace(
            first, share=round(1 - min(0.5, max(1e-4, late * min(2.0, max(0.5, factor)))), 4)
        )
        best = min(best, first, key=lambda settings: _cost(run(settings), objective))
    return best


def _enough(objective: Objective) -> float:
    """The share that settings must keep here, so that they keep the objective tomorrow."""
    return 1 - (1 - MARGIN) * (1 - objective.share)


def _changes(jobs: Jobs) -> Iterator[Mapping[str, float]]:
    """One at a time, in this order."""
    floors = sorted({1, 2, max(1, round(jobs.load / 2)), max(1, round(jobs.load))})
    yield from ({"min_replicas": floor} for floor in floors)
    yield from ({"idle_s": idle_s} for idle_s in (60.0, 300.0))


def _simpler(objective: Objective) -> Iterator[Settings]:
    """The product's other policies that need nothing measured but queue and workers."""
    for target in (1.0, 0.7):
        yield Settings(policy="queue", queue_target=target, share=objective.share)
    for target in (0.7, 0.5):
        yield Settings(policy="utilization", utilization_target=target, share=objective.share, min_replicas=1)


def _cost(one: Outcome, objective: Objective) -> tuple[int, float]:
    """Less is better: keeping the objective first, then hours."""
    return (0, one.replica_hours) if one.attained >= _enough(objective) else (1, -one.attained)


# --- what is told -----------------------------------------------------------------------------------------------------


def _spoken(settings: Settings) -> str:
    """Which settings are being tried, in few words."""
    first = Settings()
    changed = [
        f"{name} {value:g}"
        for name in ("share", "idle_s", "min_replicas", "queue_target", "utilization_target")
        if (value := getattr(settings, name)) != getattr(first, name)
    ]
    return " ".join([settings.policy, *changed])


def _lines(
    best: Settings, whole: Outcome, jobs: Jobs, objective: Objective, setup: Setup, *, most: int, model: str
) -> str:
    cold_s = setup.weather.expected_s
    said = "" if whole.attained >= objective.share else "; nothing that was tried keeps the objective"
    lines = [
        f"# {whole.attained:.2%} of jobs in {objective.wait_s:g} s, {whole.replica_hours:,.0f} replica hours{said}",
        f"# (simulated on {jobs.name}, cold start {cold_s:g} s; {whole.peak} replicas at most)",
        f"[models.{model}]",
        f"min_replicas = {max(best.min_replicas, setup.min_replicas)}",
        f"max_replicas = {most}",
        f"idle_s = {best.idle_s:g}",
        "",
        f"[models.{model}.scaling]",
        f'policies = ["{best.policy}"]',
        f"wait_s = {objective.wait_s:g}",
        f"share = {best.share:g}",
        f"cold_start_s = {cold_s:g}",
        f"run_s = {_run_s(jobs):g}",
    ]
    if best.policy == "queue":
        lines.append(f"queue_target = {best.queue_target:g}")
    if best.policy == "utilization":
        lines.append(f"utilization_target = {best.utilization_target:g}")
    return "\n".join(lines)


def _run_s(jobs: Jobs) -> float:
    """The mean run, to two figures."""
    return float(f"{sum(jobs.run_s) / max(1, len(jobs)):.2g}")

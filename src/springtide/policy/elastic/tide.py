"""`tide`, the default: as few replicas as keep waits within the objective, over starts that are slow and loads that
move.

What waits, what runs and a quantile of what will come are laid against what the replicas there can do (tube.py). If
work that must be done after a new replica could be ready would not be, replicas are launched: not before, for what
falls due earlier can no longer be helped, and not for later, for that can still be launched for later. An idle
replica goes when even a higher quantile would be served without it until another could have been started. The
quantiles are learnt from the share of jobs that began in time (calibration.py). docs/elasticity.md derives all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from springtide.policy.elastic.bounds import Bounds, Purse, bounded, has_data, spend
from springtide.policy.elastic.calibration import Care, level
from springtide.policy.elastic.calibration import observe as judge
from springtide.policy.elastic.forecast import Forecast, ForecastMemory, count_quantile, forecast, observe
from springtide.policy.elastic.horizons import Horizons, horizons
from springtide.policy.elastic.limits import between
from springtide.policy.elastic.queue import no_data
from springtide.policy.elastic.tube import arriving_work, capacity, delayed, holds, queued_work
from springtide.policy.elastic.view import Advice, PoolView, Reason

LOOK_EVERY_S = 5.0  # an eighth of a usual cold start
QUIET_S = 15.0  # where nothing came and nothing waits, launches are thought about so often: for a season that rises
LET_GO_EVERY_S = 15.0  # replicas go together: a fifth fewer changes for the same hours
UP_Z = 0.84  # quantile of arrivals to launch for: 80 %, before care
DOWN_Z = 2.6  # and to keep for: 99.5 %; where a start is shorter than the wait, less, as no job would be late
DOWN_Z_FREE = 2.5  # where a start takes no time at all
TOLERANCE = 0.85  # of what a run can spill over: work is not as fluid as it is counted
LATE_REST = 0.15  # of a mean run: what is left of one that should have ended
RESTED = 0.4  # of a cold start that a replica must have been idle before it goes,
RESTED_S = 45.0  # or so long where starts take no time: coming and going is no end in itself
SIZES_KEPT = 0.995  # of what is known of run times, with each job: two hundred count
SIZES_PRIOR = 5.0  # jobs' worth of trust in the configured run time
Z_LEAST, Z_MOST = -2.5, 9.0
HOLD = Reason.HOLD  # looked up once: naming an enum's member takes longer than comparing two times


class TideSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The objective, and what to believe before anything has been measured."""

    bounds: Bounds = Bounds()
    wait_s: float = 30.0  # jobs shall begin within so many seconds,
    share: float = 0.99  # so large a share of them
    cold_start_s: float = 30.0
    run_s: float = 30.0
    explains: bool = True  # each decision with its sentence and figures; a simulation reads neither


class TideMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered from look to look."""

    forecast: ForecastMemory = msgspec.field(default_factory=ForecastMemory)
    care: Care = Care()
    arrived: int = 0
    arrived_s: float = 0.0
    arrived_s2: float = 0.0
    jobs: float = 0.0  # whose run times are known, forgotten slowly; their sum, and that of the squares
    work_s: float = 0.0
    work_s2: float = 0.0
    purse: Purse | None = None
    grew_at_s: float = -1e9  # when launches were last thought about,
    shrank_at_s: float = -1e9  # and letting go
    message: str = ""  # of that look
    figures: dict[str, float] = {}


class Plan(msgspec.Struct, frozen=True):
    """What one look plans with."""

    at: Horizons
    rested_s: float
    mean_s: float
    ahead: Forecast
    up_z: float
    down_z: float


def decide(view: PoolView, memory: TideMemory | None, settings: TideSettings) -> tuple[Advice, TideMemory]:
    """Reasons: QUEUE, FORECAST, IDLE, HOLD, NO_DATA, CRASH_LOOP and those of the bounds."""
    memory = memory if memory is not None else TideMemory()
    purse = spend(view, memory.purse, settings.bounds) if settings.bounds.replica_hours_a_day is not None else None
    if not has_data(view, settings.bounds):
        return no_data(view.replicas), msgspec.structs.replace(memory, purse=purse)
    now_s, now = view.now_s, view.replicas
    news = view.arrived != memory.arrived or bool(view.waiting)
    grows = news or not 0 <= now_s - memory.grew_at_s < QUIET_S
    shrinks = bool(view.idle_for_s) and not view.waiting and not 0 <= now_s - memory.shrank_at_s < LET_GO_EVERY_S
    if not grows and not shrinks and purse is None:  # the figures of the last look are as good as new ones
        same = Advice(replicas=now, wish=now, reason=HOLD, message=memory.message, figures=memory.figures)
        return bounded(now, same, bounds=settings.bounds), memory
    memory = _learnt(
        view,
        memory,
        settings,
        purse=purse,
        grew_at_s=now_s if grows else memory.grew_at_s,
        shrank_at_s=now_s if shrinks else memory.shrank_at_s,
    )
    plan = _plan(view, memory, settings)
    supply = _supply(view, plan)
    wish, reason = now, HOLD
    if grows and (more := _more(view, plan, supply)):
        wish, reason = now + more, Reason.QUEUE if view.waiting else Reason.FORECAST
        if view.failing:
            wish, reason = now, Reason.CRASH_LOOP
    elif shrinks and (fewer := _fewer(view, plan, supply)):
        wish, reason = now - fewer, Reason.IDLE
    if settings.explains:
        advice = _told(wish, reason, view, plan)
        memory = msgspec.structs.replace(memory, message=advice.message, figures=advice.figures)
    else:
        advice = Advice(replicas=wish, wish=wish, reason=reason)
    return bounded(wish, advice, bounds=settings.bounds, purse=purse), memory


# --- what is known ----------------------------------------------------------------------------------------------------


def _learnt(
    view: PoolView,
    memory: TideMemory,
    settings: TideSettings,
    *,
    purse: Purse | None,
    grew_at_s: float,
    shrank_at_s: float,
) -> TideMemory:
    came = max(0, view.arrived - memory.arrived)
    kept = SIZES_KEPT**came
    return TideMemory(
        forecast=observe(memory.forecast, view.now_s, view.arrived),
        care=judge(memory.care, started=view.started, late=view.late, share=settings.share),
        arrived=view.arrived,
        arrived_s=view.arrived_s,
        arrived_s2=view.arrived_s2,
        jobs=memory.jobs * kept + came,
        work_s=memory.work_s * kept + (max(0.0, view.arrived_s - memory.arrived_s) if came else 0.0),
        work_s2=memory.work_s2 * kept + (max(0.0, view.arrived_s2 - memory.arrived_s2) if came else 0.0),
        purse=purse,
        grew_at_s=grew_at_s,
        shrank_at_s=shrank_at_s,
    )


def _plan(view: PoolView, memory: TideMemory, settings: TideSettings) -> Plan:
    cold_s = view.cold_start_s if view.cold_start_s is not None else settings.cold_start_s
    mean_s = (memory.work_s + SIZES_PRIOR * settings.run_s) / (memory.jobs + SIZES_PRIOR)
    cv2 = 0.5
    if memory.jobs > 2 * SIZES_PRIOR and memory.work_s > 0:
        cv2 = between(0.05, memory.work_s2 * memory.jobs / memory.work_s**2 - 1, 4.0)
    at = horizons(round(cold_s, 2), settings.wait_s, float(f"{mean_s:.2g}"), round(cv2, 1))
    care = level(memory.care, settings.share, cold_s / settings.wait_s)
    up_z = between(Z_LEAST, UP_Z + care, Z_MOST)
    down_z = between(up_z, DOWN_Z_FREE + (DOWN_Z - DOWN_Z_FREE) * at.slow + care, Z_MOST)
    return Plan(
        at,
        max(RESTED * cold_s, RESTED_S * (1 - at.slow)),
        mean_s,
        forecast(memory.forecast, view.now_s),
        up_z,
        down_z,
    )


# --- decisions --------------------------------------------------------------------------------------------------------


def _more(view: PoolView, plan: Plan, supply: list[float]) -> int:
    """The least number of launches with which all work after a launch could help is done in time."""
    at = plan.at
    can, must = _demand(view, plan, plan.up_z, len(at.grid))
    tolerance_s = TOLERANCE * at.spill_s

    def enough(more: int) -> bool:
        grown = [x + more * e for x, e in zip(supply, at.new, strict=True)]
        return holds(can, must, grown, at.after_launch, tolerance_s)

    waiting, more = view.waiting or 0, 0
    if not holds(can, must, supply, at.after_launch, tolerance_s):
        jobs = count_quantile(plan.ahead, at.grid[-1], plan.up_z)
        most = max(0, waiting + len(view.busy_left_s) + math.ceil(jobs) - view.replicas)  # as many as there may be jobs
        more = min(_least(enough, most), most)
    return 1 if not more and waiting and not view.replicas else more


def _fewer(view: PoolView, plan: Plan, supply: list[float]) -> int:
    """How many may go: what even a higher quantile would not use before another could have been started. Not asked
    while jobs wait.
    """
    rested = sum([idle_s >= plan.rested_s for idle_s in view.idle_for_s])
    if not rested:
        return 0
    at = plan.at
    points = at.before_launch.stop
    can, must = _demand(view, plan, plan.down_z, points)
    tolerance_s = TOLERANCE * at.spill_s
    grid, fewer = at.grid[:points], 0
    while fewer < rested:
        left = [x - (fewer + 1) * h for x, h in zip(supply, grid, strict=False)]
        if not holds(can, must, left, at.before_launch, tolerance_s):
            break
        fewer += 1
    return _not_missed(view, plan, supply, fewer=fewer) if fewer else 0


def _not_missed(view: PoolView, plan: Plan, supply: list[float], *, fewer: int) -> int:
    """So many of them that the next look would not launch them again."""
    at = plan.at
    can, must = _demand(view, plan, plan.up_z, len(at.grid))
    while fewer:
        left = [x - fewer * h for x, h in zip(supply, at.grid, strict=True)]
        if holds(can, must, left, at.after_launch, TOLERANCE * at.spill_s):
            break
        fewer -= 1
    return fewer


def _supply(view: PoolView, plan: Plan) -> list[float]:
    """X: what the replicas that are there can have done by each of the horizons."""
    rest_s = LATE_REST * plan.mean_s
    free_in_s = [left_s if left_s > 0 else rest_s for left_s in view.busy_left_s]
    free_in_s += view.loading_left_s
    return capacity(free_in_s, len(view.idle_for_s), plan.at.step_s, len(plan.at.grid))


def _demand(view: PoolView, plan: Plan, z: float, points: int) -> tuple[list[float], list[float]]:
    """U and D at so many of the horizons: work that can, and that must have been done by each."""
    at = plan.at
    can = arriving_work(plan.ahead, at, z, points)
    must = delayed(can, at.wait_s / at.step_s)
    if not view.waiting:
        return can, must
    queued = queued_work(view.waiting, view.waiting_s, view.oldest_wait_s, at.wait_s, at.grid[:points])
    return [a + b for a, b in zip(can, queued, strict=True)], [a + b for a, b in zip(must, queued, strict=True)]


def _least(enough: Callable[[int], bool], most: int) -> int:
    """The least number that is enough, where none at all is not; `most` where none is."""
    high = 1
    while high < most and not enough(high):
        high *= 2
    low, high = high // 2, min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# --- what is told -----------------------------------------------------------------------------------------------------


def _told(wish: int, reason: Reason, view: PoolView, plan: Plan) -> Advice:
    """The advice with its figures, and one sentence for an operator."""
    far_s, rate = plan.at.grid[-1], plan.ahead.rate
    planned = count_quantile(plan.ahead, far_s, plan.up_z)
    waiting, idle, busy = view.waiting or 0, len(view.idle_for_s), len(view.busy_left_s)
    jobs = "1 job" if round(planned) == 1 else f"{planned:.0f} jobs"
    ahead = f"{jobs} planned for in the next {far_s:.0f} s, {plan.mean_s:.3g} s each"
    change = wish - view.replicas
    if reason is Reason.CRASH_LOOP:
        message = f"{view.failing} replicas do not come up; more of them would not help"
    elif change > 0:
        message = f"{change} more: {waiting} waiting, {ahead}; a start takes {plan.at.cold_s:.3g} s"
    elif change < 0:
        message = f"{-change} fewer: {idle} idle and not needed before another could start; {ahead}"
    else:
        message = f"enough: {waiting} waiting, {ahead}"
    figures = {
        "waiting": float(waiting),
        "waiting_s": view.waiting_s,
        "ready": float(idle + busy),
        "busy": float(busy),
        "loading": float(len(view.loading_left_s)),
        "jobs_per_min": rate * 60,
        "expected_jobs": rate * far_s,
        "planned_jobs": planned,
        "horizon_s": far_s,
        "run_s": plan.mean_s,
        "care": plan.up_z - UP_Z,
    }
    return Advice(replicas=wish, wish=wish, reason=reason, message=message, figures=figures)

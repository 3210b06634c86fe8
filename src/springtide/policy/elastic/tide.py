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
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from springtide.policy.elastic.bounds import Bounds, Purse, bounded, has_data, spend
from springtide.policy.elastic.calibration import Care, level
from springtide.policy.elastic.calibration import observe as judge
from springtide.policy.elastic.forecast import Forecast, ForecastMemory, count_quantiles, forecast, observe
from springtide.policy.elastic.queue import no_data
from springtide.policy.elastic.tube import capacity, convolved, holds, partial_means, queued_work, running_max
from springtide.policy.elastic.view import Advice, PoolView, Reason

LOOK_EVERY_S = 5.0  # an eighth of a usual cold start
POINTS = 21  # of the grid of horizons
REVIEW_S = 30.0  # what falls due so long after a launch could be ready may still be launched for later
TIGHT = 0.2  # share of the wait that plans use when starts take longer than it; the rest is for what plans leave out,
LOOSE = 0.8  # and when they take no time
UP_Z = 0.84  # quantile of arrivals to launch for: 80 %, before care
DOWN_Z = 2.1  # and to keep for: 98 %; where a start is shorter than the wait, less, as no job would be late
DOWN_Z_FREE = 2.0  # where a start takes no time at all
TOLERANCE = 0.6  # of a mean run: work is not as fluid as it is counted
LATE_REST = 0.15  # of a mean run: what is left of one that should have ended
RESTED = 0.4  # of a cold start that a replica must have been idle before it goes,
RESTED_S = 45.0  # or so long where starts take no time: coming and going is no end in itself
SIZES_KEPT = 0.995  # of what is known of run times, with each job: two hundred count
SIZES_PRIOR = 5.0  # jobs' worth of trust in the configured run time
Z_LEAST, Z_MOST = -1.0, 6.0


class TideSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The objective, and what to believe before anything has been measured."""

    bounds: Bounds = Bounds()
    wait_s: float = 30.0  # jobs shall begin within so many seconds,
    share: float = 0.99  # so large a share of them
    cold_start_s: float = 30.0
    run_s: float = 30.0


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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one look plans with."""

    grid: Sequence[float]
    halves: Sequence[float]  # E[min(S, x)] in the middle of each step
    step_s: float
    cold_s: float
    wait_s: float  # that plans use
    rested_s: float
    mean_s: float
    ahead: Forecast
    up_z: float
    down_z: float


def decide(view: PoolView, memory: TideMemory | None, settings: TideSettings) -> tuple[Advice, TideMemory]:
    """Reasons: QUEUE, FORECAST, IDLE, HOLD, NO_DATA, CRASH_LOOP and those of the bounds."""
    memory = memory if memory is not None else TideMemory()
    purse = spend(view, memory.purse, settings.bounds)
    if not has_data(view, settings.bounds):
        return no_data(view.replicas), msgspec.structs.replace(memory, purse=purse)
    memory = _learnt(view, memory, settings, purse)
    plan = _plan(view, memory, settings)
    counts = _counts(plan, plan.up_z)
    advice = _more(view, plan, counts) or _fewer(view, plan) or _hold(view, Reason.HOLD)
    if advice.wish > view.replicas and view.failing:
        advice = _hold(view, Reason.CRASH_LOOP)
    busy = len(view.busy_left_s)
    figures = {
        "waiting": float(view.waiting or 0),
        "waiting_s": view.waiting_s,
        "ready": float(view.ready),
        "busy": float(busy),
        "loading": float(len(view.loading_left_s)),
        "jobs_per_min": plan.ahead.rate * 60,
        "expected_jobs": plan.ahead.rate * plan.grid[-1],
        "planned_jobs": counts[-1],
        "horizon_s": plan.grid[-1],
        "run_s": plan.mean_s,
        "care": plan.up_z - UP_Z,
    }
    advice = msgspec.structs.replace(advice, message=_message(advice, view, plan, counts), figures=figures)
    return bounded(advice.wish, advice, bounds=settings.bounds, purse=purse), memory


# --- what is known ----------------------------------------------------------------------------------------------------


def _learnt(view: PoolView, memory: TideMemory, settings: TideSettings, purse: Purse | None) -> TideMemory:
    came = view.arrived - memory.arrived
    kept = SIZES_KEPT ** max(0, came)
    return TideMemory(
        forecast=observe(memory.forecast, view.now_s, view.arrived),
        care=judge(memory.care, started=view.started, late=view.late, share=settings.share),
        arrived=view.arrived,
        arrived_s=view.arrived_s,
        arrived_s2=view.arrived_s2,
        jobs=memory.jobs * kept + max(0, came),
        work_s=memory.work_s * kept + (max(0.0, view.arrived_s - memory.arrived_s) if came > 0 else 0.0),
        work_s2=memory.work_s2 * kept + (max(0.0, view.arrived_s2 - memory.arrived_s2) if came > 0 else 0.0),
        purse=purse,
    )


def _plan(view: PoolView, memory: TideMemory, settings: TideSettings) -> Plan:
    cold_s = view.cold_start_s if view.cold_start_s is not None else settings.cold_start_s
    mean_s = (memory.work_s + SIZES_PRIOR * settings.run_s) / (memory.jobs + SIZES_PRIOR)
    cv2 = 0.5
    if memory.jobs > 2 * SIZES_PRIOR and memory.work_s > 0:
        cv2 = max(0.05, min(4.0, memory.work_s2 * memory.jobs / memory.work_s**2 - 1))
    slow = min(1.0, cold_s / settings.wait_s)  # 1: a job that finds no replica is late
    wait_s = settings.wait_s * (LOOSE + (TIGHT - LOOSE) * slow)
    step_s = (cold_s + REVIEW_S + max(settings.wait_s, REVIEW_S) + wait_s) / (POINTS - 1)
    grid, halves = _grid(round(step_s, 3), float(f"{mean_s:.2g}"), round(cv2, 1))
    care = level(memory.care, settings.share)
    up_z = max(Z_LEAST, min(Z_MOST, UP_Z + care))
    down_z = max(up_z, min(Z_MOST, DOWN_Z_FREE + (DOWN_Z - DOWN_Z_FREE) * slow + care))
    return Plan(
        grid=grid,
        halves=halves,
        step_s=step_s,
        cold_s=cold_s,
        wait_s=wait_s,
        rested_s=max(RESTED * cold_s, RESTED_S * (1 - slow)),
        mean_s=mean_s,
        ahead=forecast(memory.forecast, view.now_s),
        up_z=up_z,
        down_z=down_z,
    )


@lru_cache(maxsize=512)
def _grid(step_s: float, mean_s: float, cv2: float) -> tuple[list[float], list[float]]:
    """Horizons, and what a job can have got in the middle of each step; the same for hours on end."""
    grid = [step_s * j for j in range(POINTS)]
    return grid, partial_means(mean_s, cv2, [step_s * (j + 0.5) for j in range(POINTS)])


# --- demand -----------------------------------------------------------------------------------------------------------


def _counts(plan: Plan, z: float) -> list[float]:
    """A quantile of the jobs that will have come by each horizon."""
    ahead = plan.ahead
    bend = ahead.season_ahead / 2
    means = [ahead.rate * max(0.1 * h, h + bend * h * h) for h in plan.grid]
    return running_max(count_quantiles(means, spread=ahead.spread, shape=ahead.shape, z=z))


def _demand(view: PoolView, plan: Plan, counts: Sequence[float]) -> tuple[list[float], list[float]]:
    """U and D: work that can, and that must have been done by each horizon."""
    can = convolved(counts, plan.halves)
    later = min(POINTS, round(plan.wait_s / plan.step_s))
    must = [0.0] * later + can[: POINTS - later]
    if not view.waiting:
        return can, must
    queued = queued_work(view.waiting, view.waiting_s, view.oldest_wait_s, plan.wait_s, plan.grid)
    return [a + b for a, b in zip(can, queued, strict=True)], [a + b for a, b in zip(must, queued, strict=True)]


def _supply(view: PoolView, plan: Plan) -> list[float]:
    """X: what the replicas that are there can have done by each horizon."""
    rest_s = LATE_REST * plan.mean_s
    free_in_s = [left_s if left_s > 0 else rest_s for left_s in view.busy_left_s]
    free_in_s += [max(0.0, left_s) for left_s in view.loading_left_s]
    return capacity(free_in_s, len(view.idle_for_s), plan.step_s, POINTS)


# --- decisions --------------------------------------------------------------------------------------------------------


def _more(view: PoolView, plan: Plan, counts: Sequence[float]) -> Advice | None:
    """Launch the least number with which all work after a launch could help is done in time."""
    can, must = _demand(view, plan, counts)
    supply = _supply(view, plan)
    waiting = view.waiting or 0
    window = range(min(POINTS - 1, math.ceil((plan.cold_s + REVIEW_S) / plan.step_s - 1e-9)), POINTS)
    tolerance_s = TOLERANCE * plan.mean_s
    new = [max(0.0, h - plan.cold_s) for h in plan.grid]

    def enough(more: int) -> bool:
        grown = [x + more * e for x, e in zip(supply, new, strict=True)] if more else supply
        return holds(can, must, grown, window, tolerance_s)

    now = view.replicas
    most = max(0, waiting + len(view.busy_left_s) + math.ceil(counts[-1]) - now)  # as many as there may be jobs
    more = min(_least(enough, most), most)
    if now == 0 and waiting:
        more = max(more, 1)
    if more == 0:
        return None
    return Advice(replicas=now + more, wish=now + more, reason=Reason.QUEUE if waiting else Reason.FORECAST)


def _fewer(view: PoolView, plan: Plan) -> Advice | None:
    """Let go what even a higher quantile would not use before another could have been started. Never while jobs
    wait.
    """
    rested = sum(idle_s >= plan.rested_s for idle_s in view.idle_for_s)
    if not rested or view.waiting:
        return None
    can, must = _demand(view, plan, _counts(plan, plan.down_z))
    supply = _supply(view, plan)
    window = range(min(POINTS, int((plan.cold_s + plan.wait_s) / plan.step_s) + 1))
    tolerance_s = TOLERANCE * plan.mean_s
    fewer = 0
    while fewer < rested:
        left = [x - (fewer + 1) * h for x, h in zip(supply, plan.grid, strict=True)]
        if not holds(can, must, left, window, tolerance_s):
            break
        fewer += 1
    if not fewer:
        return None
    return Advice(replicas=view.replicas - fewer, wish=view.replicas - fewer, reason=Reason.IDLE)


def _hold(view: PoolView, reason: Reason) -> Advice:
    return Advice(replicas=view.replicas, wish=view.replicas, reason=reason)


def _least(enough: Callable[[int], bool], most: int) -> int:
    """The least number that is enough; `most` where none is."""
    if most == 0 or enough(0):
        return 0
    high = 1
    while high < most and not enough(high):
        high *= 2
    low, high = high // 2, min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _message(advice: Advice, view: PoolView, plan: Plan, counts: Sequence[float]) -> str:
    """One sentence for an operator."""
    change = advice.wish - view.replicas
    ahead = f"{counts[-1]:.0f} jobs planned for in the next {plan.grid[-1]:.0f} s, {plan.mean_s:.3g} s each"
    if advice.reason is Reason.CRASH_LOOP:
        return f"{view.failing} replicas do not come up; more of them would not help"
    if change > 0:
        return f"{change} more: {view.waiting} waiting, {ahead}; a start takes {plan.cold_s:.3g} s"
    if change < 0:
        return f"{-change} fewer: {len(view.idle_for_s)} idle and not needed before another could start; {ahead}"
    return f"enough: {view.waiting} waiting, {ahead}"

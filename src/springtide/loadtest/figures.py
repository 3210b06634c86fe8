"""From what a load test saw to figures: percentiles, rates over time, what a kill cost, what was lost. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import msgspec

from springtide.loadtest.record import Entry, Kill, Look, Run
from springtide.loadtest.scenarios import Plan

BINS = 60  # of the charts over time
LEAST_BIN_S = 1.0
WINDOW_JOBS = 20  # that a percentile over time is of, at least: of two jobs P50 and P99 are nearly the same


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. Nearest rank: each is a value that was measured. All 0 where there was none."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What a kill cost. hit: jobs that ran on what was killed, as their attempts say; resumed_s: until the last of
    them ran again; workers_s: until as many workers were ready as before. None: not within the test."""

    at_s: float
    what: str
    hit: int
    resumed_s: float | None
    workers_s: float | None


class LaneFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of jobs."""

    label: str
    accepted: int
    completed: int
    failed: int
    wait: Percentiles
    latency: Percentiles


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the time: until when, rates a second, and percentiles of the jobs that were accepted
    in it, and before it until they are enough."""

    until_s: float
    arrived: float
    ended: float
    errors: float
    p50: float | None
    p95: float | None
    p99: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as the JSON has it.

    lost: accepted, and not on record. unfinished: on record, not ended when patience was over. failed: ended without
    a result. latency: accepted to ended; wait: accepted to the begin of the attempt that ended it; submit: the call.
    late: by how much the test itself was behind its plan when it sent.
    """

    planned: int
    submitted: int
    accepted: int
    refused: int
    repeated: int
    completed: int
    failed: int
    unfinished: int
    lost: int
    attempts_again: int
    success: float  # completed over submitted
    throughput: float  # completed a second, from the first submit to the last end
    submit: Percentiles
    wait: Percentiles
    latency: Percentiles
    late: Percentiles
    peak_queue: int
    peak_workers: int
    worker_s: float  # of workers that were up, as looked at
    utilization: float | None  # what jobs were charged for over them; None: no worker was seen
    recovery_s: float | None  # the longest until jobs that were hit ran again and the workers were back; None: no kill
    recoveries: tuple[Recovery, ...]
    problems: dict[str, int]  # why submits were not accepted at once, by code
    errors: dict[str, int]  # why jobs failed, by code
    lanes: tuple[LaneFigures, ...]
    bins: tuple[Bin, ...]


def figures(plan: Plan, run: Run, *, planned: int) -> Figures:
    """planned: jobs that the plan had."""
    accepted = [one for one in run.submits if one.job is not None]
    ended = [one for one in run.entries if one.has_ended]
    completed = [one for one in ended if one.status == "completed"]
    worker_s = _up_s(run.looks)
    used_s = sum(
        one.used_s if one.used_s is not None else (one.finished_s or 0) - (one.started_s or 0) for one in ended
    )
    recoveries = tuple(_recovery(kill, run) for kill in run.kills)
    last_s = max((one.finished_s for one in completed if one.finished_s is not None), default=0.0)
    first_s = min((one.sent_s for one in run.submits), default=0.0)
    return Figures(
        planned=planned,
        submitted=len(run.submits),
        accepted=len(accepted),
        refused=len(run.submits) - len(accepted),
        repeated=sum(any(failure.again for failure in one.failures) for one in run.submits),
        completed=len(completed),
        failed=len(ended) - len(completed),
        unfinished=len(run.entries) - len(ended),
        lost=len(run.missing),
        attempts_again=sum(one.attempt > 1 for one in run.entries),
        success=len(completed) / len(run.submits) if run.submits else 0.0,
        throughput=len(completed) / max(1e-9, last_s - first_s) if completed else 0.0,
        submit=percentiles([one.answered_s - one.sent_s for one in accepted]),
        wait=percentiles(_waits(ended)),
        latency=percentiles(_latencies(ended)),
        late=percentiles([max(0.0, one.sent_s - one.due_s) for one in run.submits]),
        peak_queue=max((sum(one.queued for one in looks) for _, looks in by_time(run.looks)), default=0),
        peak_workers=max((sum(one.workers for one in looks) for _, looks in by_time(run.looks)), default=0),
        worker_s=worker_s,
        utilization=min(1.0, used_s / worker_s) if worker_s else None,
        recovery_s=_longest(recoveries, run),
        recoveries=recoveries,
        problems=dict(Counter(failure.code for one in run.submits for failure in one.failures)),
        errors=dict(Counter(one.error or one.status for one in ended if one.status != "completed")),
        lanes=tuple(_lane(plan, number, run) for number in range(len(plan.lanes))),
        bins=_bins(run),
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Of as many values as there are."""
    if not values:
        return Percentiles()
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]

    return Percentiles(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        max=ordered[-1],
    )


def by_time(looks: Sequence[Look]) -> list[tuple[float, list[Look]]]:
    """Looks at all models together, in order."""
    found: dict[float, list[Look]] = {}
    for one in looks:
        found.setdefault(one.at_s, []).append(one)
    return sorted(found.items())


def _waits(entries: Sequence[Entry]) -> list[float]:
    return [max(0.0, one.started_s - one.created_s) for one in entries if one.started_s is not None]


def _latencies(entries: Sequence[Entry]) -> list[float]:
    return [max(0.0, one.finished_s - one.created_s) for one in entries if one.finished_s is not None]


def busy(run: Run) -> list[tuple[float, float]]:
    """How many workers ran jobs at each look, by the record: what a worker says of itself is seconds old. A job counts
    for as much of a worker as it was charged for, so that those of a batch count for one together."""
    changes: list[tuple[float, float]] = []
    for one in run.entries:
        if one.started_s is None or one.finished_s is None or one.finished_s <= one.started_s:
            continue
        took_s = one.finished_s - one.started_s
        share = 1.0 if one.used_s is None else min(1.0, one.used_s / took_s)
        changes += [(one.started_s, share), (one.finished_s, -share)]
    changes.sort()
    found: list[tuple[float, float]] = []
    level, at = 0.0, 0
    for at_s, _ in by_time(run.looks):
        while at < len(changes) and changes[at][0] <= at_s:
            level += changes[at][1]
            at += 1
        found.append((at_s, max(0.0, round(level, 3))))
    return found


def _up_s(looks: Sequence[Look]) -> float:
    """Seconds of workers that were up: each look holds until the next."""
    rows = by_time(looks)
    return sum((next_s - at_s) * sum(one.workers for one in found) for (at_s, found), (next_s, _) in pairwise(rows))


def _recovery(kill: Kill, run: Run) -> Recovery:
    """Jobs whose attempts were cut short by this kill began again after it, before the next one."""
    next_s = min((one.at_s for one in run.kills if one.at_s > kill.at_s), default=float("inf"))
    hit = [
        one.started_s - kill.at_s
        for one in run.entries
        if one.attempt > 1
        and one.created_s <= kill.at_s
        and one.started_s is not None
        and kill.at_s <= one.started_s < next_s
    ]
    up = [
        (at_s, sum(one.ready + one.busy for one in looks))
        for at_s, looks in by_time(run.looks)
        if kill.at_s < at_s < next_s
    ]
    gone_s = next((at_s for at_s, workers in up if workers < kill.workers), kill.at_s)  # when it was seen to be gone
    back_s = next((at_s for at_s, workers in up if at_s > gone_s and workers >= kill.workers), None)
    return Recovery(
        at_s=kill.at_s,
        what=kill.what,
        hit=len(hit),
        resumed_s=max(hit, default=None),
        workers_s=None if back_s is None else back_s - kill.at_s,
    )


def _longest(recoveries: Sequence[Recovery], run: Run) -> float | None:
    """A kill whose workers never came back counts until the end of the test."""
    if not recoveries:
        return None
    return max(
        max(one.resumed_s or 0.0, one.workers_s if one.workers_s is not None else run.span_s - one.at_s)
        for one in recoveries
    )


def _lane(plan: Plan, number: int, run: Run) -> LaneFigures:
    ended = [one for one in run.entries if one.lane == number and one.has_ended]
    completed = sum(one.status == "completed" for one in ended)
    return LaneFigures(
        label=plan.lanes[number].label,
        accepted=sum(one.lane == number and one.job is not None for one in run.submits),
        completed=completed,
        failed=len(ended) - completed,
        wait=percentiles(_waits(ended)),
        latency=percentiles(_latencies(ended)),
    )


def _bins(run: Run) -> tuple[Bin, ...]:
    width_s = max(LEAST_BIN_S, run.span_s / BINS)
    count = max(1, int(run.span_s / width_s + 0.999))

    def counted(times: Iterable[float]) -> list[int]:
        found = [0] * count
        for at_s in times:
            found[min(count - 1, max(0, int(at_s / width_s)))] += 1
        return found

    ends = [one for one in run.entries if one.has_ended and one.finished_s is not None]
    arrived = counted(one.answered_s for one in run.submits if one.job is not None)
    ended = counted(one.finished_s or 0.0 for one in ends)
    refused = counted(failure.at_s for one in run.submits for failure in one.failures)
    failed = counted(one.finished_s or 0.0 for one in ends if one.status != "completed")
    ended_jobs = [(one.created_s, one.finished_s - one.created_s) for one in run.entries if one.finished_s is not None]
    window_s = max(width_s, run.span_s * WINDOW_JOBS / max(1, len(ended_jobs)))

    def quantile(until_s: float, of: Callable[[Percentiles], float]) -> float | None:
        values = [took_s for at_s, took_s in ended_jobs if until_s - window_s < at_s <= until_s]
        return of(percentiles(values)) if values else None

    return tuple(
        Bin(
            until_s=(number + 1) * width_s,
            arrived=arrived[number] / width_s,
            ended=ended[number] / width_s,
            errors=(refused[number] + failed[number]) / width_s,
            p50=quantile((number + 1) * width_s, lambda one: one.p50),
            p95=quantile((number + 1) * width_s, lambda one: one.p95),
            p99=quantile((number + 1) * width_s, lambda one: one.p99),
        )
        for number in range(count)
    )

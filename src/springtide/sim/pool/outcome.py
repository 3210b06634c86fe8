"""What came out of a run: the figures of the table and the rows of the charts."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.pool import Pool


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One point of the charts: an interval that ends at `until_s`."""

    until_s: float
    arrivals: int
    started: int
    late: int
    replicas: float  # mean, those that load or drain included
    busy: float  # mean
    waiting: int  # most at any look


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one trace."""

    trace: str
    policy: str
    jobs: int
    replica_hours: float
    work_hours: float
    utilization: float  # work / replica hours
    wait_mean_s: float
    wait_p50_s: float
    wait_p90_s: float
    wait_p95_s: float
    wait_p99_s: float
    wait_max_s: float
    attained: float  # share of jobs that waited no longer than the objective
    unfinished: int  # jobs that had not begun a day after the last came
    scale_events: int
    launches: int
    peak: int
    killed_busy: int  # always 0: a busy replica finishes its job in every policy here; see stopped_busy
    stopped_busy: int  # busy replicas that were told to go: without a drain these are killed jobs
    crashes: int
    eta_held50: float | None = None  # share of jobs that ended within the bands they were told, where they were
    eta_held90: float | None = None
    within: tuple[tuple[float, float], ...] = ()  # (seconds, share of jobs that waited no longer)
    rows: tuple[Row, ...] = ()


class Recorder:
    """Collects the rows while the simulation goes."""

    def __init__(self, end_s: float, *, wait_s: float, lead_in_s: float, points: int) -> None:
        """wait_s: the objective's. lead_in_s: seconds at the begin that count in no figure. points: rows at most."""
        self._wait_s, self._lead_in_s = wait_s, lead_in_s
        self._width_s = max((end_s - lead_in_s) / points, 20.0)
        self._next_s = lead_in_s if lead_in_s else self._width_s  # a row of its own for the lead-in
        self._rows: list[Row] = []
        self._last = (0.0, 0, 0, 0, 0.0, 0.0)
        self._replica_s = self._at_s = 0.0
        self._waiting = 0

    def look(self, now_s: float, pools: Sequence[Pool]) -> None:
        """After every round of decisions."""
        waiting = there = 0
        for pool in pools:
            waiting += pool.line.count
            there += len(pool.loading) + len(pool.idle) + len(pool.busy)
        self._replica_s += there * (now_s - self._at_s)
        self._at_s = now_s
        if waiting > self._waiting:
            self._waiting = waiting
        if now_s < self._next_s:
            return
        totals = (
            now_s,
            sum(pool.arrived for pool in pools),
            sum(pool.started for pool in pools),
            sum(pool.late for pool in pools),
            self._replica_s,
            sum(pool.busy_s for pool in pools),
        )
        past_s = max(now_s - self._last[0], 1e-9)
        arrivals, started, late = (int(totals[i] - self._last[i]) for i in (1, 2, 3))
        replicas, busy = ((totals[i] - self._last[i]) / past_s for i in (4, 5))
        self._rows.append(Row(now_s, arrivals, started, late, round(replicas, 3), round(busy, 3), self._waiting))
        self._last, self._waiting = totals, 0
        self._next_s = now_s + self._width_s

    def outcome(self, jobs: Jobs, policy: str, *, pools: Sequence[Pool], waits: array[float]) -> Outcome:
        """The figures, without those of the lead-in."""
        since_s = self._lead_in_s
        counted = [number for number, at_s in enumerate(jobs.at_s) if at_s >= since_s]
        ended = sorted(waits[number] for number in counted if not math.isnan(waits[number]))
        work_s = sum(jobs.run_s[number] for number in counted)
        billed_s = sum(pool.billed_s for pool in pools)

        def quantile(share: float) -> float:
            return ended[min(len(ended) - 1, int(share * len(ended)))] if ended else 0.0

        return Outcome(
            trace=jobs.name,
            policy=policy,
            jobs=len(counted),
            replica_hours=billed_s / 3600,
            work_hours=work_s / 3600,
            utilization=min(1.0, work_s / billed_s) if billed_s else 0.0,  # the last runs outlast the bill
            wait_mean_s=sum(ended) / len(ended) if ended else 0.0,
            wait_p50_s=quantile(0.5),
            wait_p90_s=quantile(0.9),
            wait_p95_s=quantile(0.95),
            wait_p99_s=quantile(0.99),
            wait_max_s=ended[-1] if ended else 0.0,
            attained=sum(wait <= self._wait_s for wait in ended) / max(1, len(counted)),
            unfinished=len(counted) - len(ended),
            scale_events=sum(pool.events for pool in pools),
            launches=sum(pool.launches for pool in pools),
            peak=max((pool.peak for pool in pools), default=0),
            killed_busy=0,
            stopped_busy=sum(pool.stopped_busy for pool in pools),
            crashes=sum(pool.crashes for pool in pools),
            within=_within(ended, len(counted), self._wait_s),
            rows=tuple(
                msgspec.structs.replace(row, until_s=row.until_s - since_s) for row in self._rows[since_s > 0 :]
            ),
        )


def _within(ended: list[float], jobs: int, wait_s: float) -> tuple[tuple[float, float], ...]:
    """Share of jobs that began within so many seconds, up to five times the objective."""
    points = [wait_s * step / 20 for step in range(101)]
    return tuple((round(at_s, 3), round(bisect_right(ended, at_s) / max(1, jobs), 5)) for at_s in points)

"""The real half of the claims: `springtide up` with synthetic jobs, which wait instead of computing, so that a dozen
workers fit on a small machine. Where hours would be needed time is scaled, and the figures are scaled back: what the
platform itself takes is then told too large by that factor, never too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.claims_simulated import A_DAY, ANSWER_S, COLD_S, PICTURE_S, SEED, SIX_MINUTES_S, WAIT_S
from benchmarks.product import Installation
from springtide.client import AsyncSpringtide, Patience
from springtide.loadtest.driving import Driver
from springtide.loadtest.figures import Figures, figures
from springtide.loadtest.record import Run
from springtide.loadtest.scenarios import Arrival, Lane, Plan, Scenario
from springtide.runtime.clock import SystemClock
from springtide.sim.pool.families import invent

HOURS = 120.0  # six minutes are three seconds
TIDE = 20.0  # an hour is three minutes
START_S = 0.6  # of a worker's process on this machine, without what the engine waits: less to wait for in the engine
BURST, BURST_COLD_S = 40, 4.0
CONFIG = """
[models.synthetic]
engine = "synthetic"
min_replicas = {least}
max_replicas = {most}
slots = 1
idle_s = 0
settings = {{ cold_start_s = {cold_s:.3f} }}

[models.synthetic.scaling]
wait_s = {wait_s:.3f}
cold_start_s = {lead_s:.3f}
run_s = {run_s:.3f}
"""


class RealPair(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet under 40 requests at once. in_time: share answered within 30 s."""

    mean_s: float
    p95_s: float
    p99_s: float
    used: float
    in_time: float


class Real(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, scaled back to the hours and minutes of the claim."""

    an_hour: dict[int, float]
    tide_wait_s: float
    tide_wait_p99_s: float
    hundred_s: float
    hundred_done: int
    static: RealPair
    elastic: RealPair


async def jobs_an_hour(folder: Path, workers: int) -> float:
    """Jobs of six minutes, 120 times as fast, eight for each worker, all there at once."""
    run_s = SIX_MINUTES_S / HOURS
    due = [Arrival(0.0, 0, run_s)] * (8 * workers)
    found, run = await _ran(folder, due, least=workers, most=workers, run_s=run_s)
    ends = sorted(one.finished_s for one in run.entries if one.finished_s is not None)
    begins = min(one.started_s for one in run.entries if one.started_s is not None)
    assert found.completed == len(due), found.errors
    return len(due) / (ends[-1] - begins) * 3600 / HOURS


async def peak_hour(folder: Path) -> tuple[float, float]:
    """Mean and P99 wait in the busiest hour of the tidal day, 20 times as fast, cold start and objective with it."""
    day = invent("tide", seed=SEED, days=1.0, load=A_DAY * 60.0 / 86_400)
    hours = [sum(3600 * hour <= at_s < 3600 * (hour + 1) for at_s in day.at_s) for hour in range(24)]
    since_s = 3600.0 * hours.index(max(hours))
    due = [
        Arrival((at_s - since_s) / TIDE, 0, run_s / TIDE)
        for at_s, run_s in zip(day.at_s, day.run_s, strict=True)
        if since_s <= at_s < since_s + 3600
    ]
    cold_s = COLD_S / TIDE
    found, _ = await _ran(
        folder, due, least=0, most=24, run_s=60.0 / TIDE, cold_s=cold_s - START_S, wait_s=WAIT_S / TIDE, lead_s=cold_s
    )
    return found.wait.mean * TIDE, found.wait.p99 * TIDE


async def hundred_at_once(folder: Path) -> tuple[float, int]:
    """A hundred requests in one moment, four workers; time as it is."""
    found, _ = await _ran(folder, [Arrival(0.0, 0, PICTURE_S)] * 100, least=4, most=4, run_s=PICTURE_S)
    return found.latency.mean, found.completed


async def static_and_elastic(folder: Path, *, least: int, most: int) -> RealPair:
    """Forty requests in one moment after a quiet minute's worth of a few; time as it is, cold starts of 4 s."""
    quiet = [Arrival(3.0 * number, 0, PICTURE_S) for number in range(5)]
    due = [*quiet, *[Arrival(15.0, 0, PICTURE_S)] * BURST]
    found, run = await _ran(
        folder, due, least=least, most=most, run_s=PICTURE_S, cold_s=BURST_COLD_S - START_S, wait_s=5.0, lead_s=4.0
    )
    took_s = [one.finished_s - one.created_s for one in run.entries[len(quiet) :] if one.finished_s is not None]
    return RealPair(
        mean_s=found.latency.mean,
        p95_s=found.latency.p95,
        p99_s=found.latency.p99,
        used=found.utilization or 0.0,
        in_time=sum(one <= ANSWER_S for one in took_s) / BURST,
    )


async def _ran(
    folder: Path,
    due: Sequence[Arrival],
    *,
    least: int,
    most: int,
    run_s: float,
    cold_s: float = 0.0,
    wait_s: float = 30.0,
    lead_s: float = 1.0,
) -> tuple[Figures, Run]:
    """These jobs on a server of their own; all workers of the floor are ready before the first."""
    text = CONFIG.format(least=least, most=most, cold_s=cold_s, wait_s=wait_s, lead_s=lead_s, run_s=run_s)
    plan = Plan(
        scenario=Scenario.SUSTAINED,
        lanes=(Lane(model="synthetic", inputs={"steps": 1}, job_s=run_s),),
        seconds=max(1.0, due[-1].at_s),
        drain_s=600.0,
    )
    with Installation(folder, text).up() as server:
        async with AsyncSpringtide(server.url, patience=Patience(retries=0)) as client:
            clock = SystemClock()
            while least and (live := (await client.models.get("synthetic")).live) is not None:
                if live.workers.ready + live.workers.busy >= least:
                    break
                await clock.sleep(0.2)
            run = await Driver(plan, {"": client}, clock=clock, due=due).run()
    return figures(plan, run, planned=len(due)), run

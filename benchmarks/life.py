"""Does the simulator tell the truth? Ten minutes of `springtide up` on a trace, and the simulator on the same trace.

Real processes: gateway, controller, the local fleet with workers that are started, warmed up, drained and ended; an
engine that loads for eight seconds and sleeps as long as each job says. Every job is posted when the trace says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time

import httpx
import psutil

from benchmarks.plan import Plan
from benchmarks.product import Installation, Running, role_of
from benchmarks.report import OURS, Goal, Report
from springtide.domain.ids import ModelName
from springtide.ledger.history import starts_memory
from springtide.policy.elastic.bounds import Bounds
from springtide.sim.pool.agreement import Agreement, agreement
from springtide.sim.pool.arrivals import tide_silence_burst
from springtide.sim.pool.contenders import tide_for
from springtide.sim.pool.engine import Setup, simulate
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.weather import Weather

COLD_START_S, WAIT_S, SHARE, MOST = 8.0, 20.0, 0.9, 24
LOOK_EVERY_S = 0.5
MODEL = f"""
[models.synthetic]
engine = "synthetic"
settings = {{ cold_start_s = {COLD_START_S} }}
min_replicas = 0
max_replicas = {MOST}
idle_s = 0
slots = 1
batch = 1

[models.synthetic.scaling]
policies = ["tide"]
wait_s = {WAIT_S}
share = {SHARE}
cold_start_s = {COLD_START_S}
"""
SIMULATED = "the simulator"
PAIRS = (
    "replica_s",
    "zero_s",
    "attained",
    "wait_mean_s",
    "wait_p50_s",
    "wait_p90_s",
    "wait_p95_s",
    "wait_p99_s",
)
GOALS = (
    Goal(metric="replica_s", bound=1.25, at_least=False, over=SIMULATED, what="replica seconds in life over simulated"),
    Goal(metric="replica_s", bound=0.75, at_least=True, over=SIMULATED, what="the same, from below"),
    Goal(metric="attained_apart", bound=0.05, at_least=False, what="share of jobs in time, life less simulated"),
    Goal(metric="waits_apart", bound=0.15, at_least=False, what="most between the shares that began within any wait"),
    Goal(metric="replicas_apart", bound=0.25, at_least=False, what="mean distance of the curves over the mean fleet"),
    Goal(metric="zero_s", bound=20.0, at_least=True, what="scaled to zero in the silence, in life"),
)
NOTES = (
    f"Objective: {SHARE:.0%} of the jobs begin within {WAIT_S:.0f} s; policy tide; cold start {COLD_START_S:.0f} s.",
    "The simulator draws its cold starts from those that life has measured.",
    "Life: accepted to begun as the ledger has it; workers counted twice a second as processes of the system.",
    "waits_apart: the greatest difference, at any wait, between the shares of jobs that waited no longer.",
)


def measure(plan: Plan) -> Report:
    report = Report("life", title="The simulator beside life", goals=GOALS)
    report.notes = list(NOTES)
    report.describe(OURS, "`springtide up` with real workers, jobs posted over HTTP")
    report.describe(SIMULATED, "springtide.sim.pool on the same trace, the same policy object")
    for number in range(1 if plan.quick else min(plan.rounds, 3)):
        jobs = tide_silence_burst(number + 1)
        home = Installation(plan.folder / str(number), MODEL)
        with home.up() as server:
            waits_s, replicas, starts_s = asyncio.run(_lived(server, jobs))
        weather = Weather(cold_start_s=COLD_START_S, cold_starts_s=tuple(starts_s))
        contender = tide_for(WAIT_S, SHARE, Weather(cold_start_s=COLD_START_S), bounds=Bounds(max_replicas=MOST))
        simulated = simulate(jobs, contender, Setup(weather=weather, wait_s=WAIT_S))
        found = agreement(waits_s, replicas, simulated, wait_s=WAIT_S)
        _record(report, found, jobs=len(jobs))
        if not number:
            report.curves = {
                "until_s, replicas in life, simulated": [[round(one, 3) for one in row] for row in found.curve],
                "arrivals, every 20 s": [row.arrivals for row in simulated.rows],
                "waits_s in life, sorted": [round(one, 3) for one in sorted(waits_s)],
                "within_s, share of the simulated jobs": [list(one) for one in simulated.within],
            }
    return report


def _record(report: Report, found: Agreement, *, jobs: int) -> None:
    """One round: the pairs side by side, and how far they are apart."""
    apart = {
        "attained_apart": abs(found.attained[0] - found.attained[1]),
        "waits_apart": found.waits_apart,
        "replicas_apart": found.replicas_apart / found.replicas_mean,
    }
    for side, system in enumerate((OURS, SIMULATED)):
        values = {
            "jobs": jobs,
            **{name: getattr(found, name)[side] for name in PAIRS},
            **(apart if side == 0 else {}),
        }
        report.add(system, values)
        print(f"{system} {values}", file=sys.stderr, flush=True)


async def _lived(server: Running, jobs: Jobs) -> tuple[list[float], list[tuple[float, int]], list[float]]:
    """Waits of all jobs, (second, workers) twice a second, and the cold starts there were."""
    replicas: list[tuple[float, int]] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        began = time.perf_counter()
        looking = asyncio.create_task(_look(server.pid, began, replicas))
        posts = []
        for at_s, run_s in zip(jobs.at_s, jobs.run_s, strict=True):
            await asyncio.sleep(max(0.0, began + at_s - time.perf_counter()))
            posts.append(asyncio.create_task(_post(client, run_s)))
        ids = await asyncio.gather(*posts)
        waits_s = [await _wait_s(client, job) for job in ids]
        looking.cancel()
    return waits_s, replicas, _cold_starts_s(server)


def _cold_starts_s(server: Running) -> list[float]:
    """The last thirty, as the controller has written them down."""
    with contextlib.closing(sqlite3.connect(f"file:{server.home.data / 'springtide.db'}?mode=ro", uri=True)) as ledger:
        name = starts_memory(ModelName("synthetic"))
        return json.loads(ledger.execute("SELECT body FROM memories WHERE name = ?", (name,)).fetchone()[0])


async def _post(client: httpx.AsyncClient, run_s: float) -> str:
    answer = await client.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": round(run_s, 3)}})
    return str(answer.raise_for_status().json()["id"])


async def _wait_s(client: httpx.AsyncClient, job: str) -> float:
    async with client.stream("GET", f"/v1/jobs/{job}/events") as story:
        async for _ in story.aiter_lines():
            pass
    found = (await client.get(f"/v1/jobs/{job}")).json()
    if found["status"] != "completed":
        raise RuntimeError(f"{job} has failed: {found.get('error')}")
    return float(found["started_at_s"]) - float(found["created_at_s"])


async def _look(pid: int, began: float, replicas: list[tuple[float, int]]) -> None:
    root = psutil.Process(pid)
    while True:
        count = sum(role_of(child) == "worker" for child in root.children() if child.pid != os.getpid())
        replicas.append((time.perf_counter() - began, count))
        await asyncio.sleep(LOOK_EVERY_S)

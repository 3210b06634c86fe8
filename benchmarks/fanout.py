"""Live events to 1,000 WebSocket clients: all on one job, and each on a job of its own; at 5,000 deliveries a second.
Then a job each at 1,000 a second with the gateway killed on the way (Valkey as the broker): every client comes again.

The gateway is the real one in a process of its own (embedded broker, SQLite); the clients share a second process; this
one takes the worker's place at the broker's socket, so that it decides what is told when.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.memory import pss_mb, rss_mb
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import SYNTHETIC, Installation
from benchmarks.report import OURS, Goal, Report
from springtide.broker.protocol import Broker
from springtide.broker.redis import RedisBroker
from springtide.broker.remote import RemoteBroker
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.lease import Completion, Held, Lease, Progress, WorkerState
from springtide.testing.servers import free_port, valkey_server

ROUNDS = 3
SECONDS = 10.0
CLIENTS = 1000
EVENTS_PER_S = 5  # of each job, so that each client is told five things a second
BEAT_EVERY_S = 5.0
LEASED_WITHIN_S = 30.0
MODEL, WORKER = ModelName("synthetic"), WorkerId("benchmark-1")
EACH = "springtide, a job each"
KILLED = "springtide, gateway killed"
SLOWLY = 1  # events a second of each job while the gateway is killed
KILL_AFTER_S = 3.0
ALL = "1,000 clients on one job, 5,000 deliveries/s"
ONE = "1,000 clients on a job each, 5,000 deliveries/s"
GOALS = (
    Goal(metric="p99_ms", bound=60, at_least=False, what=ALL),
    Goal(metric="cpu_us_a_delivery", bound=25, at_least=False, what=ALL),
    Goal(metric="gateway_pss_mb", bound=90, at_least=False, what=ALL),
    Goal(metric="lost", bound=0, at_least=False, what=ALL),
    Goal(metric="p99_ms", bound=60, at_least=False, what=ONE, system=EACH),
    Goal(metric="lost", bound=0, at_least=False, what=ONE, system=EACH),
    Goal(metric="lost", bound=0, at_least=False, what="1,000 clients, 1,000 events/s, gateway killed", system=KILLED),
)
NOTES = (
    "p50_ms, p99_ms: from the moment at which the worker's side says it to its arrival in the client's process.",
    "cpu_us_a_delivery: processor time of the gateway's process, everything it does included, over events delivered.",
    "gateway_pss_mb: proportional set size of the gateway's process at the end, ledger, broker and API included; "
    "gateway_growth_mb: less that before the first client came.",
    "lost: events that a client was not told, its job's end included; doubled: told twice.",
    "Gateway killed: by SIGKILL and started again; published is what the worker's side has said, lost what of that a "
    "client was never told; p99_ms includes what was said while nobody answered.",
    "A job each: every event is published, read, encoded and written for one client only.",
)


def measure(plan: Plan) -> Report:
    report = Report("fanout", title="Live events to many clients", goals=GOALS)
    report.notes = list(NOTES)
    report.describe(OURS, f"{CLIENTS:,} WebSocket clients follow one job, {EVENTS_PER_S} events a second")
    report.describe(KILLED, f"{CLIENTS:,} WebSocket clients follow a job each through a SIGKILL of the gateway; Valkey")
    report.describe(EACH, f"{CLIENTS:,} WebSocket clients follow a job each, {EVENTS_PER_S} events a second and job")
    for number in range(min(plan.rounds, ROUNDS)):
        for name, jobs in ((OURS, 1), (EACH, CLIENTS)):
            if not plan.wants(OURS):
                continue
            try:
                values = _round(plan, plan.folder / f"{jobs}-{number}", 1 if jobs == 1 else _clients(plan))
            except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
        if plan.wants(KILLED):
            try:
                values = _killed_round(plan, plan.folder / f"killed-{number}", _clients(plan))
            except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(KILLED, error)
                continue
            report.add(KILLED, values)
            print(f"round {number + 1}: {KILLED} {values}", file=sys.stderr, flush=True)
    return report


def _clients(plan: Plan) -> int:
    return 50 if plan.quick else CLIENTS


def _round(plan: Plan, folder: Path, count: int) -> dict[str, float]:
    home = Installation(folder, SYNTHETIC)
    with home.gateway() as server:
        jobs = _submit(server.url, count)
        gateway = server.pid
        before_mb = pss_mb(gateway) or 0.0
        with _listeners(server.url, jobs, plan) as listeners:
            cpu_before = _cpu_s(gateway)
            broker = RemoteBroker(home.broker_socket)
            asyncio.run(_tell(broker, count, seconds=1.0 if plan.quick else SECONDS, each_s=EVENTS_PER_S))
            found = _ended(listeners)
            used_s = _cpu_s(gateway) - cpu_before
            after_mb, resident_mb = pss_mb(gateway) or 0.0, rss_mb(gateway) or 0.0
    names = ("events", "deliveries", "messages", "lost", "doubled", "p50_ms", "p99_ms", "most_ms", "client_cpu_s")
    return {name: found[name] for name in names} | {
        "lost": found["lost"] + found["without_end"],
        "cpu_us_a_delivery": used_s / found["deliveries"] * 1e6,
        "gateway_growth_mb": after_mb - before_mb,
        "gateway_pss_mb": after_mb,
        "gateway_rss_mb": resident_mb,
    }


def _killed_round(plan: Plan, folder: Path, count: int) -> dict[str, float]:
    folder.mkdir(parents=True)
    with valkey_server(dir=str(folder)) as valkey, contextlib.ExitStack() as stack:
        # The controller must not start a worker: the jobs are this benchmark's to lease.
        unworked = SYNTHETIC.replace("_replicas = 1", "_replicas = 0")
        home = Installation(folder, f'[broker]\nurl = "{valkey.url}"\n{unworked}', port=free_port())
        first = contextlib.ExitStack()
        server = first.enter_context(home.gateway())
        stack.enter_context(home.process("controller"))
        jobs = _submit(server.url, count)
        with _listeners(server.url, jobs, plan) as listeners:
            broker = RedisBroker(valkey.url, [MODEL], consumer="benchmark")
            telling = threading.Thread(target=lambda: asyncio.run(_tell(broker, count, seconds=SECONDS, each_s=SLOWLY)))
            telling.start()
            time.sleep(KILL_AFTER_S)
            os.kill(server.pid, signal.SIGKILL)
            first.close()
            again_s = time.perf_counter()
            stack.enter_context(home.gateway())
            away_s = time.perf_counter() - again_s
            telling.join()
            found = _ended(listeners)
    said = count * (round(SECONDS * SLOWLY) + 2)  # started, what was told, completed
    names = ("events", "deliveries", "breaks", "doubled", "p50_ms", "p99_ms", "most_ms")
    lost = max(0, said - found["deliveries"] + found["doubled"]) + found["lost"] + found["without_end"]
    return {name: found[name] for name in names} | {"published": said, "lost": lost, "away_s": away_s}


def _submit(url: str, count: int) -> list[str]:
    body = {"jobs": [{"model": MODEL, "inputs": {}}] * count}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        batch = client.post("/v1/jobs/batches", json=body).raise_for_status().json()
        if batch["counts"]["refused"]:
            raise RuntimeError(f"{batch['counts']['refused']} jobs were refused: {batch['refused'][:1]}")
        return [item["job"]["id"] for item in client.get(batch["items_url"], params={"limit": 1000}).json()["data"]]


@contextlib.contextmanager
def _listeners(url: str, jobs: list[str], plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """The clients' process, all of them connected."""
    command = [sys.executable, "-m", "benchmarks.listen", url, "--clients", str(_clients(plan))]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(jobs))
        process.stdin.close()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the clients did not connect:\n{_rest(process)}")
        yield process
    finally:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the clients ended:\n{_rest(process)}")
    return json.loads(line)


def _rest(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()[-2000:]


async def _tell(broker: Broker, count: int, *, seconds: float, each_s: int) -> None:
    """Lease every job, tell of each `each_s` times a second, spread evenly over the second, and complete it."""
    await broker.start()
    try:
        leases: list[Lease] = []
        late_s = time.monotonic() + LEASED_WITHIN_S
        while len(leases) < count:
            if time.monotonic() > late_s:
                raise RuntimeError(f"{len(leases)} of {count} jobs were leased in {LEASED_WITHIN_S:.0f} s")
            leases += await broker.lease(MODEL, WORKER, count, time.time())
        slots = [leases[first::10] for first in range(10)]  # one tenth of the jobs each fiftieth of a second
        rounds = round(seconds * each_s)
        began, beat_at = time.perf_counter(), 0.0
        for number in range(rounds):
            for place, slot in enumerate(slots):
                due = began + (number + place / len(slots)) / each_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if time.perf_counter() > beat_at:
                    beat_at = time.perf_counter() + BEAT_EVERY_S
                    held = [Held(lease.id, lease.attempt) for lease in leases]
                    await broker.beat(MODEL, WORKER, held, WorkerState.BUSY, time.time())
                if slot:
                    told = [_progress(lease.id, lease.attempt, (number + 1) / rounds) for lease in slot]
                    await broker.publish(MODEL, WORKER, told, time.time())
        done = [Completion(id=lease.id, attempt=lease.attempt, outputs={}) for lease in leases]
        await broker.complete(MODEL, WORKER, done, time.time())
    finally:
        await broker.stop()


def _progress(job: JobId, attempt: int, fraction: float) -> Progress:
    return Progress(id=job, attempt=attempt, fraction=fraction, stage="rendering frames")


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system

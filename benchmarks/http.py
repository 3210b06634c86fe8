"""No-op jobs over HTTP until all are completed: single POSTs on 32 connections, beside FastAPI with arq and with
Celery; batches."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from benchmarks.environments import PEERS, python_of, versions_in
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import SYNTHETIC, Installation
from benchmarks.report import OURS, Goal, Report
from springtide.testing.servers import ValkeyServer, free_port, valkey_server


class Peer(msgspec.Struct, frozen=True):
    """FastAPI takes the job, a job queue runs it."""

    queue: str  # its environment
    app: str
    worker: tuple[str, ...]
    until_empty: tuple[tuple[str, str], ...]  # commands that answer 0 once every job has run
    description: str


PEERS_HERE = {
    "fastapi+arq": Peer(
        queue="arq",
        app="http_arq:app",
        worker=("-m", "arq", "app_arq.WorkerSettings"),
        # arq takes a job out of its queue in the transaction that stores the result.
        until_empty=(("ZCARD", "arq:queue"),),
        description="FastAPI on one uvicorn process, arq on Valkey, one worker",
    ),
    "fastapi+celery": Peer(
        queue="celery",
        app="http_celery:app",
        worker=("-m", "celery", "-A", "app_celery", "worker", "-P", "prefork", "-c", "1", "--loglevel", "ERROR"),
        # Neither queued nor fetched: Celery acknowledges a job as it begins, so the last one may still run.
        until_empty=(("LLEN", "celery"), ("HLEN", "unacked")),
        description="FastAPI on one uvicorn process, Celery on Valkey, prefork -c 1",
    ),
}
BATCHES = "springtide, batches of 100"
BATCH_JOBS = 100
BATCH_CONNECTIONS = 4
WARM_UP_S = 4.0  # the same load before what is measured: what is begun on demand is there, caches are full
SECONDS = 8.0
DRAIN_LIMIT_S = 180.0
GOALS = (
    Goal(metric="completed_per_s", bound=2500, at_least=True, what="HTTP, single POSTs, 32 connections"),
    Goal(metric="completed_per_s", bound=5000, at_least=True, what="HTTP, batches of 100 jobs", system=BATCHES),
    Goal(metric="completed_per_s", bound=4, at_least=True, over="fastapi+arq", what="HTTP, over FastAPI with arq"),
    Goal(
        metric="completed_per_s", bound=8, at_least=True, over="fastapi+celery", what="HTTP, over FastAPI with Celery"
    ),
)
NOTES = (
    "accepted_per_s: 202 answers while the load lasts; completed_per_s: all accepted jobs over the time from the first "
    "POST until the last of them is completed on record.",
    "Before each measurement the same load for 4 s, in which Springtide begins its front and its writer.",
    "Client: one process on the same machine (benchmarks/load.py), its processor time is client_cpu_s.",
    "Springtide's 202 means on disk (fsync); the peers' means in the server's memory, on disk within about a second.",
    "Batches: POST /v1/jobs/batches, 100 jobs each, 4 connections; accepted_p50_ms is that of a whole batch.",
    "The peers answer with an id only: no job resource, no validation against a model's schema, no live events.",
)


def measure(plan: Plan) -> Report:
    report = Report("http", title="Jobs over HTTP", goals=GOALS)
    report.compare = ("accepted_per_s", "completed_per_s", "accepted_p50_ms", "accepted_p99_ms")
    report.notes = list(NOTES)
    parts = "a gateway process, its front while busy, SQLite, one worker"
    report.describe(OURS, f"`springtide up`: {parts}", durable="fsync before the 202")
    systems = [OURS, BATCHES] if plan.wants(OURS) else []
    report.describe(BATCHES, "the same, `POST /v1/jobs/batches`", durable="fsync before the answer")
    for name in filter(plan.wants, PEERS_HERE):
        peer = PEERS_HERE[name]
        systems.append(name)
        report.describe(name, peer.description, durable="AOF, fsync each second")
        found = versions_in(python_of(peer.queue))
        report.versions |= {f"{package} (with {peer.queue})": version for package, version in found.items()}
    for number in range(plan.rounds):
        for name in systems:
            folder = plan.folder / f"{name}-{number}"
            folder.mkdir()
            try:
                values = _values_of(name, plan, folder)
            except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


def _values_of(name: str, plan: Plan, folder: Path) -> dict[str, float]:
    peer = PEERS_HERE.get(name)
    return _ours(plan, folder, batches=name == BATCHES) if peer is None else _peer(peer, plan, folder)


def _ours(plan: Plan, folder: Path, *, batches: bool) -> dict[str, float]:
    path, batch = ("/v1/jobs/batches", BATCH_JOBS) if batches else ("/v1/jobs", None)
    home = Installation(folder, SYNTHETIC)
    with home.up() as server:
        server.wait_until_warm("synthetic")
        post_for_a_while(f"{server.url}{path}", plan, seconds=WARM_UP_S, batch=batch)
        time.sleep(1.0)
        before = home.completed()
        cpu_before = _cpu_s(server.processes())
        found = post_for_a_while(f"{server.url}{path}", plan, batch=batch)
        server.wait_until_completed(before + found["accepted"], DRAIN_LIMIT_S)
        values = _values(found)
        used = {role: (s - cpu_before.get(role, 0.0)) * 1e3 for role, s in _cpu_s(server.processes()).items()}
    return values | {f"{role.replace(' ', '_')}_cpu_ms_a_job": ms / found["accepted"] for role, ms in used.items()}


def _peer(peer: Peer, plan: Plan, folder: Path) -> dict[str, float]:
    with valkey_server(dir=str(folder)) as valkey, _fastapi(peer, valkey) as url:
        post_for_a_while(f"{url}/v1/jobs", plan, seconds=WARM_UP_S)
        _drained(peer, valkey)
        found = post_for_a_while(f"{url}/v1/jobs", plan)
        _drained(peer, valkey)
        return _values(found)


def _values(found: dict[str, Any]) -> dict[str, float]:
    took_s = time.time() - found["began_at_s"]
    names = ("accepted", "accepted_per_s", "accepted_p50_ms", "accepted_p99_ms", "client_cpu_s")
    return {"completed_per_s": found["accepted"] / took_s, **{name: found[name] for name in names}}


def post_for_a_while(
    url: str, plan: Plan, seconds: float | None = None, *, batch: int | None = None, header: str | None = None
) -> dict[str, Any]:
    """What the load client found. Raises RuntimeError where an answer was wrong."""
    aimed_s = seconds or (1.0 if plan.quick else SECONDS)
    command = [sys.executable, "-m", "benchmarks.load", url]
    connections = plan.connections if batch is None else BATCH_CONNECTIONS
    command += ["--connections", str(connections), "--seconds", str(aimed_s)]
    command += [] if batch is None else ["--batch", str(batch)]
    command += [] if header is None else ["--header", header]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=aimed_s + 60)
    if done.returncode != 0:
        raise RuntimeError(f"the load client ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    if found["wrong"] or not found["accepted"]:
        raise RuntimeError(f"{found['wrong']} answers were wrong: {found['first_wrong']}")
    return found


@contextlib.contextmanager
def _fastapi(peer: Peer, valkey: ValkeyServer) -> Iterator[str]:
    """The peer's two processes; its address once it answers."""
    port = free_port()
    serve = ["-m", "uvicorn", peer.app, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    with contextlib.ExitStack() as stack:
        for arguments in (serve, peer.worker):
            process = subprocess.Popen(
                [python_of(peer.queue), *arguments],
                cwd=PEERS,
                env={**os.environ, "BENCH_REDIS_URL": valkey.url},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Celery's worker has a process of its own for the jobs
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        url = f"http://127.0.0.1:{port}"
        deadline = time.perf_counter() + 30
        while time.perf_counter() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                    break
            time.sleep(0.05)
        yield url


def _drained(peer: Peer, valkey: ValkeyServer) -> None:
    deadline = time.perf_counter() + DRAIN_LIMIT_S
    while any(valkey.ask(*command) != b":0\r\n" for command in peer.until_empty):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{peer.queue} did not finish within {DRAIN_LIMIT_S:.0f} s")
        time.sleep(0.02)


def _cpu_s(processes: dict[int, str]) -> dict[str, float]:
    """Processor seconds used so far, by role."""
    used: dict[str, float] = {}
    for pid, role in processes.items():
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            used[role] = used.get(role, 0.0) + times.user + times.system
    return used

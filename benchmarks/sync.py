"""A job and its result in one request (`Prefer: wait`), beside servers that run a model inside the request."""

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

from benchmarks.environments import PEERS, python_of, versions_in
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import SYNTHETIC, Installation
from benchmarks.report import OURS, Goal, Report
from springtide.testing.servers import free_port

ROUNDS = 3
SECONDS = 5.0
START_LIMIT_S = 120.0  # Ray takes 30 s on two cores
DURABLE = "nothing: a request that was under way when a process died is the client's to repeat"
SERVERS = {
    "litserve": ("LitServe, one worker process", ("sync_litserve.py", "{port}")),
    "bentoml": (
        "BentoML, one worker",
        ("-m", "bentoml", "serve", "sync_bentoml:NoOp", "--host", "127.0.0.1", "--port", "{port}", "--quiet"),
    ),
    "ray": ("Ray Serve, one replica, two processors for Ray", ("sync_ray.py", "{port}")),
}
TIMES = {"litserve": 2, "bentoml": 4, "ray": 10}
GOALS = tuple(
    Goal(metric="requests_per_s", bound=times, at_least=True, over=name, what=f"requests/s over {name}'s")
    for name, times in TIMES.items()
)
NOTES = (
    "requests_per_s: answers with a result, 32 connections with one request in flight each; one_* is one connection.",
    "Springtide's answer comes after the job was on disk, had passed the queue and a worker process, and its end was "
    "on disk: a durable job that can be listed, followed and retried. The peers run the function and answer.",
)


def measure(plan: Plan) -> Report:
    report = Report("sync", title="No-op with the result in the answer", goals=GOALS)
    report.compare = ("requests_per_s", "p50_ms", "one_p50_ms")
    report.notes = list(NOTES)
    if plan.wants(OURS):
        report.describe(
            OURS, "`springtide up`, POST /v1/jobs with Prefer: wait", durable="fsync at submit and at the end"
        )
    for name, (description, _) in SERVERS.items():
        if plan.wants(name):
            report.describe(name, description, durable=DURABLE)
            report.versions |= {f"{key} (with {name})": value for key, value in versions_in(python_of(name)).items()}
    for number in range(min(plan.rounds, ROUNDS)):
        for name in report.systems:
            folder = plan.folder / f"{name}-{number}"
            folder.mkdir()
            try:
                values = _ours(plan, folder) if name == OURS else _peer(plan, name, folder)
            except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


def _ours(plan: Plan, folder: Path) -> dict[str, float]:
    with Installation(folder, SYNTHETIC).up() as server:
        server.wait_until_warm("synthetic")
        return _measured(f"{server.url}/v1/jobs", plan, "--header", "Prefer: wait=30")


def _peer(plan: Plan, name: str, folder: Path) -> dict[str, float]:
    port = free_port()
    arguments = [word.format(port=port) for word in SERVERS[name][1]]
    with _process([str(python_of(name)), *arguments], folder) as process:
        url = f"http://127.0.0.1:{port}/predict"
        ends = time.perf_counter() + START_LIMIT_S
        while not _answers(url):
            if time.perf_counter() > ends or process.poll() is not None:
                raise RuntimeError(f"{name} did not answer:\n{(folder / 'log.txt').read_text()[-3000:]}")
            time.sleep(0.1)
        return _measured(url, plan)


def _measured(url: str, plan: Plan, *options: str) -> dict[str, float]:
    _load(url, 1.0, plan.connections, *options)
    seconds = 0.5 if plan.quick else SECONDS
    many, one = _load(url, seconds, plan.connections, *options), _load(url, seconds, 1, *options)
    return {
        "requests_per_s": many["accepted_per_s"],
        "p50_ms": many["accepted_p50_ms"],
        "p99_ms": many["accepted_p99_ms"],
        "one_per_s": one["accepted_per_s"],
        "one_p50_ms": one["accepted_p50_ms"],
        "one_p99_ms": one["accepted_p99_ms"],
    }


def _load(url: str, seconds: float, connections: int, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", url, "--expect", "200", *options]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"the load client ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    if found["wrong"] or not found["accepted"]:
        raise RuntimeError(f"{found['wrong']} answers were not 200: {found['first_wrong']}")
    return found


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.post(url, json={"model": "synthetic", "inputs": {}}, trust_env=False, timeout=5).is_success
    return False


@contextlib.contextmanager
def _process(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is ended whole."""
    environment = {
        **os.environ,
        "BENTOML_HOME": str(folder),
        "BENTOML_DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=PEERS, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

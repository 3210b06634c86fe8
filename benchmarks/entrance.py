"""What authentication, limits and validation cost on the submit path: a gateway with all of them, and one without any.

Each round starts both, one after the other, the order turning from round to round, on fresh folders: embedded broker,
SQLite, no workers, 32 connections that post single jobs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.http import post_for_a_while
from benchmarks.plan import Plan
from benchmarks.product import SYNTHETIC, Installation
from benchmarks.report import OURS, Goal, Report

ROUNDS = 6
SECONDS = 6.0
WITHOUT = "springtide without them"
LIMITS = """
[tenant_defaults]
requests_per_minute = 10000000
gpu_seconds_per_day = 1e12
upload_mb_per_day = 1000000
priority_ceiling = "standard"
"""
GOALS = (
    Goal(
        metric="accepted_per_s",
        bound=0.85,
        at_least=True,
        over=WITHOUT,
        what="requests/s with authentication, limits and validation, over those without",
    ),
    Goal(
        metric="gateway_cpu_us_a_request",
        bound=1 / 0.85,
        at_least=False,
        over=WITHOUT,
        what="processor time a request with them, over that without",
    ),
)
NOTES = (
    "With them: auth = keys, a key among others on record, scopes, requests a minute, seconds a day, bytes a day, a "
    "ceiling of priority, limits of the queue, inputs validated against the model's schema.",
    "Without: a process with those taken out (benchmarks/bare_gateway.py); commits, queue and answers are the same.",
    "gateway_cpu_us_a_request: user and system time of the gateway's process, ledger and broker included, over jobs "
    "accepted; on a busy machine it says more than requests a second.",
)


def measure(plan: Plan) -> Report:
    report = Report("entrance", title="Authentication, limits and validation", goals=GOALS)
    report.compare = ("accepted_per_s", "gateway_cpu_us_a_request")
    report.notes = list(NOTES)
    report.describe(OURS, "`springtide gateway` with all of them", durable="fsync before the 202")
    report.describe(WITHOUT, "the same with all of them taken out", durable="fsync before the 202")
    for number in range(min(plan.rounds, ROUNDS)):
        for name in (OURS, WITHOUT) if number % 2 == 0 else (WITHOUT, OURS):
            folder = plan.folder / f"{name.replace(' ', '-')}-{number}"
            folder.mkdir()
            try:
                values = _values(plan, folder, bare=name == WITHOUT)
            except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


def _values(plan: Plan, folder: Path, *, bare: bool) -> dict[str, float]:
    home = Installation(folder, SYNTHETIC)
    home.config.write_text(home.config.read_text().replace("[server]", '[server]\nauth = "keys"') + LIMITS)
    keys = [_new_key(home) for _ in range(3)]
    header = f"Authorization: Bearer {keys[1]}"
    with home.gateway(module="benchmarks.bare_gateway" if bare else "springtide") as server:
        url = f"{server.url}/v1/jobs"
        post_for_a_while(url, plan, seconds=1.0, header=header)
        [pid] = server.processes()
        before_s = _cpu_s(pid)
        found: dict[str, Any] = post_for_a_while(url, plan, seconds=1.0 if plan.quick else SECONDS, header=header)
        used_s = _cpu_s(pid) - before_s
    names = ("accepted", "accepted_per_s", "accepted_p50_ms", "accepted_p99_ms")
    return {"gateway_cpu_us_a_request": used_s / found["accepted"] * 1e6, **{name: found[name] for name in names}}


def _new_key(home: Installation) -> str:
    command = [sys.executable, "-m", "springtide", "keys", "create", "benchmark"]
    return subprocess.run(command, env=home.environment, capture_output=True, text=True, check=True).stdout.strip()


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system

"""How soon it is there, and what it holds when nothing happens."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

from benchmarks.matting import PICTURE
from benchmarks.memory import pss_mb
from benchmarks.plan import Plan
from benchmarks.product import REAL, SYNTHETIC, Installation, Running
from benchmarks.report import OURS, Goal, Report

ROUNDS = 3
SETTLE_S = 5.0  # imports and first beats are over
READY = re.compile(r"([\w.@-]+): engine ready after ([\d.]+) s, ([\d.]+) s of it loading")
READY_LIMIT_S = 60.0
GOALS = (
    Goal(metric="up_to_healthz_s", bound=3, at_least=False, what="`springtide up` to a gateway that answers"),
    Goal(metric="cold_to_first_matting_s", bound=15, at_least=False, what="cold start to the first matting result"),
    Goal(
        metric="matting_warm_ready_less_load_ms",
        bound=200,
        at_least=False,
        what="engine ready, imports warm, less load",
    ),
    Goal(metric="idle_sum_mb", bound=150, at_least=False, what="gateway, controller and a worker without a model, PSS"),
)
NOTES = (
    "up_to_healthz_s: from starting the process to the first 200 of /healthz, looked for every 5 ms. Not the first "
    "start of an installation, in which Python compiles what it imports.",
    "cold_to_first_matting_s: from starting `springtide up` (no worker kept) to the last byte of the first mask; "
    "posted as soon as the gateway answers. Files may be in the system's page cache: nothing here empties it.",
    "*_ready_less_load_ms: the worker's own log line, time to ready less time in load(). first: with the forkserver's "
    "imports; warm: after the engine's process was killed, imports done.",
    "idle_*_mb: PSS by process, 5 s after the worker was ready; synthetic engine, which loads nothing.",
)


def measure(plan: Plan) -> Report:
    report = Report("startup", title="Start and idle", goals=GOALS)
    report.notes = list(NOTES)
    report.describe(OURS, "`springtide up` on a new folder; one gateway, the controller in `up`, one worker")
    Installation(plan.folder / "pull", REAL.format(name="matting", replicas=0)).pull("matting")
    with Installation(
        plan.folder / "first", SYNTHETIC
    ).up() as server:  # what is imported is compiled, once and for all
        server.wait_until_warm("synthetic")
    for number in range(1 if plan.quick else ROUNDS):
        folder = plan.folder / str(number)
        values = _idle(folder / "idle", settle_s=1.0 if plan.quick else SETTLE_S)
        values |= _first_matting(folder / "matting")
        report.add(OURS, values)
        print(f"round {number + 1}: {values}", file=sys.stderr, flush=True)
    return report


def _idle(folder: Path, *, settle_s: float) -> dict[str, float]:
    home = Installation(folder, SYNTHETIC)
    with home.up() as server:
        values = {"up_to_healthz_s": server.ready_after_s}
        server.wait_until_warm("synthetic")
        time.sleep(settle_s)
        by_role: dict[str, float] = {}
        for pid, role in server.processes().items():
            by_role[role] = by_role.get(role, 0.0) + (pss_mb(pid) or 0.0)
        values |= {f"idle_{role.replace(' ', '_')}_mb": size for role, size in by_role.items()}
        values["idle_sum_mb"] = sum(by_role.values())
        values |= _ready_times(server, "synthetic")
    return values


def _first_matting(folder: Path) -> dict[str, float]:
    home = Installation(folder, REAL.format(name="matting", replicas=0))
    began = time.perf_counter()
    with home.up() as server:
        answer = server.http.post(
            "/v1/jobs",
            data={"model": "matting"},
            files={"image": (PICTURE.name, PICTURE.read_bytes(), "image/jpeg")},
            headers={"prefer": "wait=60"},
        )
        if answer.status_code != 200:
            raise RuntimeError(f"no picture: {answer.status_code} {answer.text[:500]}")
        server.http.get(answer.json()["outputs"]["mask"]["url"]).raise_for_status()
        values = {"cold_to_first_matting_s": time.perf_counter() - began}
        values["first_matting_engine_s"] = answer.json()["outputs"]["seconds"]
        values |= _ready_times(server, "matting")
    return values


def _ready_times(server: Running, model: str) -> dict[str, float]:
    """The first child's time to ready, and that of one after a kill, each less its loading."""
    first_s, first_load_s = _ready_lines(server, model, at_least=1)[0]
    [engine] = [pid for pid, role in server.processes().items() if role == "engine"]
    os.kill(engine, signal.SIGKILL)
    warm_s, warm_load_s = _ready_lines(server, model, at_least=2)[1]
    return {
        f"{model}_first_ready_less_load_ms": (first_s - first_load_s) * 1e3,
        f"{model}_warm_ready_less_load_ms": (warm_s - warm_load_s) * 1e3,
        f"{model}_load_ms": warm_load_s * 1e3,
    }


def _ready_lines(server: Running, model: str, *, at_least: int) -> list[tuple[float, float]]:
    """(ready after, of it loading) for each engine process that the log says was ready."""
    deadline = time.perf_counter() + READY_LIMIT_S
    while True:
        found = [m for m in READY.findall(server.home.log.read_text(errors="replace")) if m[0] == model]
        if len(found) >= at_least:
            return [(float(ready), float(load)) for _, ready, load in found]
        if time.perf_counter() > deadline:
            raise RuntimeError(f"no {at_least} engine processes of {model} were ready:\n{server.home.tail()}")
        time.sleep(0.05)

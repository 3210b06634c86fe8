"""What the platform adds to the engine's own time, one picture at a time: POST with `Prefer: wait`, then download."""

from __future__ import annotations

import statistics
import sys
import time

from benchmarks.memory import Peak
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import REAL, Installation, Running
from benchmarks.report import OURS, Goal, Report

PICTURE = REPOSITORY / "tests" / "data" / "portrait.jpg"
IMAGES = 12  # a round; the issue asks for ten
ROUNDS = 2
WARM_UP = 2
GOALS = (
    Goal(metric="overhead_p50_ms", bound=40, at_least=False, what="added to the engine's own time, one at a time"),
)
NOTES = (
    "engine: the result's `seconds`, which is the time inside run(): decode, infer, encode.",
    "wall: from the POST (multipart, the picture as a file) to the last byte of the cut-out; overhead: the rest.",
    "Overhead holds upload, checks, two fsynced commits, queue, transfer to the engine and back, both answers.",
    "The client is httpx on one kept-alive connection; its own time counts as overhead.",
)


def measure(plan: Plan) -> Report:
    report = Report("matting", title="Matting, one picture at a time", goals=GOALS)
    report.notes = list(NOTES)
    report.describe(
        OURS, f"`springtide up`, {PICTURE.name}, PNG out", durable="fsync before the 202 and before the result"
    )
    home = Installation(plan.folder, REAL.format(name="matting", replicas=1))
    home.pull("matting")
    with home.up() as server:
        server.wait_until_warm("matting")
        _pictures(server, 1 if plan.quick else WARM_UP)
        engine = [pid for pid, role in server.processes().items() if role == "engine"]
        for number in range(1 if plan.quick else ROUNDS):
            with Peak(engine) as peak:
                values = _pictures(server, 3 if plan.quick else IMAGES)
            values["engine_peak_rss_mb"] = peak.rss_mb
            report.add(OURS, values)
            print(f"round {number + 1}: {values}", file=sys.stderr, flush=True)
    return report


def _pictures(server: Running, count: int) -> dict[str, float]:
    engine, wall, download = [], [], []
    picture = PICTURE.read_bytes()
    for _ in range(count):
        began = time.perf_counter()
        answer = server.http.post(
            "/v1/jobs",
            data={"model": "matting"},
            files={"image": (PICTURE.name, picture, "image/jpeg")},
            headers={"prefer": "wait=60"},
        )
        answered = time.perf_counter()
        job = answer.json()
        if answer.status_code != 200 or job["status"] != "completed":
            raise RuntimeError(f"no picture: {answer.status_code} {answer.text[:500]}")
        cutout = server.http.get(job["outputs"]["cutout"]["url"])
        if not cutout.is_success or len(cutout.content) != job["outputs"]["cutout"]["bytes"]:
            raise RuntimeError(f"no cut-out: {cutout.status_code}")
        wall.append(time.perf_counter() - began)
        download.append(time.perf_counter() - answered)
        engine.append(job["outputs"]["seconds"])
    overhead = [a - b for a, b in zip(wall, engine, strict=True)]
    return {
        "images": count,
        "engine_p50_ms": statistics.median(engine) * 1e3,
        "wall_p50_ms": statistics.median(wall) * 1e3,
        "overhead_p50_ms": statistics.median(overhead) * 1e3,
        "overhead_max_ms": max(overhead) * 1e3,
        "download_p50_ms": statistics.median(download) * 1e3,
    }

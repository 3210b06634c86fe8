"""Matting: what the engine adds to the bare library and the platform to the engine; twenty pictures at once."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.memory import Peak
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.product import REAL, Installation, Running
from benchmarks.report import OURS, Goal, Report

PICTURE = REPOSITORY / "tests" / "data" / "portrait.jpg"
SIZES = {"export": (1224, 1632), "photo": (3000, 4000)}  # as telephones share them, and as they take them
IMAGES = 12  # a round; the issue asks for ten
ROUNDS = 2
WARM_UP = 2
TOGETHER = 20
TURNS = 6
ENGINE, BARE = f"{OURS} engine", "onnxruntime bare"
MEGAPIXELS = {"portrait": "0.3", "export": "2", "photo": "12"}
LOOPS = {kind: f"plain loop, {size} megapixels" for kind, size in MEGAPIXELS.items()}
AT_ONCE = {kind: f"{OURS}, 20 at once, {size} megapixels" for kind, size in MEGAPIXELS.items()}
GOALS = (
    Goal(metric="overhead_p50_ms", bound=40, at_least=False, what="added to the engine's own time, one at a time"),
    Goal(metric="cpu_s", bound=1.1, at_least=False, system=ENGINE, over=BARE, what="engine around the bare library"),
    Goal(
        metric="pictures_per_s", bound=1.25, at_least=True, system=AT_ONCE["photo"], over=LOOPS["photo"],
        what="twenty photographs through the platform over a loop of the engine",
    ),
    *(
        Goal(
            metric="pictures_per_s", bound=1.0, at_least=True, system=AT_ONCE[kind], over=LOOPS[kind],
            what=f"the same with {MEGAPIXELS[kind]} megapixels, where the loop itself keeps nearly every core busy",
        )
        for kind in ("portrait", "export")
    ),
)  # fmt: skip
NOTES = (
    "engine: the result's `seconds`, which is the time inside run(): decode, infer, encode.",
    "wall: from the POST (multipart, the picture as a file) to the last byte of the cut-out; overhead: the rest.",
    "Overhead holds upload, checks, two fsynced commits, queue, transfer to the engine and back, both answers.",
    "The client is httpx on one kept-alive connection; its own time counts as overhead.",
    "Engine and bare library take turns in one process, on the portrait; ours also takes the background's colour out.",
    "Twenty at once: from the first POST to the last byte of the last cut-out, side by side in two lanes.",
    "cores_busy: the engine's processor time over wall; 2 over a loop's is all that overlap could gain on it.",
)


def measure(plan: Plan) -> Report:
    report = Report("matting", title="Matting, one picture at a time and twenty at once", goals=GOALS)
    report.notes = list(NOTES)
    rounds = 1 if plan.quick else min(plan.rounds, ROUNDS)
    home = Installation(plan.folder, REAL.format(name="matting", replicas=1) + "slots = 8\nbatch = 4\n")
    home.pull("matting")
    pictures = {"portrait": PICTURE, **{kind: _resized(plan.folder, kind) for kind in SIZES}}
    _alone(report, rounds, quick=plan.quick)
    report.describe(
        OURS, f"`springtide up`, {PICTURE.name}, PNG out", durable="fsync before the 202 and before the result"
    )
    for kind in pictures:
        report.describe(LOOPS[kind], "engine.run() on one picture after the other, in a process of its own")
        report.describe(AT_ONCE[kind], "`springtide up`, slots = 8, batch = 4: all posted, all awaited, all downloaded")
    for number in range(rounds):
        for kind, path in pictures.items():
            report.add(LOOPS[kind], _child("loop", path, 2 if plan.quick else TOGETHER))
        with home.up() as server:
            server.wait_until_warm("matting")
            _pictures(server, 1 if plan.quick else WARM_UP)
            engine = [pid for pid, role in server.processes().items() if role == "engine"]
            with Peak(engine) as peak:
                values = _pictures(server, 3 if plan.quick else IMAGES)
            report.add(OURS, {**values, "engine_peak_rss_mb": peak.rss_mb})
            _at_once(server, PICTURE, 2)  # the second lane is opened when it is first wanted
            for kind, path in pictures.items():
                with Peak(engine) as peak:
                    together = _at_once(server, path, 2 if plan.quick else TOGETHER)
                report.add(AT_ONCE[kind], {**together, "engine_peak_rss_mb": peak.rss_mb})
        print(f"round {number + 1}: {values} {together}", file=sys.stderr, flush=True)
    return report


def _resized(folder: Path, kind: str) -> Path:
    """The portrait at another size: the network's work is the same, decoding and encoding are not."""
    path = folder / f"{kind}.jpg"
    with Image.open(PICTURE) as picture:
        picture.resize(SIZES[kind], Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def _alone(report: Report, rounds: int, *, quick: bool) -> None:
    report.describe(ENGINE, f"engine.run() in a process of its own, {PICTURE.name}")
    report.describe(BARE, "onnxruntime and Pillow called by hand, the same process")
    for _ in range(rounds):
        found = _child("turns", PICTURE, 1 if quick else TURNS)
        for system, prefix in ((ENGINE, "engine"), (BARE, "bare")):
            report.add(system, {name: found[f"{prefix}_{name}"] for name in ("wall_s", "cpu_s")})


def _child(what: str, picture: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.matting_alone", what, str(picture), str(count)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=1800)
    return json.loads(done.stdout)


def _at_once(server: Running, picture: Path, count: int) -> dict[str, float]:
    content = picture.read_bytes()
    engines = [psutil.Process(pid) for pid, role in server.processes().items() if role == "engine"]

    def post(_: int) -> str:
        answer = server.http.post(
            "/v1/jobs", data={"model": "matting"}, files={"image": (picture.name, content, "image/jpeg")}
        )
        return str(answer.raise_for_status().json()["id"])

    def fetch(job_id: str) -> int:
        job = server.wait_until_ended(job_id, poll_s=0.25, deadline_s=1800)
        return len(server.http.get(job["outputs"]["cutout"]["url"]).raise_for_status().content)

    cpu_s = sum(sum(one.cpu_times()[:2]) for one in engines)
    began = time.perf_counter()
    with ThreadPoolExecutor(4) as clients:
        sizes = list(clients.map(fetch, clients.map(post, range(count))))
    wall_s = time.perf_counter() - began
    assert all(sizes)
    cpu_s = sum(sum(one.cpu_times()[:2]) for one in engines) - cpu_s
    return {"pictures_per_s": count / wall_s, "cpu_s_a_picture": cpu_s / count, "cores_busy": cpu_s / wall_s}


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

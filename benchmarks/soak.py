"""`python -m benchmarks.soak --minutes 60`: a mixed load with faults, and whether anything grows that should not.

A `springtide up` of its own runs jobs that succeed, fail, crash, run out of memory, are cancelled, are followed by
streams that break off, take pictures in and give pictures out. Workers are killed all the time, the gateway in the
first quarter. Ended jobs are kept for a minute only, so that retention has work. At the end: memory, files, threads,
leases, processes, temporary folders, rows, and whether every accepted job ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
from PIL import Image

from benchmarks.machine import machine, versions
from benchmarks.plan import FOLDER
from benchmarks.product import Installation, Running, role_of
from benchmarks.report import Report, write
from benchmarks.soak_watch import LOOK_S, Verdict, Watch
from springtide.client import ApiError, AsyncSpringtide, Patience, Unreachable

LEAST_MINUTES, MOST_MINUTES = 1.0, 24 * 60.0
DRAIN_S = 120.0
KEEP_S = 60.0
WORKER_DIES_EVERY_S = 20.0
GATEWAY_DIES = 0.125  # of the time; in an hour, the next one has half of that until its memory is judged
SPARE_FOLDERS = 3  # the gateway's, that of its killed life, and of the last worker killed; a leak would be of each kill
EXPIRY_S = KEEP_S + 90.0  # retention looks once a minute
CONFIG = f"""
[ledger]
keep_s = {KEEP_S:g}

[blobs]
keep_orphans_s = {KEEP_S:g}

[models.steady]
engine = "synthetic"
min_replicas = 2
max_replicas = 2
slots = 8
batch = 4
timeout_s = 20
max_attempts = 6

[models.rough]
engine = "synthetic"
min_replicas = 1
max_replicas = 2
idle_s = 20
slots = 2
timeout_s = 3
max_attempts = 2
memory_limit_mb = 400
settings = {{ oom_cap_mb = 600 }}

[models.watermark]
engine = "watermark"
min_replicas = 1
max_replicas = 1
slots = 2
max_attempts = 6
"""
# What is asked of which model, how often: the rough ones end badly on purpose, and their processes with them.
MIX: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (60, "steady", {"seconds": 0.05, "steps": 3}),
    (10, "steady", {"seconds": 0.4, "steps": 8, "checkpoint_every": 2}),
    (8, "steady", {"seconds": 0.1, "outcome": "fail"}),
    (4, "rough", {"seconds": 0.1, "steps": 2}),
    (2, "rough", {"outcome": "crash"}),
    (1, "rough", {"outcome": "hang"}),
    (1, "rough", {"outcome": "oom"}),
    (14, "watermark", {"text": "soak", "size": 0.5}),
)

Curves = dict[str, list[tuple[float, float]]]


class Load:
    """Submits, follows, cancels, kills, until told to stop."""

    def __init__(
        self, server: Running, client: AsyncSpringtide, *, rate: float, seed: int, gateway_dies_s: float
    ) -> None:
        self._server, self._client = server, client
        self._rate, self._gateway_dies_s = rate, gateway_dies_s
        self._chance = random.Random(seed)
        self._picture = _picture()
        self.accepted: list[str] = []
        self.count: Counter[str] = Counter()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_workers())
            group.create_task(self._kill_gateway())
            under_way: set[asyncio.Task[None]] = set()
            while not self.stopped.is_set():
                await self._pause(self._chance.expovariate(self._rate))
                if len(under_way) < 100:
                    task = group.create_task(self._one())
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)

    async def _one(self) -> None:
        weights = [weight for weight, _, _ in MIX]
        [(_, model, inputs)] = self._chance.choices(MIX, weights)
        given = {**inputs, "image": self._picture} if model == "watermark" else inputs
        try:
            job = (await self._client.submit(model, given)).id
            self.accepted.append(job)
            self.count[f"submitted: {model} {inputs.get('outcome', '')}".rstrip()] += 1
            dice = self._chance.random()
            if dice < 0.05:
                await self._client.jobs.cancel(job)
                self.count["cancelled"] += 1
            elif dice < 0.15:
                await self._follow(job, breaks_off=dice < 0.10)
            elif dice < 0.17:
                await self._client.upload(self._picture, name="orphan.png")
                self.count["uploads that no job uses"] += 1
        except (ApiError, Unreachable) as error:
            self.count[f"refused or unanswered: {error.code}"] += 1

    async def _follow(self, job: str, *, breaks_off: bool) -> None:
        self.count["streams broken off" if breaks_off else "streams"] += 1
        events = self._client.jobs.stream(job)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                async for _ in events:
                    if breaks_off:
                        break
        await events.aclose()  # pyright: ignore[reportAttributeAccessIssue] - an asynchronous generator

    async def _kill_workers(self) -> None:
        """Any but the eldest of each model, whose memory is the series that is told."""
        while not self.stopped.is_set():
            await self._pause(WORKER_DIES_EVERY_S)
            victims = self._victims()
            if victims and not self.stopped.is_set():
                one = self._chance.choice(victims)
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)
                    self.count["workers killed"] += 1

    async def _kill_gateway(self) -> None:
        await self._pause(self._gateway_dies_s)
        for pid, role in self._server.processes().items():
            if role == "gateway" and not self.stopped.is_set():
                psutil.Process(pid).send_signal(signal.SIGKILL)
                self.count["gateways killed"] += 1

    def _victims(self) -> list[psutil.Process]:
        by_model: dict[str, list[psutil.Process]] = {}
        for one in psutil.Process(self._server.pid).children():
            with contextlib.suppress(psutil.Error, ValueError, IndexError):
                if role_of(one) == "worker":
                    words = one.cmdline()
                    by_model.setdefault(words[words.index("--model") + 1], []).append(one)
        return [one for found in by_model.values() for one in sorted(found, key=lambda each: each.create_time())[1:]]

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every verdict is good."""
    options = _parser().parse_args(arguments)
    if not LEAST_MINUTES <= options.minutes <= MOST_MINUTES:
        raise SystemExit(f"--minutes is {LEAST_MINUTES:g} to {MOST_MINUTES:g}, not {options.minutes:g}")
    work = FOLDER / ".work"
    work.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=work))
    facts = machine(folder)
    try:
        report, verdicts, curves = _soaked(folder, options.minutes * 60, rate=options.rate, seed=options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.versions = versions()
    plan = {"minutes": options.minutes, "rate": options.rate, "seed": options.seed}
    document = report.document(
        plan=plan, machine=facts, command="python -m benchmarks.soak " + " ".join(arguments or ())
    )
    document["verdicts"] = msgspec.to_builtins(verdicts)
    document["memory_mb"] = curves
    write(document, options.results / "soak.json")
    for one in verdicts:
        print(f"{'good' if one.good else 'BAD ':<5}{one.what:<34} {one.said}", flush=True)
    return int(not all(one.good for one in verdicts))


def _soaked(folder: Path, seconds: float, *, rate: float, seed: int) -> tuple[Report, list[Verdict], Curves]:
    temporary = folder / "tmp"
    temporary.mkdir()
    home = Installation(folder, CONFIG)
    home.variables["TMPDIR"] = str(temporary)
    with home.up() as server:
        server.wait_until_warm("steady")
        watch = Watch(server)
        load, verdicts = asyncio.run(_under_load(server, watch, seconds, rate=rate, seed=seed))
        verdicts += [_left_behind(temporary, server)]
        report = Report("soak", title=f"{seconds / 60:g} minutes of mixed load with faults")
        report.describe("springtide", f"{rate:g} jobs a second, workers killed every {WORKER_DIES_EVERY_S:g} s")
        report.add("springtide", {"accepted": len(load.accepted), **load.count})
    return report, verdicts, watch.curves()


async def _under_load(
    server: Running, watch: Watch, seconds: float, *, rate: float, seed: int
) -> tuple[Load, list[Verdict]]:
    async with AsyncSpringtide(server.url, patience=Patience(reconnect_s=20)) as client:
        load = Load(server, client, rate=rate, seed=seed, gateway_dies_s=seconds * GATEWAY_DIES)
        running = asyncio.create_task(load.run())
        while watch.now_s < seconds:
            await asyncio.to_thread(watch.look)
            _say(watch, load, seconds)
            await asyncio.sleep(LOOK_S)
            if running.done():
                break
        load.stopped.set()
        await running
        verdicts = watch.verdicts()  # of the time under load
        await _until(lambda: watch.unended() == 0, watch, DRAIN_S)
        verdicts += [
            await _lost(watch, load),
            await _leases(client),
            *_kept(watch),
            await _expired(client, watch, load),
        ]
    return load, verdicts


async def _lost(watch: Watch, load: Load) -> Verdict:
    lost = [job for job in load.accepted if job not in watch.ended]
    ends = Counter(watch.ended[job] for job in load.accepted if job in watch.ended)
    told = ", ".join(f"{count:,} {status}" for status, count in sorted(ends.items()))
    figures = {"accepted": float(len(load.accepted)), "lost": float(len(lost))}
    return Verdict(what="accepted jobs that ended", figures=figures, said=f"{told}; lost {len(lost)}", good=not lost)


async def _leases(client: AsyncSpringtide) -> Verdict:
    """Workers say with their next beat what they hold; after that nobody may hold anything."""
    left = 0
    for _ in range(20):
        models = await client.models.list()
        left = sum(one.live.queued + one.live.running for one in models if one.live is not None)
        if not left:
            break
        await asyncio.sleep(1)
    return Verdict(
        what="leases and jobs left in the queue", figures={"left": float(left)}, said=f"{left}", good=not left
    )


def _kept(watch: Watch) -> list[Verdict]:
    """Rows of jobs follow what is kept, not what has ever been. The bytes of a file go an hour after its record."""
    found: list[Verdict] = []
    for name, points in sorted(watch.rows.items()):
        most = max((value for _, value in points), default=0.0)
        going = watch.kept(name)
        if going is None or most == 0:
            continue
        is_held = name in ("rows of jobs", "rows of attempts", "MB of scratch")
        good = not is_held or watch.now_s < 4 * EXPIRY_S or going.grown <= 0.25 * most
        said = f"{points[-1][1]:,.1f} now, most {most:,.1f}, {going.per_hour:+,.1f} an hour in the second half"
        found.append(Verdict(what=name, figures={"now": points[-1][1], "most": most}, said=said, good=good))
    return found


async def _expired(client: AsyncSpringtide, watch: Watch, load: Load) -> Verdict:
    """The first jobs of the soak, once their time is over: 410, with what is kept how long."""
    old = load.accepted[:3]
    codes: list[str] = []

    async def asked() -> bool:
        codes.clear()
        for job in old:
            try:
                await client.jobs.get(job)
                codes.append("there")
            except ApiError as error:
                codes.append(f"{error.status} {error.code}")
        return all(code == "410 job_deleted" for code in codes)

    good = False
    for _ in range(int(EXPIRY_S / LOOK_S)):
        good = await asked()
        if good:
            break
        await asyncio.sleep(LOOK_S)
    return Verdict(what="results past their time", figures={}, said=", ".join(codes), good=good)


def _left_behind(temporary: Path, server: Running) -> Verdict:
    """A dead worker's folder goes at the next one's start; processes that nobody waits for are zombies."""
    folders = [name for _, names, _ in os.walk(temporary) for name in names if name.startswith("pymp-")]
    live = Counter(server.processes().values())
    zombies = sum(one.status() == psutil.STATUS_ZOMBIE for one in psutil.Process(server.pid).children(recursive=True))
    engines, workers = live["engine"], live["worker"]
    good = (
        zombies == 0
        and engines <= workers
        and live["forkserver"] <= workers
        and len(folders) <= workers + SPARE_FOLDERS
    )
    said = (
        f"{workers} workers, {live['forkserver']} forkservers, {engines} engines, {zombies} zombies, "
        f"{len(folders)} temporary folders"
    )
    figures = {"zombies": float(zombies), "folders": float(len(folders))}
    return Verdict(what="processes and folders left", figures=figures, said=said, good=good)


async def _until(condition: Any, watch: Watch, seconds: float) -> None:
    ends_s = watch.now_s + seconds
    while watch.now_s < ends_s:
        await asyncio.to_thread(watch.look)
        if condition():
            return
        await asyncio.sleep(1)


def _say(watch: Watch, load: Load, seconds: float) -> None:
    memory = {one.role: one.uss_mb for one in watch.samples[-30:]}
    shown = ", ".join(f"{role} {mb:.0f} MB" for role, mb in memory.items() if role in ("up", "gateway", "worker"))
    print(
        f"\r{watch.now_s / 60:5.1f} of {seconds / 60:g} min: {len(load.accepted):,} accepted, "
        f"{len(watch.ended):,} ended; {shown}   ",
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


def _picture() -> bytes:
    kept = io.BytesIO()
    Image.effect_noise((160, 120), 60).convert("RGB").save(kept, "PNG")
    return kept.getvalue()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="under load; then it drains for two more at most")
    parser.add_argument("--rate", type=float, default=6.0, help="jobs a second on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FOLDER / "results", help="folder for the JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

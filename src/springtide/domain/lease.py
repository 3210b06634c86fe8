"""What passes between queue and worker: ticket in, lease out, report back, outcome on record.

The attempt number is the fencing token: a report counts only if its worker and attempt are those of the lease in force.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, JobError, JobStatus, Priority

LEASE_TTL_S = 15.0  # three missed beats (reference: brokers that tie recovery to the longest job take minutes)
BEAT_EVERY_S = 5.0


class Ticket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as the broker queues it. `payload` is opaque to the broker."""

    id: JobId
    model: ModelName
    tenant: TenantId
    priority: Priority
    payload: bytes
    enqueued_at_s: float  # when the job was accepted: position and ageing count from here
    timeout_s: float
    max_attempts: int
    predicted_s: float = 1.0  # what one run is thought to cost
    start_deadline_at_s: float | None = None
    attempt: int = 0  # attempts already begun
    held_by: WorkerId | None = None  # rebuilding: last seen running `attempt`; it gets one TTL to say so
    started_at_s: float | None = None  # with `held_by`: when that attempt began
    checkpoint: Checkpoint | None = None  # of the last attempt that made one


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `Ticket.payload` holds, in msgpack: all that a worker needs to run the job."""

    inputs: dict[str, Any]
    files: tuple[BlobRef, ...] = ()
    traceparent: str | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The right of `worker` to run attempt `attempt` of job `id`, for as long as the worker keeps beating."""

    id: JobId
    model: ModelName
    tenant: TenantId
    worker: WorkerId
    attempt: int
    max_attempts: int
    payload: bytes
    timeout_s: float
    enqueued_at_s: float
    checkpoint: Checkpoint | None = None  # of an earlier attempt: go on from there


class Held(msgspec.Struct, frozen=True):
    """One attempt that a worker says it holds."""

    id: JobId
    attempt: int


class Completion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result. The blobs it names are stored before this is sent."""

    id: JobId
    attempt: int
    outputs: dict[str, Any]
    output_files: tuple[BlobRef, ...] = ()
    run_s: float = 0.0  # time inside the engine, its share of it where jobs ran together


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """No result. `retry_after_s` is None where no further attempt is wanted; the broker also checks max_attempts."""

    id: JobId
    attempt: int
    error: JobError
    retry_after_s: float | None = None
    cancelled: bool = False  # the attempt stopped because it was asked to


class WorkerState(StrEnum):
    """What a worker says of itself with each beat."""

    STARTING = "starting"  # loading the model: not ready, not broken
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    UNLOADED = "unloaded"  # it hosts several models, and this one is loaded when there is work for it
    FAILING = "failing"  # the engine does not load: a crash loop, not a slow start


class BeatReply(msgspec.Struct, frozen=True):
    """What a worker must act on: stop these politely; drop these at once, they are somebody else's now."""

    cancelled: tuple[JobId, ...] = ()
    lost: tuple[JobId, ...] = ()


class WakeUp(msgspec.Struct, frozen=True):
    """Why a waiting worker was woken. Nothing set: the wait ran out."""

    work: bool = False
    cancelled: tuple[JobId, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact for the ledger: an attempt, or the job with it, has ended.

    `status` is terminal, or QUEUED where another attempt is due (the attempt is recorded, the job goes on).
    """

    seq: str  # the broker's own id of this fact: what `ack_outcomes` takes
    id: JobId
    model: ModelName
    status: JobStatus
    attempt: int
    finished_at_s: float
    worker: WorkerId | None = None
    started_at_s: float | None = None
    run_s: float | None = None
    outputs: dict[str, Any] | None = None
    output_files: tuple[BlobRef, ...] = ()
    error: JobError | None = None
    checkpoint: Checkpoint | None = None  # the newest: nobody needs it once the job has ended
    tenant: TenantId | None = None  # of the job, as its ticket said; None where no queue has had it
    enqueued_at_s: float | None = None  # the same


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an attempt is, as its engine says."""

    id: JobId
    attempt: int
    fraction: float  # 0 to 1
    stage: str | None = None
    checkpoint: Checkpoint | None = None  # a new one; None leaves the one before in force


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a job's live story. `seq` is `<unix ms>-<n>`, rising within a job, also across a rebuilt broker;
    `at_s` never runs backwards within a job, whatever clocks do."""

    seq: str
    job: JobId
    kind: str  # queued, started, progress, retrying, cancelling, completed, failed, cancelled, expired
    at_s: float
    attempt: int = 0
    fraction: float | None = None
    stage: str | None = None
    error: JobError | None = None


class LiveJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as the broker sees it now."""

    id: JobId
    status: JobStatus
    attempt: int
    worker: WorkerId | None = None
    started_at_s: float | None = None
    fraction: float | None = None
    stage: str | None = None
    ahead: int | None = None  # jobs that will be leased before it, where queued (counted within its model)
    retry_at_s: float | None = None  # where the next attempt waits for its back-off
    checkpoint: Checkpoint | None = None


def seq_after(seq: str, other: str | None) -> bool:
    """Whether event id `seq` comes after `other` (None: before everything)."""
    return other is None or seq_key(seq) > seq_key(other)


def is_seq(text: str) -> bool:
    """Whether `text` is an event id that `seq_after` can read."""
    ms, _, n = text.partition("-")
    return ms.isascii() and ms.isdigit() and n.isascii() and n.isdigit()


def seq_key(seq: str) -> tuple[int, int]:
    """An event id as numbers: milliseconds, and the place among those of the same one."""
    ms, _, n = seq.partition("-")
    return int(ms), int(n)

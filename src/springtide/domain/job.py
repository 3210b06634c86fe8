"""A job: one accepted request with a stable id and exactly one terminal state.

The transition table below is the only place that says which state follows which. The in-memory broker, the Lua
scripts and the ledger's guards all keep to it; `tests/unit/test_transitions.py` walks every (state, event) pair.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from springtide.domain.errors import AttemptFailed, IllegalTransition
from springtide.domain.ids import BlobId, JobId, ModelName, TenantId, WorkerId
from springtide.domain.model import FileField


class JobStatus(StrEnum):
    """Where a job stands. A superset of OpenAI's video states, so that façade needs no renaming."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})
LIVE = frozenset(JobStatus) - TERMINAL


class JobEvent(StrEnum):
    """What can happen to a job."""

    LEASED = "leased"  # a worker took the right to run the next attempt
    COMPLETED = "completed"  # the attempt gave a result
    FAILED = "failed"  # the last attempt gave none, or the error is not worth another
    RETRIED = "retried"  # the attempt failed and another one is due
    LOST = "lost"  # the worker's lease expired and attempts are left
    RELEASED = "released"  # a draining worker gave the attempt back unspent
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"  # the worker confirms that the attempt has stopped
    EXPIRED = "expired"  # the start deadline passed while queued


_S, _E = JobStatus, JobEvent
TRANSITIONS: dict[tuple[JobStatus, JobEvent], JobStatus] = {
    (_S.QUEUED, _E.LEASED): _S.IN_PROGRESS,
    (_S.QUEUED, _E.FAILED): _S.FAILED,  # found spent when it came up for another attempt
    (_S.QUEUED, _E.CANCEL_REQUESTED): _S.CANCELLED,
    (_S.QUEUED, _E.EXPIRED): _S.EXPIRED,
    (_S.IN_PROGRESS, _E.COMPLETED): _S.COMPLETED,
    (_S.IN_PROGRESS, _E.FAILED): _S.FAILED,
    (_S.IN_PROGRESS, _E.RETRIED): _S.QUEUED,
    (_S.IN_PROGRESS, _E.LOST): _S.QUEUED,
    (_S.IN_PROGRESS, _E.RELEASED): _S.QUEUED,
    (_S.IN_PROGRESS, _E.CANCEL_REQUESTED): _S.CANCELLING,
    (_S.CANCELLING, _E.CANCEL_REQUESTED): _S.CANCELLING,
    (_S.CANCELLING, _E.CANCELLED): _S.CANCELLED,
    (_S.CANCELLING, _E.COMPLETED): _S.COMPLETED,  # it finished before the cancel reached it: say so
    (_S.CANCELLING, _E.FAILED): _S.CANCELLED,
    (_S.CANCELLING, _E.RETRIED): _S.CANCELLED,
    (_S.CANCELLING, _E.LOST): _S.CANCELLED,
    (_S.CANCELLING, _E.RELEASED): _S.CANCELLED,
}


def advance(status: JobStatus, event: JobEvent) -> JobStatus:
    """The state after `event`. Raises IllegalTransition where the table has no row."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(f"a {status} job cannot be {event}") from None


class Priority(StrEnum):
    """Classes in the order they are served."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


class BlobRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A blob as a job carries it: enough to fetch and check it without a look-up."""

    id: BlobId
    media_type: str
    bytes: int
    sha256: str
    name: str | None = None  # the client's file name, for show only; never a path


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an attempt has got, in its engine's own form: the job's next attempt goes on from here."""

    file: BlobRef
    older: tuple[BlobId, ...] = ()  # replaced by this one and not deleted yet


class JobError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a job, or one of its attempts, gave no result."""

    code: str  # stable: engine_failed, crashed, out_of_memory, timed_out, worker_lost, ...
    message: str
    retryable: bool = False
    details: dict[str, Any] = {}

    @classmethod
    def of(cls, failed: AttemptFailed) -> JobError:
        """What was raised, as it is put on record."""
        return cls(code=failed.code, message=failed.message, retryable=failed.retryable, details=failed.details)


class Foretold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was foretold of a job when it was accepted: with how it came out, this is what is learnt from."""

    estimate_s: float  # the engine's own, of one run
    features: dict[str, float] = {}  # what the engine says that a run's time depends on
    done_s: float | None = None  # to its end, before calibration; None: nobody could tell
    spread: float = 0.0  # of that, as `policy.eta.Band` has it
    waits: bool = False  # whether it was to wait for a replica


class Adopted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a step that another pipeline has done already: all of it, for that one may be forgotten first."""

    job: JobId
    outputs: dict[str, Any]
    output_files: tuple[BlobRef, ...] = ()


class PlanStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a pipeline as it was accepted. In `inputs`, `{"$from": "0.cut"}` stands for an output of step 0."""

    name: str
    model: ModelName
    model_version: str
    inputs: dict[str, Any]
    max_attempts: int
    timeout_s: float
    predicted_s: float
    foretold: Foretold | None = None
    input_files: tuple[BlobRef, ...] = ()  # every blob that `inputs` names by itself
    unit: ModelName | None = None  # as a job has it
    is_pinned: bool = False
    takes: dict[str, FileField] = {}  # the file fields that an earlier step feeds, by name
    adopted: Adopted | None = None  # a retry: what the step gave before


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a pipeline does, one step after the other."""

    steps: tuple[PlanStep, ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request, as the ledger keeps it.

    A pipeline is a job with a `plan`: it never enters the broker; each of its steps is an ordinary job with `parent`
    and `step`.
    """

    id: JobId
    tenant: TenantId
    model: ModelName
    model_version: str
    status: JobStatus
    inputs: dict[str, Any]  # validated; a file field holds a blob id (or a list of them)
    input_files: tuple[BlobRef, ...]  # every blob that `inputs` names
    priority: Priority
    max_attempts: int
    timeout_s: float  # longest run of one attempt
    predicted_s: float  # one run, from the engine's estimate and features by what earlier runs have taught
    created_at_s: float
    start_deadline_at_s: float | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None  # SHA-256 of what the request asked for; set where a key is
    attempt: int = 0  # last attempt begun, 0 before the first
    worker: WorkerId | None = None
    started_at_s: float | None = None  # start of the last attempt
    finished_at_s: float | None = None
    outputs: dict[str, Any] | None = None  # a file field holds a blob id
    output_files: tuple[BlobRef, ...] = ()
    error: JobError | None = None
    checkpoint: Checkpoint | None = None  # while it lives
    traceparent: str | None = None  # W3C trace context of the request
    parent: JobId | None = None  # the pipeline that this job is a step of
    step: int | None = None  # its number there, from 0
    plan: Plan | None = None
    retry_of: JobId | None = None  # the ended job that this one does again
    cancel_asked_at_s: float | None = None  # pipelines: the wish must outlive whoever was told
    used_s: float | None = None  # seconds of workers that its attempts took; None: no attempt has ended yet
    foretold: Foretold | None = None
    unit: ModelName | None = None  # `model@version` where the version has a queue of its own; None: the model's
    is_pinned: bool = False  # the caller named the version: the job never goes to another one

    @property
    def queue(self) -> ModelName:
        """What the broker, the fleet and its history know the job's model by."""
        return self.unit or self.model

    @property
    def ref(self) -> JobRef:
        """Where the broker finds it."""
        return JobRef(self.queue, self.id)


class JobRef(msgspec.Struct, frozen=True):
    """A job and the model whose queue it is in: what a sharded broker needs to find it."""

    model: ModelName
    id: JobId

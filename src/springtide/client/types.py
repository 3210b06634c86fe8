"""What the server answers, typed. Mirrors the gateway's schemas field by field (a test holds the two together), so that
importing the client loads nothing of the platform.

A field that a newer server adds is ignored, one that an older server lacks has its default: a client and a server of
neighbouring versions understand each other. Instants come twice: ISO 8601 and Unix seconds (`…_at`, `…_at_s`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from springtide.client.orders import Paused, Pinned
from springtide.client.rollouts import Rollout, Version

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})
Priority = Literal["interactive", "standard", "batch"]


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One wrong field."""

    loc: str
    message: str
    code: str | None = None
    value: Any = None


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job, or one of its attempts, gave no result. retryable: whether the same again may end better."""

    code: str
    message: str
    retryable: bool = False
    details: dict[str, Any] = {}


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why something does not go on. figures: those of the message, seconds where they end in `_s`."""

    code: str
    message: str
    figures: dict[str, float] = {}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a result. Give it to `download` or `read`. signed_url: needs no key, until `expires_at`."""

    id: str
    url: str
    media_type: str
    bytes: int
    sha256: str
    name: str | None = None
    signed_url: str = ""
    expires_at: str = ""
    expires_at_s: float = 0.0


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file: give it, or its id, as an input."""

    id: str
    media_type: str
    bytes: int
    sha256: str
    url: str
    name: str | None = None
    created_at: str
    created_at_s: float
    signed_url: str = ""
    expires_at: str = ""
    expires_at_s: float = 0.0


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes of a large file go."""

    id: str
    url: str
    method: str
    headers: dict[str, str]
    bytes: int
    expires_at: str
    expires_at_s: float
    complete_url: str


class StepState(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a pipeline. reused: its result is that of an earlier job, which this pipeline is a retry of."""

    step: int
    name: str
    model: str
    model_version: str
    job: str | None
    status_url: str | None
    status: str
    reused: bool
    predicted_s: float
    inputs: dict[str, Any]
    attempt: int = 0
    created_at_s: float | None = None
    started_at_s: float | None = None
    finished_at_s: float | None = None
    stage: str | None = None
    progress: float | None = None
    error: ErrorInfo | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stood when it was asked for. One that was only just accepted has no more than its first fields."""

    id: str
    status: str  # queued, in_progress, cancelling; completed, failed, cancelled, expired
    model: str
    model_version: str
    created_at: str
    created_at_s: float
    status_url: str
    result_url: str
    events_url: str
    cancel_url: str
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None
    eta_likely_s: tuple[float, float] | None = None
    priority: str = "standard"
    attempt: int = 0
    max_attempts: int = 0
    timeout_s: float = 0.0
    predicted_s: float = 0.0
    used_s: float | None = None  # of workers, by all its attempts
    start_deadline_at_s: float | None = None
    started_at: str | None = None
    started_at_s: float | None = None
    finished_at: str | None = None
    finished_at_s: float | None = None
    stage: str | None = None
    progress: float | None = None
    ahead: int | None = None
    retry_at_s: float | None = None
    waiting: Reason | None = None
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] | None = None
    error: ErrorInfo | None = None
    parent: str | None = None
    step: int | None = None
    batch: str | None = None
    retry_of: str | None = None
    steps: list[StepState] | None = None

    @property
    def has_ended(self) -> bool:
        """Completed, failed, cancelled or expired: it will not change any more."""
        return self.status in ENDED

    @property
    def is_completed(self) -> bool:
        return self.status == "completed"

    @property
    def files(self) -> dict[str, list[File]]:
        """The files of the result by output field, the primary field first; empty without a result."""
        found: dict[str, list[File]] = {}
        for name, value in (self.outputs or {}).items():
            files = [_file(item) for item in (value if isinstance(value, list) else [value])]
            if present := [file for file in files if file is not None]:
                found[name] = present
        return found

    def file(self, name: str | None = None) -> File:
        """The file of an output field; of the first one without a name. Raises KeyError where there is none."""
        found = self.files
        if not found:
            raise KeyError(f"{self.id} ({self.status}) has no file among its outputs")
        if name is not None and name not in found:
            raise KeyError(f"{self.id} has no file {name!r}; it has {', '.join(found)}")
        return next(iter(found.values()))[0] if name is None else found[name][0]


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, newest first; `next_after` asks for the next page."""

    data: list[Job]
    has_more: bool
    next_after: str | None = None


class ExplainedReason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that holds a job up, or that ended it: a stable code, words, figures, and what would help."""

    code: str
    message: str
    figures: dict[str, float] = {}
    helps: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is as it is; what has to change first comes first."""

    job: str
    model: str
    status: str
    summary: str
    reasons: list[ExplainedReason]
    attempt: int
    max_attempts: int
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that ended without a result."""

    attempt: int
    worker: str | None
    started_at_s: float | None
    finished_at_s: float
    error: ErrorInfo | None


class AttemptList(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts in order."""

    data: list[Attempt]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job.

    kind: queued, started, progress, retrying, cancelling; completed, failed, cancelled, expired; waiting (why it is
    still queued: `code`, `message`, `figures`); where many jobs are watched also snapshot (`status`). id: to resume
    after; a `waiting` has none.
    """

    job: str
    kind: str
    at: str = ""
    at_s: float = 0.0
    id: str | None = None
    attempt: int = 0
    progress: float | None = None  # 0 to 1
    stage: str | None = None
    error: ErrorInfo | None = None
    code: str | None = None
    message: str | None = None
    figures: dict[str, float] = {}
    status: str | None = None

    @property
    def is_end(self) -> bool:
        """The last event of its job."""
        return self.kind in ENDED


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Workers of one model by what they say of themselves."""

    starting: int = 0
    ready: int = 0
    busy: int = 0
    draining: int = 0
    unloaded: int = 0
    failing: int = 0


class LiveFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A model's queue and workers, at most a second old."""

    queued: int
    running: int
    predicted_s: float
    oldest_wait_s: float | None
    workers: WorkerFigures
    taken_at_s: float
    problem: Reason | None = None


class FileField(msgspec.Struct, frozen=True, kw_only=True):
    """What a file field of a model takes."""

    name: str
    media_types: Sequence[str]
    required: bool
    many: bool
    max_bytes: int
    max_pixels: int | None
    max_duration_s: float | None
    animated: bool
    needs_audio: bool


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What `springtide models check` found on the server's machine."""

    at: str
    at_s: float
    processors: int
    load_s: float | None
    first_run_s: float | None
    run_s: float | None
    estimated_s: float | None
    loaded_memory_mb: float | None
    peak_memory_mb: float | None


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """A route of OpenAI's that a model serves, by its name in the `openai` package, and what a call does there."""

    route: str
    note: str


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that the engine computes with."""

    path: str
    bytes: int
    sha256: str
    license: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model, what it takes and gives, and how busy it is. id to capabilities: for OpenAI's clients."""

    id: str = ""
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = ""
    capabilities: list[Capability] = []
    name: str
    version: str
    engine: str
    title: str
    description: str
    license: str
    commercial_use: Literal["yes", "no", "unknown"]
    generative: bool
    stages: list[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    input_files: list[FileField]
    output_files: list[str]
    output_media: dict[str, list[str]]
    timeout_s: float
    max_attempts: int
    url: str
    live: LiveFigures | None = None
    measured: Measured | None = None
    weights: list[ModelFile] = []
    paused: Paused | None = None
    pinned: Pinned | None = None
    versions: list[Version] = []
    rollout: Rollout | None = None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Every model served."""

    object: Literal["list"] = "list"
    data: list[Model]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A scaling decision that changed something."""

    at: str
    at_s: float
    before: int
    replicas: int
    wish: int
    reason: str
    message: str
    figures: dict[str, float]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Queue and fleet of a model at one time."""

    at_s: float
    arrived: int | None
    queued: int | None
    running: int | None
    oldest_wait_s: float | None
    wait_s_p95: float | None
    wanted: int
    ready: int
    busy: int
    loading: int
    draining: int


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How a model was scaled. pool: what it shares its workers with, if anything."""

    model: str
    pool: str | None
    decisions: list[Decision]
    samples: list[Sample]


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Items by state. refused: became no job. gone: the job has been deleted."""

    queued: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    gone: int = 0


class RefusedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that became no job, and why (RFC 9457)."""

    place: int
    problem: dict[str, Any]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stood when it was asked for. progress: 0 to 1 over all its jobs. refused: the first of them."""

    id: str
    status: str  # receiving, interrupted, in_progress, cancelling, completed (each item has ended somehow), cancelled
    created_at: str
    created_at_s: float
    total: int
    counts: BatchCounts
    progress: float
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None
    retry_of: str | None = None
    status_url: str
    items_url: str
    jobs_url: str
    cancel_url: str
    retry_url: str
    refused: list[RefusedItem] = []

    @property
    def has_ended(self) -> bool:
        """It will not change by itself; an `interrupted` one goes on when the same is submitted with the same key."""
        return self.status in ("completed", "cancelled", "interrupted")

    @property
    def is_completed(self) -> bool:
        """Every item became a job, and every job completed."""
        return self.status == "completed" and self.counts.completed == self.total


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """Batches, newest first; `next_after` asks for the next page."""

    data: list[Batch]
    has_more: bool
    next_after: str | None = None


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item: `job`, or `problem` where it was refused. place: in the order of the request, from 0."""

    place: int
    status: str  # that of its job, or refused, or gone
    job: Job | None = None
    idempotency_key: str | None = None
    replayed: bool = False
    problem: dict[str, Any] | None = None


class BatchItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items in order; `next_after` asks for the next page."""

    data: list[BatchItem]
    has_more: bool
    next_after: int | None = None


def _file(value: Any) -> File | None:
    if not isinstance(value, dict) or not str(value.get("id", "")).startswith("blob_") or "url" not in value:
        return None
    return msgspec.convert(value, File)

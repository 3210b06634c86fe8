"""What the server answers of jobs and files, typed; of models in `models`, of batches in `batches`.

Mirrors the gateway's schemas field by field (a test holds the two together), so that importing the client loads nothing
of the platform. A field that a newer server adds is ignored, one that an older server lacks has its default: a client
and a server of neighbouring versions understand each other. Instants come twice: ISO 8601 and Unix seconds (`…_at`,
`…_at_s`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

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


def _file(value: Any) -> File | None:
    if not isinstance(value, dict) or not str(value.get("id", "")).startswith("blob_") or "url" not in value:
        return None
    return msgspec.convert(value, File)

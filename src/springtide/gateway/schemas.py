"""The shapes that go out, as msgspec structs: what the OpenAPI document shows and what clients may rely on. Those of
problems, jobs and their events; others have modules of their own (`schemas_models`, `schemas_files` and so on).

Instants come twice, ISO 8601 for people (`created_at`) and Unix seconds for programs (`created_at_s`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class FieldProblem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One wrong field."""

    loc: str
    message: str
    code: str | None = None
    value: Any = None


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldProblem] | None = None


class ErrorView(msgspec.Struct, kw_only=True):
    """Why a job, or one of its attempts, gave no result."""

    code: str
    message: str
    retryable: bool
    details: dict[str, Any]


class AcceptedView(msgspec.Struct, kw_only=True):
    """A job just accepted, with every URL it will be asked about by. `eta_s` (seconds until it will have ended, the
    median), `eta_range_s` (between which nine of ten should) and `eta_likely_s` (half of them) are null where nothing
    is known yet."""

    id: str
    status: str
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


class ReasonView(msgspec.Struct, kw_only=True):
    """Why something does not go on. `code` is stable; `figures` (seconds where they end in `_s`) are those of the
    message, for who says it in other words."""

    code: str
    message: str
    figures: dict[str, float] = {}


class ExplainedReason(ReasonView, kw_only=True):
    """One reason, and what would help."""

    helps: str | None = None


class ExplainView(msgspec.Struct, kw_only=True):
    """Why a job is as it is. `reasons`: all that holds it up, or what ended it; what has to change first at the
    front."""

    job: str
    model: str
    status: str
    summary: str
    reasons: list[ExplainedReason]
    attempt: int
    max_attempts: int
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None


class StepView(msgspec.Struct, kw_only=True):
    """One step of a pipeline. `job` and its URL are null until the step is submitted; `reused`: the result is that of
    an earlier job, which this pipeline is a retry of."""

    step: int
    name: str
    model: str
    model_version: str
    job: str | None
    status_url: str | None
    status: str  # waiting, or that of the job
    reused: bool
    predicted_s: float
    inputs: dict[str, Any]  # {"$from": "0.cutout"}: output `cutout` of step 0
    attempt: int = 0
    created_at_s: float | None = None
    started_at_s: float | None = None
    finished_at_s: float | None = None
    stage: str | None = None
    progress: float | None = None
    error: ErrorView | None = None


class JobView(AcceptedView, kw_only=True):
    """A job as it stands now. A pipeline has `steps`, and its model is those of the steps joined by ` > `. `waiting`
    says why a queued one, or the step it is at, does not run yet."""

    priority: str
    attempt: int
    max_attempts: int
    timeout_s: float
    predicted_s: float
    used_s: float | None = None  # seconds of workers that its attempts took, those without a result too
    start_deadline_at_s: float | None = None
    started_at: str | None = None
    started_at_s: float | None = None
    finished_at: str | None = None
    finished_at_s: float | None = None
    stage: str | None = None
    progress: float | None = None  # 0 to 1
    ahead: int | None = None  # jobs that will start before it
    retry_at_s: float | None = None
    waiting: ReasonView | None = None
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = None  # files as FileView; of a pipeline: of its last step
    error: ErrorView | None = None
    parent: str | None = None  # the pipeline that this job is a step of
    step: int | None = None  # its number there, from 0
    retry_of: str | None = None  # the ended job that this one does again
    batch: str | None = None  # what it came in with
    steps: list[StepView] | None = None


class JobPage(msgspec.Struct, kw_only=True):
    """Jobs, newest first. Ask for the next page with `after`."""

    data: list[JobView]
    has_more: bool
    next_after: str | None = None


class AttemptView(msgspec.Struct, kw_only=True):
    """An attempt that ended without a result."""

    attempt: int
    worker: str | None
    started_at_s: float | None
    finished_at_s: float
    error: ErrorView | None


class AttemptList(msgspec.Struct, kw_only=True):
    """Attempts in order."""

    data: list[AttemptView]


class EventView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The data of one live event."""

    job: str
    kind: str
    at: str
    at_s: float
    attempt: int
    progress: float | None = None
    stage: str | None = None
    error: ErrorView | None = None


class WaitingEventView(msgspec.Struct, kw_only=True):
    """The data of a `waiting` event: why the job is still queued. It has no id and is not resumed."""

    job: str
    kind: str = "waiting"
    at: str
    at_s: float
    code: str
    message: str
    figures: dict[str, float] = {}


class Health(msgspec.Struct, kw_only=True):
    """The process is alive."""

    status: str = "ok"


class Readiness(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether each dependency answers. A model whose engine does not load is named; jobs for others are run. keep_s:
    how long ended jobs and their files are kept, in seconds, or `forever` ([ledger] keep_s)."""

    status: str
    ledger: str
    broker: str
    keep_s: float | Literal["forever"]
    not_loading: dict[str, ReasonView] = {}

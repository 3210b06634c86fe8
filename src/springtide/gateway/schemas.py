"""The shapes that go out, as msgspec structs: what the OpenAPI document shows and what clients may rely on.

Instants come twice, ISO 8601 for people (`created_at`) and Unix seconds for programs (`created_at_s`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from springtide.gateway.schemas_orders import PauseView, PinView
from springtide.gateway.schemas_rollouts import RolloutView, VersionView


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


class FileView(msgspec.Struct, kw_only=True):
    """A file of a result. `url` asks for a key where the server does; `signed_url` needs none, until `expires_at`: it
    is made anew at each read."""

    id: str
    url: str
    signed_url: str
    expires_at: str
    expires_at_s: float
    media_type: str
    bytes: int
    sha256: str
    name: str | None = None


class BlobView(msgspec.Struct, kw_only=True):
    """An uploaded file, to be named in a job's inputs by its id. `signed_url` needs no key, until `expires_at`."""

    id: str
    media_type: str
    bytes: int
    sha256: str
    url: str
    signed_url: str
    expires_at: str
    expires_at_s: float
    name: str | None = None
    created_at: str
    created_at_s: float


class UploadView(msgspec.Struct, kw_only=True):
    """Where to put a file: send `bytes` bytes to `url` by `method` with `headers`, then POST to `complete_url`."""

    id: str
    url: str
    method: str
    headers: dict[str, str]
    bytes: int
    expires_at: str
    expires_at_s: float
    complete_url: str


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


class WorkerFigures(msgspec.Struct, kw_only=True):
    """Workers of one model by what they say of themselves."""

    starting: int = 0
    ready: int = 0
    busy: int = 0
    draining: int = 0
    unloaded: int = 0  # they host several models, and load this one when there is work for it
    failing: int = 0


class LiveFigures(msgspec.Struct, kw_only=True):
    """A model's queue and workers, at most a second old. `problem`: why no worker of it comes up: its
    engine does not load on any, or the fleet cannot start one."""

    queued: int
    running: int
    predicted_s: float  # work that waits, as the engine estimates it
    oldest_wait_s: float | None
    workers: WorkerFigures
    taken_at_s: float
    problem: ReasonView | None = None


class FileFieldView(msgspec.Struct, kw_only=True):
    """What a file field takes."""

    name: str
    media_types: list[str]
    required: bool
    many: bool
    max_bytes: int
    max_pixels: int | None
    max_duration_s: float | None
    animated: bool
    needs_audio: bool


CommercialUse = Literal["yes", "no", "unknown"]


class MeasuredView(msgspec.Struct, kw_only=True):
    """What `springtide models check` found on one usual job, on the machine it ran on."""

    at: str
    at_s: float
    processors: int
    load_s: float | None
    first_run_s: float | None
    run_s: float | None  # later ones
    estimated_s: float | None  # what the model's own estimate says of that job
    loaded_memory_mb: float | None
    peak_memory_mb: float | None


class CapabilityView(msgspec.Struct, kw_only=True):
    """A route of OpenAI's that a model serves, by its name in the `openai` package, and what a call does there."""

    route: str
    note: str


class WeightsView(msgspec.Struct, kw_only=True):
    """A model file that the engine computes with, below the weights folder."""

    path: str
    bytes: int
    sha256: str
    license: str


class ModelView(msgspec.Struct, kw_only=True):
    """A model, what it takes and gives, and how busy it is (`live` is null where the broker cannot be asked; `measured`
    where `springtide models check` did not try this version with these settings; `paused` and `pinned` where no
    operator has ordered it). `id` to `capabilities` are for OpenAI's clients; `created` is when this gateway
    started. What it takes and gives is what its stable version does; `live` counts all versions. `rollout`: the last
    one, be it over or not."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    capabilities: list[CapabilityView]
    name: str
    version: str
    engine: str
    title: str
    description: str
    license: str
    commercial_use: CommercialUse  # whether that licence allows it
    generative: bool
    weights: list[WeightsView]  # empty where the engine needs none, or brings its own
    stages: list[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    input_files: list[FileFieldView]
    output_files: list[str]
    output_media: dict[str, list[str]]  # the media types an output file may have, where the engine says
    timeout_s: float
    max_attempts: int
    url: str
    live: LiveFigures | None
    measured: MeasuredView | None
    paused: PauseView | None
    pinned: PinView | None
    versions: list[VersionView]
    rollout: RolloutView | None


class ModelList(msgspec.Struct, kw_only=True):
    """Every model served here."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class DecisionView(msgspec.Struct, kw_only=True):
    """A decision that changed something. `wish` is what the policy asked for before its bounds."""

    at: str
    at_s: float
    before: int
    replicas: int
    wish: int
    reason: str
    message: str
    figures: dict[str, float]


class SampleView(msgspec.Struct, kw_only=True):
    """Queue and fleet of a model at one time; null where it could not be learnt."""

    at_s: float
    arrived: int | None  # jobs since the sample before
    queued: int | None
    running: int | None
    oldest_wait_s: float | None
    wait_s_p95: float | None  # of the jobs that ended last
    wanted: int
    ready: int  # idle and busy
    busy: int
    loading: int
    draining: int


class ScalingView(msgspec.Struct, kw_only=True):
    """How a model was scaled. `pool`: the name of what it shares its workers with, null where they are its own."""

    model: str
    pool: str | None
    decisions: list[DecisionView]
    samples: list[SampleView]


class Health(msgspec.Struct, kw_only=True):
    """The process is alive."""

    status: str = "ok"


class Readiness(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether each dependency answers. A model whose engine does not load is named; jobs for others are run."""

    status: str
    ledger: str
    broker: str
    not_loading: dict[str, ReasonView] = {}

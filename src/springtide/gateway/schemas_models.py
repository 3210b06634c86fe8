"""Models as clients see them: what they take and give, how busy they are, how they were scaled (see `schemas`)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from springtide.gateway.schemas import ReasonView
from springtide.gateway.schemas_orders import PauseView, PinView
from springtide.gateway.schemas_rollouts import RolloutView, VersionView


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

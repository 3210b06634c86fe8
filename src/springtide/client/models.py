"""Models as the server tells them: what each takes and gives, how busy it is, and how it was scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from springtide.client.orders import Paused, Pinned
from springtide.client.rollouts import Rollout, Version
from springtide.client.types import Reason


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

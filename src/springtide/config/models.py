"""Sections of the configuration about what is served: models, how they scale, and workers that several share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from springtide.config.groups import GroupConfig, check_group, with_group_defaults
from springtide.config.sections import FloorConfig, RetryConfig, Section
from springtide.config.versions import not_a_version, whole
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, is_version, unit_name
from springtide.domain.tenant import MAX_QUEUED

EngineCheck = Callable[[str, Mapping[str, Any] | None], None]  # an engine's reference, and settings for it
engine_check: ContextVar[EngineCheck | None] = ContextVar("engine_check", default=None)


class ScalingConfig(Section):
    """How the number of workers follows the load (docs/elasticity.md). The default policy, tide, keeps the objective
    with as little as it can: a share of the jobs shall begin within a wait."""

    policies: list[Literal["tide", "backlog", "queue", "utilization", "trisignal", "schedule"]] = Field(
        default_factory=lambda: ["tide"],
        min_length=1,
        description="Of several the largest wish wins.",
    )
    wait_s: float = Field(default=30, gt=0, le=86_400, description="The objective: jobs shall begin within so long.")
    share: float = Field(default=0.99, ge=0.5, le=0.9999, description="The objective: this share of them.")
    cold_start_s: float = Field(
        default=30, gt=0, le=7200, description="Start of a worker until it is ready, seconds, until it is measured."
    )
    run_s: float = Field(default=30, gt=0, le=86_400, description="Run of a job, seconds, until it is measured.")
    replica_hours_a_day: float | None = Field(
        default=None, gt=0, description="What may be spent in a day, saved up for a day at most; default: no ceiling."
    )
    weight: float = Field(
        default=1, gt=0, le=1000, description="Beside other models in equal need of what [fleet] has: so much more."
    )
    queue_target: float = Field(
        default=1, gt=0, le=10_000, description="Policy queue: jobs waiting and running for each replica."
    )
    utilization_target: float = Field(
        default=0.7, gt=0, le=1, description="Policy utilization: the share in use that is aimed at."
    )
    utilization_of: Literal["busy", "gpu", "gpu_memory", "cpu", "memory"] = Field(
        default="busy",
        description="Policy utilization: in use is a worker with a job, or what workers measure of GPUs and processes.",
    )
    trisignal_memory: Literal["gpu_memory", "memory"] = Field(
        default="gpu_memory", description="Policy trisignal: whose memory counts, the GPUs' or the workers' own."
    )
    schedule: list[FloorConfig] = Field(default_factory=list[FloorConfig], description="Policy schedule: the floors.")
    utc_offset_h: float = Field(
        default=0, ge=-14, le=14, description="Policy schedule: hours that its clock is ahead of UTC."
    )

    @model_validator(mode="after")
    def _sense(self) -> ScalingConfig:
        if len(set(self.policies)) < len(self.policies):
            raise ValueError("policies: one is named twice")
        if ("schedule" in self.policies) != bool(self.schedule):
            raise ValueError("policies names schedule where there are floors in [[...schedule]], and only there")
        return self


def _check_part(accelerators: float) -> None:
    if accelerators > 1 and accelerators != int(accelerators):
        raise ValueError(f"accelerators ({accelerators:g}) is neither a part of one nor a whole number")


class ModelConfig(Section):
    """One served model."""

    engine: str = Field(
        description="Entry point name (matting, speech, synthetic, ...) or dotted path pkg.module:Class."
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="The engine's own settings.")
    execution: Literal["worker", "distributed"] = Field(
        default="worker",
        description="Who runs an attempt: the worker, or a group of processes that it starts for it; see "
        "[models.NAME.group].",
    )
    group: GroupConfig = Field(default_factory=GroupConfig, description="See [models.NAME.group].")
    accept_non_commercial: bool = Field(
        default=False, description="Serve it though the licence of its weights allows no commercial use: yours is none."
    )
    min_replicas: int = Field(default=0, ge=0, le=1000, description="Workers kept alive when idle.")
    max_replicas: int = Field(default=1, ge=0, le=1000, description="Most workers at once.")
    idle_s: float = Field(
        default=300,
        ge=0,
        le=86_400,
        description="A worker that has been idle for less stays; 0 leaves it to the policy, for machines that cost. "
        "Default of a distributed model: 10, nothing is loaded there.",
    )
    scaling: ScalingConfig = Field(default_factory=ScalingConfig, description="See [models.NAME.scaling].")
    timeout_s: float = Field(default=1800, gt=0, le=86_400, description="Longest run of one attempt, seconds.")
    load_timeout_s: float = Field(default=300, gt=0, le=7200, description="Longest loading of the model, seconds.")
    load_attempts: int = Field(
        default=6,
        ge=1,
        le=100,
        description="Loads in a row that may fail before the model's waiting jobs are failed with the reason.",
    )
    warm_up: Literal["auto", "always"] = Field(
        default="auto",
        description="A run of the engine's example before a worker is ready: always, or where `models check` found that"
        " a first run takes longer than later ones.",
    )
    max_attempts: int = Field(default=3, ge=1, le=20, description="Attempts before a job fails for good.")
    retry: RetryConfig = Field(default_factory=RetryConfig, description="See [models.NAME.retry].")
    slots: int = Field(
        default=2,
        ge=1,
        le=1024,
        description="Jobs a worker holds at once: those running and those read ahead. "
        "Of a distributed model: its groups at once, default 1.",
    )
    batch: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Jobs that may share a run or run side by side, where the engine can; fewer after memory ran out.",
    )
    batch_wait_ms: float = Field(
        default=0,
        ge=0,
        le=60_000,
        description="How long a job that could run may wait for others to share its run, ms; 0 takes what is there.",
    )
    jobs_per_replica: int | None = Field(
        default=None, ge=1, description="Policy backlog: waiting jobs worth another replica; default: slots."
    )
    memory_limit_mb: int | None = Field(
        default=None, ge=64, description="Kill an attempt whose process grows past this, MiB."
    )
    memory_mb: int | None = Field(
        default=None,
        ge=1,
        description="Memory of the loaded model, MiB: until it is measured, for [workers.NAME]; for [fleet] memory_mb.",
    )
    accelerators: float = Field(
        default=0, ge=0, le=1024, description="Of [fleet] accelerators a worker takes so many; below 1: a part of one."
    )
    cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Of [fleet] cpus a worker takes so many; its use is measured against them. Default: none, and all.",
    )
    grace_s: float = Field(
        default=600, ge=0, le=86_400, description="How long a draining worker may finish what it runs, seconds."
    )

    max_duration_s: float | None = Field(
        default=None,
        gt=0,
        le=7 * 86_400,
        description="Longest sound or video that is accepted, seconds; default: the engine's own limit.",
    )
    max_running: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Most jobs in progress at once; default: as many as workers take."
    )
    max_queued: int = Field(
        default=MAX_QUEUED, ge=1, le=100_000_000, description="Most jobs waiting; more are refused with 429."
    )

    version: str | None = Field(
        default=None, description="Name of the version that this table describes; default: the engine's own."
    )
    versions: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]],
        description="Other versions beside it: [models.NAME.versions.V] holds the keys in which V differs. V takes no "
        "job but by name until a rollout starts (docs/rollouts.md).",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_groups(cls, data: Any) -> Any:
        return with_group_defaults(data)

    @field_validator("engine")
    @classmethod
    def _is_an_engine(cls, value: str) -> str:
        _suits(value, None)
        return value

    @field_validator("settings")
    @classmethod
    def _suit_the_engine(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "engine" in info.data:
            _suits(info.data["engine"], value)
        return value

    @model_validator(mode="after")
    def _bounds(self) -> ModelConfig:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        if self.batch > self.slots:
            raise ValueError(
                f"batch ({self.batch}) is above slots ({self.slots}): a worker cannot run what it does not hold"
            )
        if self.batch_wait_ms > 0 and self.batch == 1:
            raise ValueError(f"batch_wait_ms ({self.batch_wait_ms:g}) waits for a batch, but batch is 1: raise batch")
        _check_part(self.accelerators)
        check_group(self.model_fields_set, is_distributed=self.is_distributed)
        return self

    @model_validator(mode="after")
    def _versions(self) -> ModelConfig:
        if self.version is not None and not is_version(self.version):
            raise ValueError(f"version: {not_a_version(self.version)}")
        self.other_versions()
        return self

    def other_versions(self) -> dict[str, ModelConfig]:
        """The versions beside it, each whole. Raises ValueError that tells all that is wrong with any."""
        return whole(self, self.versions) if self.versions else {}

    @property
    def is_distributed(self) -> bool:
        return self.execution == "distributed"

    def takes(self) -> dict[str, float]:
        """What of [fleet] one worker takes; memory only where it is known."""
        if self.is_distributed:
            return self.group.takes(self.slots)
        known = {} if self.memory_mb is None else {"memory_mb": float(self.memory_mb)}
        return {"accelerators": self.accelerators, "cpus": self.cpus or 0.0, **known}


def units_of(models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Models, and their versions as `name@version` right behind each."""
    return {
        unit: each
        for name, model in models.items()
        for unit, each in [
            (name, model),
            *((unit_name(ModelName(name), version), one) for version, one in model.other_versions().items()),
        ]
    }


class WorkersConfig(Section):
    """Models that share workers: each hosts all of them under one memory budget and unloads what was used longest ago.
    The replicas are those of the pool; its models set none themselves."""

    models: list[str] = Field(min_length=1, description="Names of the models.")
    memory_mb: int = Field(ge=64, description="Memory that the loaded models of one worker may take together, MiB.")
    accelerators: float = Field(
        default=0, ge=0, le=1024, description="Of [fleet] accelerators a worker takes so many; below 1: a part of one."
    )
    cpus: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Of [fleet] cpus a worker takes so many; its use is measured against them. Default: none, and all.",
    )
    min_replicas: int = Field(default=0, ge=0, le=1000, description="Workers kept alive when idle.")
    max_replicas: int = Field(default=1, ge=0, le=1000, description="Most workers at once.")
    idle_s: float = Field(
        default=300,
        ge=0,
        le=86_400,
        description="A worker that has been idle for less stays; 0 leaves it to the policy, for machines that cost.",
    )
    scaling: ScalingConfig = Field(default_factory=ScalingConfig, description="See [models.NAME.scaling].")
    jobs_per_replica: int | None = Field(
        default=None, ge=1, description="Policy backlog: waiting jobs worth another replica; default: all slots."
    )

    @model_validator(mode="after")
    def _bounds(self) -> WorkersConfig:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is named twice")
        _check_part(self.accelerators)
        return self

    def takes(self) -> dict[str, float]:
        """What of [fleet] one worker takes."""
        return {"accelerators": self.accelerators, "cpus": self.cpus or 0.0, "memory_mb": float(self.memory_mb)}


OF_THE_POOL = ("min_replicas", "max_replicas", "idle_s", "jobs_per_replica", "scaling", "accelerators", "cpus")


# What finishes media: no weights, no accelerator; a film of hours takes its time.
_FINISHING = ("concat", "loudness", "subtitles", "thumbnail", "transcode", "watermark")


def default_models() -> dict[str, ModelConfig]:
    return {
        "digital-human": ModelConfig(engine="digital-human", timeout_s=3600),
        "matting": ModelConfig(engine="matting", timeout_s=3600, slots=4, batch=2),
        "restore": ModelConfig(engine="restore", timeout_s=1800),
        "speech": ModelConfig(engine="speech", timeout_s=3600),
        "synthetic": ModelConfig(engine="synthetic", slots=128, batch=64),
        **{name: ModelConfig(engine=name, timeout_s=7200) for name in _FINISHING},
        "upscale": ModelConfig(engine="upscale", timeout_s=4 * 3600),
        "video": ModelConfig(engine="video", timeout_s=3600),
        "what-if": ModelConfig(engine="what-if", timeout_s=3600, idle_s=60),
    }


def _suits(reference: str, settings: Mapping[str, Any] | None) -> None:
    check = engine_check.get()
    if check is None:
        return
    try:
        check(reference, settings)
    except ConfigError as error:
        raise ValueError(error.message) from error

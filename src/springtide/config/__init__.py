"""The one configuration file, `springtide.toml`, parsed and checked once, every problem told at once.

Every field has a default, so an empty file (or none) is a working set-up on one machine. A variable overrides the file:
`SPRINGTIDE_SERVER__PORT=9000` is `[server] port = 9000`. Unknown keys are errors: a typing mistake never goes unseen.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from springtide.config.fleet import FleetConfig as FleetConfig
from springtide.config.groups import GroupConfig, check_group, with_group_defaults
from springtide.config.kubernetes import KubernetesConfig
from springtide.config.sections import (
    EgressConfig,
    FloorConfig,
    OpenAiConfig,
    ProvenanceConfig,
    RetryConfig,
    Section,
    WebhooksConfig,
)
from springtide.config.telemetry import TelemetryConfig
from springtide.config.tenants import TenantConfig, TenantDefaults
from springtide.config.versions import not_a_version, whole
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, is_model_name, is_tenant_id, is_version, parted, unit_name
from springtide.domain.tenant import MAX_QUEUED

FILE_NAME = "springtide.toml"
EngineCheck = Callable[[str, Mapping[str, Any] | None], None]  # an engine's reference, and settings for it
_engine_check: ContextVar[EngineCheck | None] = ContextVar("engine_check", default=None)
_SECRETS = re.compile("url|secret|token|password")  # keys whose values are never shown


def _scheme(url: str, *allowed: str) -> str:
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in allowed:
        raise ValueError(f"the URL must start with one of {', '.join(f'{name}://' for name in allowed)}")
    return url


class ServerConfig(Section):
    """Where the gateway listens and where everything is kept."""

    host: str = Field(default="127.0.0.1", description="Address to listen on. 0.0.0.0 opens it to the network.")
    port: int = Field(default=8321, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    data_dir: Path = Field(default=Path("~/.springtide"), description="Folder for the ledger, blobs and the socket.")
    weights_dir: Path = Field(
        default=Path("~/.springtide/weights"), description="Folder for model files; may be shared."
    )
    auth: Literal["auto", "keys", "none"] = Field(
        default="auto",
        description="Whether callers need an API key. auto: not on a loopback address, else yes. keys: always, as "
        "behind a proxy on this machine. none: never; whoever reaches the server is the tenant `default`.",
    )
    tenant_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a proxy that knows its callers names the tenant, such as X-Tenant; it must "
        "overwrite what a caller sends, and nobody may reach the server past it. No key is asked for then.",
    )
    max_upload_mb: int = Field(default=2048, ge=1, le=1_000_000, description="Largest upload of one file, MiB.")

    @field_validator("data_dir", "weights_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _one_of_two(self) -> ServerConfig:
        if self.tenant_header is not None and self.auth == "keys":
            raise ValueError("tenant_header and auth = 'keys' exclude each other: a key names its tenant itself")
        return self

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class BrokerConfig(Section):
    """The queue. `memory://` lives beside the gateway and is rebuilt from the ledger; `redis://` is your server."""

    url: str = Field(
        default="memory://",
        description="memory://, redis://, rediss://, unix:// or redis+sentinel://host:26379,host:26379/service URL.",
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "memory", "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


class LedgerConfig(Section):
    """The truth."""

    url: str = Field(
        default="sqlite://", description="sqlite:// (a file under data_dir), sqlite:///path or postgresql:// URL."
    )
    keep_s: float | None = Field(
        default=None, ge=60, description="Seconds that ended jobs and their files are kept; default: for ever."
    )
    keep_history_s: float = Field(
        default=604_800,
        ge=3600,
        description="Seconds that scaling decisions and samples of queue and fleet are kept.",
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "sqlite", "postgresql", "postgresql+asyncpg")


class BlobsConfig(Section):
    """Media in and out."""

    url: str = Field(
        default="file://",
        description="file:// (a folder under data_dir), file:///absolute/folder or "
        "s3://bucket/prefix?endpoint=https://host:port&region=name.",
    )
    access_key_id: str | None = Field(
        default=None, description="S3: access key; default: what the AWS variables, files or roles give."
    )
    secret_access_key: SecretStr | None = Field(default=None, description="S3: the secret of that key.")
    session_token: SecretStr | None = Field(default=None, description="S3: token of temporary keys.")
    public_endpoint: str | None = Field(
        default=None, description="S3: https://host:port by which clients reach the store; default: as we do."
    )
    presigned_uploads: bool = Field(
        default=True, description="S3: who asks for an upload URL gets one of the store; false: one of the gateway."
    )
    presigned_downloads: bool = Field(
        default=False, description="S3: downloads are redirected to the store; false: only with ?redirect=1."
    )
    keep_orphans_s: float = Field(
        default=86_400, ge=60, description="Seconds that an upload is kept that no job has used."
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "file", "s3")

    @model_validator(mode="after")
    def _keys(self) -> BlobsConfig:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: set both or neither")
        return self


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
        description="Jobs that may share a run, where the engine can; fewer after memory ran out.",
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
        _check_engine(value, None)
        return value

    @field_validator("settings")
    @classmethod
    def _suit_the_engine(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "engine" in info.data:
            _check_engine(info.data["engine"], value)
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
        check_group(self.group, self.model_fields_set, is_distributed=self.is_distributed)
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


_OF_THE_POOL = ("min_replicas", "max_replicas", "idle_s", "jobs_per_replica", "scaling", "accelerators", "cpus")


# What finishes media: no weights, no accelerator; a film of hours takes its time.
_FINISHING = ("concat", "loudness", "subtitles", "thumbnail", "transcode", "watermark")


def _default_models() -> dict[str, ModelConfig]:
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


class Config(BaseSettings):
    """All of `springtide.toml`."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix="SPRINGTIDE_", env_nested_delimiter="__", frozen=True, env_ignore_empty=True
    )
    _file: ClassVar[dict[str, Any]] = {}

    server: ServerConfig = Field(default_factory=ServerConfig)
    broker: BrokerConfig = Field(default_factory=BrokerConfig)
    ledger: LedgerConfig = Field(default_factory=LedgerConfig)
    blobs: BlobsConfig = Field(default_factory=BlobsConfig)
    egress: EgressConfig = Field(default_factory=EgressConfig)
    webhooks: WebhooksConfig = Field(default_factory=WebhooksConfig)
    provenance: ProvenanceConfig = Field(default_factory=ProvenanceConfig)
    fleet: FleetConfig = Field(default_factory=FleetConfig)
    models: Annotated[dict[str, ModelConfig], Field(default_factory=_default_models)]

    workers: Annotated[dict[str, WorkersConfig], Field(default_factory=dict[str, WorkersConfig])]
    tenant_defaults: TenantDefaults = Field(default_factory=TenantDefaults)
    tenants: Annotated[dict[str, TenantConfig], Field(default_factory=dict[str, TenantConfig])]
    openai: OpenAiConfig = Field(default_factory=OpenAiConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)
    kubernetes: KubernetesConfig = Field(default_factory=KubernetesConfig)

    @field_validator("workers")
    @classmethod
    def _pools(cls, value: dict[str, WorkersConfig], info: ValidationInfo) -> dict[str, WorkersConfig]:
        given: dict[str, ModelConfig] | None = info.data.get("models")
        models = None if given is None else units_of(given)
        problems = [
            f"{name!r} is no name for it: lower-case words joined by '-'" for name in value if not is_model_name(name)
        ]
        seen: set[str] = set()
        for name, pool in value.items() if models is not None else ():
            assert models is not None
            if name in models:
                problems.append(f"{name} is a model's name, too: choose another")
            for member in pool.models:
                if member not in models:
                    problems.append(f"{name}: there is no model {member!r}")
                    continue
                if member in seen:
                    problems.append(f"{name}: model {member!r} is in two of them")
                seen.add(member)
                if models[member].is_distributed:
                    problems.append(f"{name}: models.{member} is distributed, and has workers of its own")
                elif own := sorted(set(_OF_THE_POOL) & models[member].model_fields_set):
                    problems.append(f"{name}: models.{member} sets {', '.join(own)}; set that in workers.{name}")
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @field_validator("openai")
    @classmethod
    def _aliases(cls, value: OpenAiConfig, info: ValidationInfo) -> OpenAiConfig:
        models: dict[str, ModelConfig] | None = info.data.get("models")
        bad = [
            f"{alias} = {name!r}" for alias, name in value.aliases.items() if models is not None and name not in models
        ]
        if bad:
            raise ValueError(f"aliases: there is no such model: {', '.join(bad)}")
        return value

    @field_validator("tenants")
    @classmethod
    def _tenants(cls, value: dict[str, TenantConfig], info: ValidationInfo) -> dict[str, TenantConfig]:
        bad = [name for name in value if not is_tenant_id(name)]
        if bad:
            raise ValueError(
                f"not a tenant's name: {', '.join(map(repr, bad))} (letters, digits and . _ @ -, at most 64)"
            )
        defaults: TenantDefaults = info.data.get("tenant_defaults") or TenantDefaults()
        common = {name: getattr(defaults, name) for name in TenantDefaults.model_fields}
        return {
            name: one.model_copy(update={key: common[key] for key in common.keys() - one.model_fields_set})
            for name, one in value.items()
        }

    @field_validator("models")
    @classmethod
    def _names(cls, value: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        bad = [name for name in value if not is_model_name(name)]
        if bad:
            raise ValueError(
                f"not a model name: {', '.join(map(repr, bad))} (lower-case words joined by '-', at most 64)"
            )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # a variable wins over the file, which comes in as init arguments

    @model_validator(mode="after")
    def _fits_the_fleet(self) -> Config:
        pooled = {member for pool in self.workers.values() for member in pool.models}
        scaled: dict[str, ModelConfig | WorkersConfig] = {
            **{f"models.{name}": model for name, model in self.units.items() if name not in pooled},
            **{f"workers.{name}": pool for name, pool in self.workers.items()},
        }
        for what, much in self.fleet.budget.items():
            takes = {name: one.takes().get(what, 0.0) for name, one in scaled.items()}
            if what != "memory_mb" and not any(takes.values()):
                raise ValueError(f"fleet.{what} is set, but no model says how many {what} a worker of it takes")
            if too_large := [name for name, each in takes.items() if each > much]:
                raise ValueError(f"{', '.join(too_large)}: a worker takes more {what} than fleet.{what} ({much:g})")
            promised = sum(  # a version beside the stable one takes its share of that one's
                takes[name] * one.min_replicas for name, one in scaled.items() if parted(name)[1] is None
            )
            if promised > much:
                raise ValueError(f"min_replicas of all models take {promised:g} {what}, fleet.{what} is {much:g}")
        return self

    @cached_property
    def units(self) -> dict[str, ModelConfig]:
        """Everything with a queue and workers of its own: each model, and as `name@version` each version beside it."""
        return units_of(self.models)

    # --- where things are, derived from the above ---

    @property
    def ledger_url(self) -> str:
        if self.ledger.url in {"sqlite://", "sqlite:///"}:
            return f"sqlite:///{self.server.data_dir / 'springtide.db'}"
        return self.ledger.url

    @property
    def blobs_url(self) -> str:
        if self.blobs.url in {"file://", "file:///"}:
            return f"file://{self.server.data_dir / 'blobs'}"
        return self.blobs.url

    @property
    def weights_folder(self) -> Path:
        return self.server.weights_dir

    @property
    def socket_path(self) -> Path:
        """Where the embedded broker listens. A socket's path must be short (108 bytes on Linux)."""
        path = self.server.data_dir / "broker.sock"
        if len(os.fsencode(path)) <= 100:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"springtide-{os.getuid()}-{digest}.sock"

    @property
    def scratch_folder(self) -> Path:
        return self.server.data_dir / "scratch"


def load_config(path: Path | None = None, *, check_engine: EngineCheck | None = None) -> Config:
    """Read the file (`path`, else $SPRINGTIDE_CONFIG, else ./springtide.toml where it exists) and the environment.

    check_engine: raises ConfigError for an engine, or for settings of one, that cannot be used; told with the rest.
    Raises ConfigError that lists every problem with key, value and what is allowed.
    """
    named = path or (Path(env) if (env := os.environ.get("SPRINGTIDE_CONFIG")) else None)
    file = named or Path(FILE_NAME)
    data: dict[str, Any] = {}
    if named is not None or file.exists():
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from error
    token = _engine_check.set(check_engine)
    try:
        return read_config(data, where=str(file) if data else "environment", kind=Config)
    finally:
        _engine_check.reset(token)


class FileConfig(Config):
    """The same without this machine's variables: of a file that is meant for another."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def read_config(data: Mapping[str, Any], *, where: str, kind: type[Config] = FileConfig) -> Config:
    """The configuration that a file's data say. Raises ConfigError that lists every problem."""
    try:
        return kind(**data)
    except ValidationError as error:
        raise ConfigError(f"{where} has {error.error_count()} problem(s):\n" + _problems(error)) from error


def _check_engine(reference: str, settings: Mapping[str, Any] | None) -> None:
    check = _engine_check.get()
    if check is None:
        return
    try:
        check(reference, settings)
    except ConfigError as error:
        raise ValueError(error.message) from error


def _problems(error: ValidationError) -> str:
    lines: list[str] = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        given = item["input"]
        is_shown = isinstance(given, str | int | float | bool) and not _SECRETS.search(key)
        shown = f" (given: {given!r})" if is_shown else ""
        lines.append(f"  {key}: {item['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)

"""The one configuration file, `springtide.toml`, parsed and checked once, every problem told at once.

Every field has a default, so an empty file (or none) is a working set-up on one machine. A variable overrides the file:
`SPRINGTIDE_SERVER__PORT=9000` is `[server] port = 9000`. Unknown keys are errors, and so is a variable with one
underscore where two belong: a typing mistake never goes unseen.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from springtide.config.fleet import FleetConfig
from springtide.config.kubernetes import KubernetesConfig
from springtide.config.models import (
    OF_THE_POOL,
    EngineCheck,
    ModelConfig,
    ScalingConfig,
    WorkersConfig,
    default_models,
    engine_check,
    units_of,
)
from springtide.config.places import BlobsConfig, BrokerConfig, LedgerConfig, ServerConfig
from springtide.config.problems import problems_of
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
from springtide.config.variables import from_variables, misspelt, overlaid
from springtide.domain.errors import ConfigError
from springtide.domain.ids import is_model_name, is_tenant_id, parted

__all__ = [
    "FILE_NAME",
    "Config",
    "EngineCheck",
    "FleetConfig",
    "FloorConfig",
    "ModelConfig",
    "RetryConfig",
    "ScalingConfig",
    "ServerConfig",
    "TenantDefaults",
    "WorkersConfig",
    "load_config",
    "read_config",
]

FILE_NAME = "springtide.toml"
_SECRETS = re.compile("url|secret|token|password")  # keys whose values are never shown


class Config(Section):
    """All of `springtide.toml`."""

    server: ServerConfig = Field(default_factory=ServerConfig)
    broker: BrokerConfig = Field(default_factory=BrokerConfig)
    ledger: LedgerConfig = Field(default_factory=LedgerConfig)
    blobs: BlobsConfig = Field(default_factory=BlobsConfig)
    egress: EgressConfig = Field(default_factory=EgressConfig)
    webhooks: WebhooksConfig = Field(default_factory=WebhooksConfig)
    provenance: ProvenanceConfig = Field(default_factory=ProvenanceConfig)
    fleet: FleetConfig = Field(default_factory=FleetConfig)
    models: Annotated[dict[str, ModelConfig], Field(default_factory=default_models)]

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
                elif own := sorted(set(OF_THE_POOL) & models[member].model_fields_set):
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
    if wrong := misspelt(os.environ, Config):
        lines = [
            f"  {name}: did you mean {right}? Two underscores stand between section and key"
            for name, right in wrong.items()
        ]
        raise ConfigError("the environment has variables that would go unheard:\n" + "\n".join(lines))
    token = engine_check.set(check_engine)
    try:
        return read_config(
            overlaid(data, from_variables(os.environ, Config)), where=str(file) if data else "environment"
        )
    finally:
        engine_check.reset(token)


def read_config(data: Mapping[str, Any], *, where: str) -> Config:
    """The configuration that a file's data say, without this machine's variables. Raises ConfigError that lists every
    problem."""
    try:
        return Config(**data)
    except ValidationError as error:
        raise ConfigError(f"{where} has {error.error_count()} problem(s):\n" + _problems(error)) from error


def _problems(error: ValidationError) -> str:
    lines: list[str] = []
    for key, message, given in problems_of(error, Config):
        is_shown = isinstance(given, str | int | float | bool) and not _SECRETS.search(key)
        shown = f" (given: {given!r})" if is_shown else ""
        lines.append(f"  {key}: {message}{shown}")
    return "\n".join(lines)

"""Sections of the configuration that stand by themselves, and what all sections have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from springtide.domain.errors import ConfigError


class Section(BaseModel):
    """A table of springtide.toml: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class EgressConfig(Section):
    """Which URLs of callers are followed (inputs, webhooks): https:// to public addresses, and what is allowed here
    (docs/inputs-by-url.md)."""

    allow: list[str] = Field(
        default_factory=list,
        description="What is open though it is not public, on any port and by http://, too: networks (10.0.0.0/8), "
        "addresses, names (hooks.internal) and all names below one (*.internal).",
    )
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[80, 443, 8080, 8443], description="Ports of public addresses that may be reached."
    )
    plain_http: bool = Field(default=False, description="Follow http:// to public addresses, too.")
    ca_file: Path | None = Field(
        default=None, description="PEM file with the certificates to trust; default: those of the system."
    )
    fetch_s: float = Field(default=120, gt=0, le=3600, description="Longest fetch of one input by URL, seconds.")

    @field_validator("allow")
    @classmethod
    def _readable(cls, value: list[str]) -> list[str]:
        from springtide.egress.addresses import Allowed

        try:
            Allowed.of(value)
        except ConfigError as error:
            raise ValueError(error.message) from error
        return value


class WebhooksConfig(Section):
    """How patiently webhooks are told of jobs' ends (docs/webhooks.md)."""

    timeout_s: float = Field(default=20, gt=0, le=60, description="Longest wait for an answer to a message, seconds.")
    disable_after_s: float = Field(
        default=432_000,
        ge=3600,
        description="Seconds of nothing but failures until a webhook is switched off; one message is tried for 76 h.",
    )
    keep_s: float = Field(
        default=2_592_000, ge=3600, description="Seconds that deliveries which are over stay in a webhook's log."
    )
    max_per_tenant: int = Field(default=20, ge=0, le=1000, description="Most webhooks of a tenant.")


class ProvenanceConfig(Section):
    """Who signs the marks of origin on what models make. Without these, a key and certificate of this installation's
    own, made once under data_dir/provenance (docs/synthetic-media.md)."""

    certificate: Path | None = Field(
        default=None, description="PEM file: the signer's certificate, then those above it up to the root."
    )
    private_key: Path | None = Field(default=None, description="PEM file with the certificate's key, unencrypted.")

    @model_validator(mode="after")
    def _both(self) -> ProvenanceConfig:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together: set both or neither")
        return self


class RetryConfig(Section):
    """Further attempts of a model's jobs: how long after the last one, and after which errors. The codes are those of
    a job's error, an engine's own included; without a word here, what may end differently is tried again."""

    first_s: float = Field(default=1.0, gt=0, le=3600, description="Seconds before the second attempt, on average.")
    factor: float = Field(default=4.0, ge=1, le=100, description="Each further wait is this many times longer.")
    most_s: float = Field(default=120.0, gt=0, le=86_400, description="Longest wait, seconds.")
    jitter: float = Field(
        default=0.5, ge=0, le=1, description="Share of a wait left to chance: what failed together comes back apart."
    )
    on: list[str] = Field(
        default_factory=list, description="Errors tried again though they would not be, such as timed_out."
    )
    never: list[str] = Field(
        default_factory=list, description="Errors not tried again though they would be, such as out_of_memory."
    )

    @model_validator(mode="after")
    def _sense(self) -> RetryConfig:
        if self.first_s > self.most_s:
            raise ValueError(f"first_s ({self.first_s:g}) is above most_s ({self.most_s:g})")
        if both := sorted(set(self.on) & set(self.never)):
            raise ValueError(f"{', '.join(both)}: in `on` and in `never`")
        if hopeless := sorted({"invalid_input", "bad_media", "input_missing", "cancelled"} & set(self.on)):
            raise ValueError(f"on: {', '.join(hopeless)} would end the same however often it is tried")
        if "worker_lost" in self.never:
            raise ValueError("never: worker_lost is no fault of the job; max_attempts = 1 allows no second attempt")
        return self


class FloorConfig(Section):
    """Replicas at least, at some hours of some days."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default_factory=lambda: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        description="Days on which it begins.",
    )
    begin: str = Field(pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", description="From this time of the day, hh:mm.")
    until: str = Field(
        pattern=r"^(([01]?\d|2[0-3]):[0-5]\d|24:00)$",
        description="To this one, hh:mm; before `begin` it is over midnight.",
    )
    replicas: int = Field(ge=0, le=1000, description="So many at least.")


class OpenAiConfig(Section):
    """The routes that programs written for OpenAI use (docs/openai.md)."""

    aliases: dict[str, str] = Field(
        default={},
        description="Model names of OpenAI's, or any others, and the model each stands for, such as "
        '{ "whisper-1" = "speech" }; without one the first model that serves the route stands for OpenAI\'s names.',
    )
    wait_s: float = Field(
        default=590,
        ge=1,
        le=3600,
        description="Longest wait for a job's end in a call that answers with its result; the `openai` package gives "
        "up after 600 s.",
    )

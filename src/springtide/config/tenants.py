"""What tenants may take, as springtide.toml says it."""

from __future__ import annotations

from pydantic import Field

from springtide.config.sections import Section
from springtide.domain.job import Priority
from springtide.domain.tenant import MAX_QUEUED


class TenantDefaults(Section):
    """What holds for every tenant, and for those under [tenants.NAME] where they do not say otherwise
    (docs/tenants.md)."""

    max_queued: int = Field(
        default=MAX_QUEUED,
        ge=1,
        le=100_000_000,
        description="Most jobs of a model waiting; more are refused with 429.",
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Requests to one gateway; default: no limit."
    )
    gpu_seconds_per_day: float | None = Field(
        default=None,
        ge=0,
        description="Seconds of workers in a day (UTC), what waits included as predicted; default: no limit.",
    )
    upload_mb_per_day: int | None = Field(
        default=None, ge=0, description="Bytes taken in by the gateways in a day (UTC), MiB; default: no limit."
    )
    priority_ceiling: Priority = Field(
        default=Priority.INTERACTIVE, description="The highest class of priority that may be asked for."
    )


class TenantConfig(TenantDefaults):
    """A tenant that differs from the rest. `weight`, `max_running` and `max_queued` hold for each model by itself
    (docs/queue-discipline.md), the others for all models together."""

    weight: float = Field(
        default=1, ge=0.01, le=1000, description="Share of a busy model, beside the weights of the others who wait."
    )
    max_running: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Most jobs of a model in progress at once; default: no limit."
    )

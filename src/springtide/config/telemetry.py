"""What the processes tell of themselves: metrics, health, traces, logs."""

from __future__ import annotations

from pydantic import Field

from springtide.config.sections import Section


class TelemetryConfig(Section):
    """Metrics and health of the processes (docs/reference/metrics.md). The gateway answers /metrics, /healthz and
    /readyz on its own port anyhow, for `springtide up` with the figures of all its processes."""

    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port on which gateway, controller and worker each answer /metrics, /healthz and /readyz to all "
        "who reach it; where it is taken, as on a machine with several workers, the next free one. Default: none.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address for that port. 0.0.0.0 opens it to the network, as in a cluster."
    )

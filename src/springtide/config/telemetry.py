"""What the processes tell of themselves: metrics, health, traces, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from springtide.config.sections import Section


class TelemetryConfig(Section):
    """Metrics and health of the processes (docs/reference/metrics.md), their logs and traces (docs/operations.md,
    docs/tracing.md). The gateway answers /metrics, /healthz and /readyz on its own port anyhow, for `springtide up`
    with the figures of all its processes."""

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
    log_format: Literal["auto", "json", "human"] = Field(
        default="auto", description='Lines on standard error; "auto": for people on a terminal, JSON elsewhere.'
    )
    log_dir: Path | None = Field(
        default=None,
        description="Folder for log files, JSON lines, at most 16 MiB a role; `springtide logs` reads them. Default: "
        "`logs` in server.data_dir where the broker is embedded, else none.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where traces go by OTLP/HTTP, such as http://127.0.0.1:4318 (docs/tracing.md). Default: nowhere.",
    )
    otlp_headers: dict[str, SecretStr] = Field(
        default_factory=dict[str, SecretStr], description="Headers sent there, such as a key of the service."
    )
    trace_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the traces that are sent; of a request with a `traceparent`, its caller decides.",
    )

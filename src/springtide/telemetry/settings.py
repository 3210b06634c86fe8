"""What a process is told of logs and traces: small, and part of what a worker is started with."""

from __future__ import annotations

from typing import Literal

import msgspec

LogFormat = Literal["auto", "json", "human"]


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Logs, and where traces go."""

    log_format: LogFormat = "auto"  # human on a terminal, JSON elsewhere
    log_dir: str | None = None  # also JSON lines to files there; None: none
    otlp_endpoint: str | None = None  # None: no traces
    otlp_headers: dict[str, str] = {}
    sample: float = 1.0  # share of the traces that begin here

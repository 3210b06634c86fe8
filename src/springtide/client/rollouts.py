"""Rollouts as the server tells them. Instants ending in `_s` are Unix seconds; what a newer server says besides is
passed over."""

from __future__ import annotations

from typing import Literal

import msgspec


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model. weight: per cent of the jobs that name none. state: stable, canary, aborted, retired or
    declared. unit: what its queue and workers are called."""

    version: str
    weight: float
    state: Literal["stable", "canary", "aborted", "retired", "declared"]
    engine: str
    unit: str
    url: str
    queued: int | None = None
    running: int | None = None
    ready: int | None = None
    loading: int | None = None


class MeasuredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a version's jobs since the rollout began, by their first attempts."""

    jobs: int
    failed: int
    failure_rate: float | None = None
    run_s_p95: float | None = None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Both versions at one time."""

    at: str
    at_s: float
    stable: MeasuredVersion
    canary: MeasuredVersion


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse the canary may be, and of how many jobs each that is told."""

    max_failure_rate_margin: float
    max_p95_margin: float
    min_samples: int


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A model's last rollout. state: running, promoted or aborted. is_automatic: it was aborted for its figures."""

    model: str
    number: int
    state: Literal["running", "promoted", "aborted"]
    stable: str
    canary: str
    weight: float
    sticky: Literal["tenant", "job"]
    margins: Margins
    started_at: str
    started_at_s: float
    ended_at: str | None = None
    ended_at_s: float | None = None
    reason: str | None = None
    is_automatic: bool = False
    compared: Compared | None = None

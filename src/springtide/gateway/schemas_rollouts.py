"""What the API says of a model's versions and of its rollout."""

from __future__ import annotations

from typing import Literal

import msgspec

from springtide.domain.rollout import VersionState


class VersionView(msgspec.Struct, kw_only=True):
    """One version. `weight`: per cent of the jobs that name no version. `state`: stable (it takes what no rollout sends
    elsewhere), canary, aborted, retired (it was the stable one) or declared (it takes no job but by name). `unit`: what
    its queue and workers are called, also on `/v1/models/{unit}/scaling`. The figures are null where the broker cannot
    be asked."""

    version: str
    weight: float
    state: VersionState
    engine: str
    unit: str
    url: str
    queued: int | None
    running: int | None
    ready: int | None  # workers that take jobs, idle and busy
    loading: int | None


class MeasuredVersionView(msgspec.Struct, kw_only=True):
    """What became of a version's jobs since the rollout began, by their first attempts; failures by what callers sent
    do not count."""

    jobs: int
    failed: int
    failure_rate: float | None
    run_s_p95: float | None


class ComparedView(msgspec.Struct, kw_only=True):
    """Both versions at one time."""

    at: str
    at_s: float
    stable: MeasuredVersionView
    canary: MeasuredVersionView


class MarginsView(msgspec.Struct, kw_only=True):
    """How much worse the canary may be: so much more of its jobs may fail, its P95 may be so much longer in relation;
    told from `min_samples` jobs of each on."""

    max_failure_rate_margin: float
    max_p95_margin: float
    min_samples: int


class RolloutView(msgspec.Struct, kw_only=True):
    """The last rollout of a model. `reason`: why it ended; `is_automatic`: it was aborted for its figures."""

    model: str
    number: int
    state: Literal["running", "promoted", "aborted"]
    stable: str
    canary: str
    weight: float
    sticky: Literal["tenant", "job"]
    margins: MarginsView
    started_at: str
    started_at_s: float
    ended_at: str | None
    ended_at_s: float | None
    reason: str | None
    is_automatic: bool
    compared: ComparedView | None

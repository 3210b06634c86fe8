"""What a worker is told of its model. Apart from `service`, so that who only starts workers need not load one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from springtide.domain.ids import ModelName
from springtide.engines.signing import SigningPlace
from springtide.fleet.gangs import GangPods, GangShape, Runs
from springtide.policy.retry import RetrySettings


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's part of the configuration (`config.ModelConfig` says what each means)."""

    model: ModelName
    engine_reference: str
    settings: dict[str, Any] = {}
    accept_non_commercial: bool = False
    weights_folder: Path
    signing: SigningPlace | None = None  # who signs marks of origin; None: a key of the process's own
    scratch_folder: Path
    slots: int = 2
    batch: int = 1
    batch_wait_s: float = 0.0
    retry: RetrySettings = RetrySettings()
    timeout_s: float = 1800.0  # for a lease that names no limit of its own
    load_timeout_s: float = 300.0
    load_attempts: int = 6
    warm_up: bool = False  # run the engine's example once before it is ready
    memory_limit_mb: int | None = None
    cpus: float | None = None  # processors that a worker is meant to use; None: all it may
    memory_mb: int | None = None  # of the loaded model, until it is measured; where several share a worker
    grace_s: float = 600.0
    gang: GangShape | None = None  # of a model whose attempts are run by groups of processes
    runs_as: Runs = Runs.PROCESSES  # what such a group is
    gang_pods: GangPods | None = None  # in a cluster
    groups_folder: Path | None = None  # where groups of processes of this machine have theirs

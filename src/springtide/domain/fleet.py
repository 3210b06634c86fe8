"""The fleet as the controller counts it: snapshots in, decisions out."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from springtide.domain.ids import ModelName, TenantId, WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import WorkerState


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker and its engine's process use, as it measured. None: nobody could measure it."""

    at_s: float
    cpus: float | None = None  # processors kept busy since the measurement before
    cpu: float | None = None  # the same as a share of those that it may use
    memory_mb: float | None = None  # in RAM, MiB
    memory: float | None = None  # the same as a share of what it may have
    gpu: float | None = None  # share of time that its GPUs computed lately, mean over them
    gpu_memory: float | None = None  # share of their memory in use, by whomever


class WorkerView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker as its last beat described it."""

    worker: WorkerId
    model: ModelName
    state: WorkerState
    held: int  # attempts it holds
    beat_at_s: float
    problem: JobError | None = None  # why its engine does not load, until it does
    usage: Usage | None = None  # as its last beat that told it; see `at_s`


class TenantLoad(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one tenant has in one model's queue."""

    tenant: TenantId
    queued: int = 0  # waiting, delayed retries included
    running: int = 0  # attempts in progress


class QueueView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's queue at one time."""

    model: ModelName
    queued: int  # waiting, delayed retries included
    leased: int
    predicted_s: float  # sum of the estimates of what waits
    oldest_enqueued_at_s: float | None
    workers: tuple[WorkerView, ...]
    taken_at_s: float
    tenants: tuple[TenantLoad, ...] = ()  # those who have jobs here, in no order


class ReplicaPhase(StrEnum):
    """A worker process as the fleet sees it from outside."""

    RUNNING = "running"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"  # died, or could not even begin; the next try waits


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a worker from coming up, as the fleet sees it from outside. `code` is stable."""

    code: str
    message: str


class FleetNews(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the workers of one model from coming up, one of each kind, and when that was so."""

    at_s: float
    troubles: tuple[Trouble, ...] = ()


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One wanted or running worker."""

    worker: WorkerId
    model: ModelName
    phase: ReplicaPhase
    restarts: int
    started_at_s: float
    last_exit: str | None = None
    trouble: Trouble | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many replicas, why, and from which figures."""

    model: ModelName
    replicas: int
    reason: str  # one of policy.elastic.view.Reason
    message: str
    wish: int | None = None  # what was wished for without the bounds; None: as many
    figures: dict[str, float] = {}  # what it was decided from

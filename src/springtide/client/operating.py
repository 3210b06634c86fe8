"""What operators have ordered and which workers there are, as the server tells it. Instants ending in `_s` are Unix
seconds; what a newer server says besides is passed over."""

from __future__ import annotations

from typing import Literal

import msgspec

from springtide.client.orders import Paused, Pinned
from springtide.client.types import Reason


class Operated(msgspec.Struct, frozen=True, kw_only=True):
    """What is ordered by hand for a model. by: whose order was the last, a key's prefix or `local`."""

    model: str
    pool: str | None = None
    paused: Paused | None = None
    pinned: Pinned | None = None
    by: str | None = None


class UsageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker uses; None: nobody could measure it."""

    cpus: float | None = None
    cpu: float | None = None
    memory_mb: float | None = None
    memory: float | None = None
    gpu: float | None = None
    gpu_memory: float | None = None


class HeldJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a worker runs."""

    job: str
    model: str
    attempt: int
    running_s: float | None = None
    fraction: float | None = None
    stage: str | None = None


class WorkerModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model on a worker."""

    model: str
    state: str
    held: int
    problem: Reason | None = None
    usage: UsageFigures | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: its models, what it runs, and since when it is told to leave."""

    id: str
    pool: str | None = None
    state: str
    beat_at: str
    beat_at_s: float
    models: list[WorkerModel]
    jobs: list[HeldJob]
    drain_asked_at: str | None = None
    drain_asked_at_s: float | None = None


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """Every worker."""

    object: Literal["list"] = "list"
    data: list[Worker]

"""What operators have ordered and which workers there are, as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from springtide.domain.fleet import QueueView, Usage
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.lease import LiveJob, WorkerState
from springtide.domain.orders import Drain, Orders
from springtide.gateway.disclosure import without_paths
from springtide.gateway.headers import iso8601
from springtide.gateway.schemas import ReasonView
from springtide.gateway.schemas_orders import PauseView, PinView, pause_view, pin_view
from springtide.gateway.served import ServedModel


class OperatedView(msgspec.Struct, kw_only=True):
    """What is ordered by hand for a model. `pool`: what it shares its workers with, which is scaled as one. `by`: whose
    order was the last, a key's prefix or `local`."""

    model: str
    pool: str | None
    paused: PauseView | None
    pinned: PinView | None
    by: str | None


class UsageFigures(msgspec.Struct, kw_only=True):
    """What a worker uses, as it measured; null: nobody could. Shares are of what it may use."""

    cpus: float | None
    cpu: float | None
    memory_mb: float | None
    memory: float | None
    gpu: float | None
    gpu_memory: float | None


class HeldView(msgspec.Struct, kw_only=True):
    """A job that a worker runs."""

    job: str
    model: str
    attempt: int
    running_s: float | None
    fraction: float | None
    stage: str | None


class WorkerModelView(msgspec.Struct, kw_only=True):
    """One model on a worker, by its last heartbeat. `problem`: why its engine does not load."""

    model: str
    state: WorkerState
    held: int
    problem: ReasonView | None
    usage: UsageFigures | None


class WorkerRow(msgspec.Struct, kw_only=True):
    """A worker: its models (several where they share it), what it runs, and since when it is told to leave."""

    id: str
    pool: str | None
    state: WorkerState
    beat_at: str
    beat_at_s: float
    models: list[WorkerModelView]
    jobs: list[HeldView]
    drain_asked_at: str | None
    drain_asked_at_s: float | None


class WorkerList(msgspec.Struct, kw_only=True):
    """Every worker that the broker has heard of lately."""

    object: Literal["list"] = "list"
    data: list[WorkerRow]


_ORDER = (  # of a worker with several models: what it is, is the busiest thing it does
    WorkerState.DRAINING,
    WorkerState.BUSY,
    WorkerState.READY,
    WorkerState.STARTING,
    WorkerState.FAILING,
    WorkerState.UNLOADED,
)


def operated_view(served: ServedModel, orders: Orders) -> OperatedView:
    """The orders on a model as they are."""
    name = served.queue
    pause, pin = orders.pauses.get(name), orders.pins.get(served.pool or name)
    newest = max((one for one in (pause, pin) if one is not None), key=lambda one: one.at_s, default=None)
    return OperatedView(
        model=name,
        pool=served.pool,
        paused=pause_view(pause),
        pinned=pin_view(pin),
        by=None if newest is None else newest.by,
    )


def worker_rows(
    views: Iterable[QueueView],
    running: Mapping[ModelName, Sequence[LiveJob]],
    now_s: float,
    *,
    drains: Mapping[WorkerId, Drain],
    pools: Mapping[ModelName, ModelName | None],
) -> list[WorkerRow]:
    """Every worker once, by name; running: jobs by model."""
    models: dict[WorkerId, list[WorkerModelView]] = {}
    beats: dict[WorkerId, float] = {}
    pool_of: dict[WorkerId, ModelName | None] = {}
    held: dict[WorkerId, list[HeldView]] = {}
    for view in views:
        for worker in view.workers:
            problem = worker.problem
            told = None if problem is None else ReasonView(code=problem.code, message=without_paths(problem.message))
            row = WorkerModelView(
                model=view.model, state=worker.state, held=worker.held, problem=told, usage=_usage(worker.usage)
            )
            models.setdefault(worker.worker, []).append(row)
            beats[worker.worker] = max(beats.get(worker.worker, 0.0), worker.beat_at_s)
            pool_of[worker.worker] = pools.get(view.model)
    for model, jobs in running.items():
        for job in jobs:
            if job.worker is not None:
                held.setdefault(job.worker, []).append(_held(job, model, now_s))
    return [
        WorkerRow(
            id=worker,
            pool=pool_of[worker],
            state=min((one.state for one in rows), key=_ORDER.index),
            beat_at=iso8601(beats[worker]),
            beat_at_s=beats[worker],
            models=rows,
            jobs=held.get(worker, []),
            drain_asked_at=iso8601(drains[worker].at_s) if worker in drains else None,
            drain_asked_at_s=drains[worker].at_s if worker in drains else None,
        )
        for worker, rows in sorted(models.items())
    ]


def _held(job: LiveJob, model: ModelName, now_s: float) -> HeldView:
    began_s = job.started_at_s
    return HeldView(
        job=job.id,
        model=model,
        attempt=job.attempt,
        running_s=None if began_s is None else round(max(0.0, now_s - began_s), 3),
        fraction=job.fraction,
        stage=job.stage,
    )


def _usage(usage: Usage | None) -> UsageFigures | None:
    if usage is None:
        return None
    return UsageFigures(
        cpus=usage.cpus,
        cpu=usage.cpu,
        memory_mb=usage.memory_mb,
        memory=usage.memory,
        gpu=usage.gpu,
        gpu_memory=usage.gpu_memory,
    )

"""Queue and fleet of every model at one time, gathered from the API: what `top` and `status` show.

What a key may not see, or nobody could measure, is None: a reader without the scope `admin` sees queues and decisions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import msgspec

from springtide.client import Forbidden, Model, Scaling, Springtide
from springtide.client.models import Decision, Sample
from springtide.client.operating import Worker

WINDOW_S = 60.0  # over which arrivals and utilisation are told


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model. Waits in seconds; shares from 0 to 1."""

    model: str
    pool: str | None
    paused: bool
    pinned: int | None
    queued: int | None
    running: int | None
    oldest_wait_s: float | None
    arrivals_per_min: float | None
    wait_s_p95: float | None
    ready: int
    busy: int
    loading: int
    draining: int
    failing: int
    busy_share: float | None  # of the time of replicas that are up
    gpu: float | None
    cpu: float | None
    problem: str | None
    decided_at_s: float | None
    decision: str | None  # such as 0 → 2
    reason: str | None
    because: str | None


class WorkerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One worker."""

    id: str
    state: str
    models: list[str]
    jobs: list[str]
    memory_mb: float | None
    gpu: float | None
    leaving: bool


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. workers: None where the key may not see them."""

    server: str
    at_s: float
    models: list[ModelRow]
    workers: list[WorkerLine] | None


def look(client: Springtide) -> Overview:
    """Ask the server. Raises what the client raises."""
    now_s = time.time()
    workers: list[Worker] | None
    try:
        workers = client.workers.list()
    except Forbidden:
        workers = None
    rows = [
        _row(model, client.models.scaling(model.name, limit=1, since_s=now_s - WINDOW_S), workers or ())
        for model in client.models.list()
    ]
    lines = None if workers is None else [_line(worker) for worker in workers]
    return Overview(server=client.url, at_s=now_s, models=rows, workers=lines)


def _row(model: Model, scaling: Scaling, workers: Sequence[Worker]) -> ModelRow:
    live, last = model.live, scaling.decisions[0] if scaling.decisions else None
    states = live.workers if live else None
    mine = [one.usage for worker in workers for one in worker.models if one.model == model.name and one.usage]
    return ModelRow(
        model=model.name,
        pool=scaling.pool,
        paused=model.paused is not None,
        pinned=model.pinned.replicas if model.pinned else None,
        queued=live.queued if live else None,
        running=live.running if live else None,
        oldest_wait_s=live.oldest_wait_s if live else None,
        arrivals_per_min=_arrivals(scaling.samples),
        wait_s_p95=scaling.samples[-1].wait_s_p95 if scaling.samples else None,
        ready=states.ready if states else 0,
        busy=states.busy if states else 0,
        loading=states.starting if states else 0,
        draining=states.draining if states else 0,
        failing=states.failing if states else 0,
        busy_share=_busy(scaling.samples),
        gpu=_mean([usage.gpu for usage in mine]),
        cpu=_mean([usage.cpu for usage in mine]),
        problem=live.problem.message if live and live.problem else None,
        decided_at_s=last.at_s if last else None,
        decision=_change(last) if last else None,
        reason=last.reason if last else None,
        because=last.message if last else None,
    )


def _line(worker: Worker) -> WorkerLine:
    usages = [one.usage for one in worker.models if one.usage]
    memories = [usage.memory_mb for usage in usages if usage.memory_mb is not None]
    return WorkerLine(
        id=worker.id,
        state=worker.state,
        models=[one.model for one in worker.models],
        jobs=[held.job for held in worker.jobs],
        memory_mb=sum(memories) if memories else None,
        gpu=_mean([usage.gpu for usage in usages]),
        leaving=worker.drain_asked_at_s is not None,
    )


def _arrivals(samples: Sequence[Sample]) -> float | None:
    counted = [one for one in samples if one.arrived is not None]
    if len(counted) < 2:
        return None
    past_s = counted[-1].at_s - counted[0].at_s
    return sum(one.arrived or 0 for one in counted[1:]) / past_s * 60.0 if past_s > 0 else None


def _busy(samples: Sequence[Sample]) -> float | None:
    ready = sum(one.ready for one in samples)
    return sum(one.busy for one in samples) / ready if ready else None


def _change(decision: Decision) -> str:
    return f"{decision.before} → {decision.replicas}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None

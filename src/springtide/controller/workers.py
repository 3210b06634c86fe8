"""What the workers of one pool say of themselves, put together: who is up, who fails, what they use.

Figures that are missing or older than three beats are left out: no data is not zero.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import msgspec

from springtide.domain.fleet import QueueView, Usage, WorkerView
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.lease import LEASE_TTL_S, WorkerState

USAGE_KEPT_S = LEASE_TTL_S  # three beats: older figures of a worker's use tell of another time


def together(name: ModelName, views: Sequence[QueueView]) -> QueueView:
    """The queues of one pool as if they were one: a worker of it is idle where it holds nothing of any, and up where it
    is up for one."""
    if len(views) == 1:
        return views[0]
    workers: dict[WorkerId, WorkerView] = {}
    for worker in (worker for view in views for worker in view.workers):
        known = workers.get(worker.worker)
        if known is None:
            workers[worker.worker] = msgspec.structs.replace(worker, model=name)
            continue
        best = worker if is_up(worker) or is_failing(known) else known
        both = _both(known.usage, worker.usage)
        workers[worker.worker] = msgspec.structs.replace(best, model=name, held=known.held + worker.held, usage=both)
    oldest = [view.oldest_enqueued_at_s for view in views if view.oldest_enqueued_at_s is not None]
    return QueueView(
        model=name,
        queued=sum(view.queued for view in views),
        leased=sum(view.leased for view in views),
        predicted_s=sum(view.predicted_s for view in views),
        oldest_enqueued_at_s=min(oldest, default=None),
        workers=tuple(workers.values()),
        taken_at_s=views[0].taken_at_s,
    )


def _both(one: Usage | None, other: Usage | None) -> Usage | None:
    """What two engines of one worker use: their sum, but of the GPUs they see the same."""
    if one is None or other is None:
        return one or other
    return Usage(
        at_s=min(one.at_s, other.at_s),
        cpus=_sum(one.cpus, other.cpus),
        cpu=_sum(one.cpu, other.cpu),
        memory_mb=_sum(one.memory_mb, other.memory_mb),
        memory=_sum(one.memory, other.memory),
        gpu=other.gpu if one.gpu is None else one.gpu,
        gpu_memory=other.gpu_memory if one.gpu_memory is None else one.gpu_memory,
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return (one or 0.0) + (other or 0.0) if one is not None or other is not None else None


def fresh_usages(workers: Iterable[WorkerView], now_s: float) -> list[Usage]:
    """What those say that have said it lately."""
    return [one.usage for one in workers if one.usage is not None and abs(now_s - one.usage.at_s) <= USAGE_KEPT_S]


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def is_up(worker: WorkerView) -> bool:
    """Whether it takes jobs. One that hosts several models and has this one unloaded does, after a load."""
    return worker.state in (WorkerState.READY, WorkerState.BUSY, WorkerState.UNLOADED)


def is_failing(worker: WorkerView | None) -> bool:
    return worker is not None and worker.state is WorkerState.FAILING

"""`utilization`: a share of time (or of memory) that replicas should be in use, as the Kubernetes autoscaler does."""

from __future__ import annotations

from typing import Literal

import msgspec

from springtide.policy.elastic.behavior import Behavior, BehaviorMemory, behave, from_utilization
from springtide.policy.elastic.bounds import Bounds, bounded, has_data
from springtide.policy.elastic.queue import no_data, settle
from springtide.policy.elastic.view import Advice, PoolView, Reason


class UtilizationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`signal` "busy" is the share of time that ready replicas ran a job, measured between looks; the others are what
    workers measure: time of GPUs, their memory, processors, memory."""

    bounds: Bounds = Bounds(min_replicas=1)
    signal: Literal["busy", "gpu", "gpu_memory", "cpu", "memory"] = "busy"
    target: float = 0.7
    behavior: Behavior = Behavior()


class UtilizationMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The counters at the last look."""

    busy_s: float = 0.0
    ready_s: float = 0.0
    behavior: BehaviorMemory = BehaviorMemory()


def decide(
    view: PoolView, memory: UtilizationMemory | None, settings: UtilizationSettings
) -> tuple[Advice, UtilizationMemory]:
    """Reasons: UTILIZATION, IDLE, HOLD, NO_DATA and those of the bounds. From zero it goes to one when jobs wait."""
    memory = memory or UtilizationMemory(busy_s=view.busy_s, ready_s=view.ready_s)
    now = view.replicas
    if not has_data(view, settings.bounds):
        return no_data(now), memory
    mean = _measured(view, memory, settings)
    memory = msgspec.structs.replace(memory, busy_s=view.busy_s, ready_s=view.ready_s)
    if now == 0:
        figures = {"waiting": float(view.waiting or 0)}
        return bounded(*settle(min(1, view.waiting or 0), view, Reason.QUEUE, figures), bounds=settings.bounds), memory
    if mean is None:
        return bounded(now, no_data(now), bounds=settings.bounds), memory
    wish = from_utilization(
        mean,
        settings.target,
        ready=view.ready,
        loading=len(view.loading_left_s),
        now=now,
        tolerance=settings.behavior.tolerance,
        missing=0 if settings.signal == "busy" or view.measured is None else max(0, view.ready - view.measured),
    )
    wish, behavior = behave(wish, now, view.now_s, memory=memory.behavior, behavior=settings.behavior)
    figures = {"utilization": mean, "target": settings.target}
    memory = msgspec.structs.replace(memory, behavior=behavior)
    return bounded(*settle(wish, view, Reason.UTILIZATION, figures), bounds=settings.bounds), memory


def _measured(view: PoolView, memory: UtilizationMemory, settings: UtilizationSettings) -> float | None:
    match settings.signal:
        case "gpu":
            return view.gpu_utilization
        case "gpu_memory":
            return view.gpu_memory
        case "cpu":
            return view.cpu_utilization
        case "memory":
            return view.memory_utilization
        case "busy":
            ready_s = view.ready_s - memory.ready_s
            return min(1.0, max(0.0, (view.busy_s - memory.busy_s) / ready_s)) if ready_s > 1e-6 else None

"""`trisignal`: one replica more when any of three figures is high, one fewer when all are low. For small fleets.

Times are seconds: a condition must have held for so long, whatever the rhythm of the looks.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from springtide.policy.elastic.bounds import Bounds, bounded, has_data
from springtide.policy.elastic.queue import no_data, settle
from springtide.policy.elastic.view import Advice, PoolView, Reason


class TrisignalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults as in the platform's design: memory, latency, queue."""

    bounds: Bounds = Bounds(min_replicas=1, max_replicas=3)
    memory: Literal["gpu_memory", "memory"] = "gpu_memory"  # whose: the GPUs', or the workers' own
    memory_high: float = 0.85
    memory_high_for_s: float = 30.0
    latency_high_s: float = 3.5
    queue_high: int = 8
    memory_low: float = 0.4
    latency_low_s: float = 1.5
    low_for_s: float = 120.0
    cooldown_s: float = 300.0


class TrisignalMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a condition holds, and when replicas last changed."""

    high_since_s: float | None = None
    low_since_s: float | None = None
    changed_at_s: float | None = None


def decide(
    view: PoolView, memory: TrisignalMemory | None, settings: TrisignalSettings
) -> tuple[Advice, TrisignalMemory]:
    """Reasons: QUEUE, UTILIZATION, LATENCY, IDLE, HOLD, COOLDOWN, NO_DATA and those of the bounds."""
    memory = memory or TrisignalMemory()
    now, now_s = view.replicas, view.now_s
    if not has_data(view, settings.bounds):
        return no_data(now), memory
    waiting = view.waiting or 0
    in_use = view.gpu_memory if settings.memory == "gpu_memory" else view.memory_utilization
    full = in_use is not None and in_use > settings.memory_high
    high_since_s = (memory.high_since_s if memory.high_since_s is not None else now_s) if full else None
    empty = (
        waiting == 0
        and in_use is not None
        and in_use < settings.memory_low
        and view.latency_s_p95 is not None
        and view.latency_s_p95 < settings.latency_low_s
    )
    low_since_s = (memory.low_since_s if memory.low_since_s is not None else now_s) if empty else None
    memory = TrisignalMemory(high_since_s=high_since_s, low_since_s=low_since_s, changed_at_s=memory.changed_at_s)
    up = _why_more(view, high_since_s, settings)
    wish = now + 1 if up is not None else now
    if up is None and low_since_s is not None and now_s - low_since_s >= settings.low_for_s:
        wish = now - 1
    loading = bool(view.loading_left_s)
    rested = memory.changed_at_s is None or now_s - memory.changed_at_s >= settings.cooldown_s
    if wish != now and (not rested or (wish > now and loading)) and not (now == 0 and waiting):
        held = Advice(replicas=now, wish=wish, reason=Reason.COOLDOWN, message="it has changed too recently")
        return bounded(now, held, bounds=settings.bounds), memory
    known = {settings.memory: in_use, "latency_s_p95": view.latency_s_p95}
    figures = {"waiting": float(waiting), **{name: value for name, value in known.items() if value is not None}}
    if wish == now and now > 0 and len(figures) < 3:
        return bounded(now, no_data(now), bounds=settings.bounds), memory
    advice = bounded(*settle(wish, view, up or Reason.QUEUE, figures), bounds=settings.bounds)
    if advice.replicas != now:
        memory = msgspec.structs.replace(memory, changed_at_s=now_s, high_since_s=None, low_since_s=None)
    return advice, memory


def _why_more(view: PoolView, high_since_s: float | None, settings: TrisignalSettings) -> Reason | None:
    waiting = view.waiting or 0
    if waiting >= settings.queue_high or (waiting and view.replicas == 0):
        return Reason.QUEUE
    if high_since_s is not None and view.now_s - high_since_s >= settings.memory_high_for_s:
        return Reason.UTILIZATION
    if view.latency_s_p95 is not None and view.latency_s_p95 > settings.latency_high_s:
        return Reason.LATENCY
    return None

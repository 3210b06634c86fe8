"""`queue`: so many waiting jobs a replica, as the Kubernetes autoscaler and KEDA do with an external metric."""

from __future__ import annotations

import msgspec

from springtide.policy.elastic.behavior import Behavior, BehaviorMemory, behave, from_average
from springtide.policy.elastic.bounds import Bounds, bounded, has_data
from springtide.policy.elastic.view import Advice, PoolView, Reason


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`target` jobs that wait (and, with `counts_running`, that run) for each replica."""

    bounds: Bounds = Bounds()
    target: float = 1.0
    counts_running: bool = True  # without it a queue that is served as fast as it grows looks like no load at all
    behavior: Behavior = Behavior()


def decide(view: PoolView, memory: BehaviorMemory | None, settings: QueueSettings) -> tuple[Advice, BehaviorMemory]:
    """Reasons: QUEUE, IDLE, HOLD, NO_DATA and those of the bounds."""
    memory = memory or BehaviorMemory()
    now = view.replicas
    if not has_data(view, settings.bounds):
        return no_data(now), memory
    assert view.waiting is not None
    total = float(view.waiting + (len(view.busy_left_s) + view.draining if settings.counts_running else 0))
    wish = from_average(total, settings.target, now, settings.behavior.tolerance)
    wish, memory = behave(wish, now, view.now_s, memory=memory, behavior=settings.behavior)
    figures = {"jobs": total, "target": settings.target}
    return bounded(*settle(wish, view, Reason.QUEUE, figures), bounds=settings.bounds), memory


def settle(wish: int, view: PoolView, up: Reason, figures: dict[str, float]) -> tuple[int, Advice]:
    """The wish, never below what is busy, and the advice that gives its reason."""
    now = view.replicas
    if wish < now:
        wish = max(wish, len(view.busy_left_s))
    reason = up if wish > now else Reason.IDLE if wish < now else Reason.HOLD
    shown = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
    return wish, Advice(replicas=wish, wish=wish, reason=reason, message=shown, figures=figures)


def no_data(now: int) -> Advice:
    """Hold, and say so."""
    return Advice(
        replicas=now, wish=now, reason=Reason.NO_DATA, message="a figure it needs is missing or too old; holding"
    )

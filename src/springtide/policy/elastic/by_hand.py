"""Where an operator's word stands before the policy's: a pin says how many, a pause that nothing is begun.

Of a model with both, the pin says how many stay: that is how a paused model is kept warm. Without one the replicas that
are there stay for a while, as most pauses are short and a start is dear, and then leave as they fall idle.
"""

from __future__ import annotations

from datetime import UTC, datetime

from springtide.domain.fleet import Decision
from springtide.domain.orders import Drain, Pause, Pin
from springtide.policy.elastic.view import Advice, PoolView, Reason

WARM_S = 300.0  # as `backlog` keeps idle replicas: a pause of five minutes costs no start


def paused(view: PoolView, pause: Pause, pin: Pin | None = None) -> Advice:
    """What a paused model has: its pin, else what it had, and after WARM_S only what runs."""
    is_short = view.now_s - pause.at_s < WARM_S
    if pin is not None:
        replicas, then = pin.replicas, f"{pin.replicas} stay by hand"
    elif is_short:
        replicas, then = view.replicas, f"what is there stays warm until {clock(pause.at_s + WARM_S)}"
    else:
        replicas, then = len(view.busy_left_s), "only what runs stays"
    message = f"paused by an operator since {clock(pause.at_s)}{_why(pause.note)}; {then}"
    figures = {"waiting": float(view.waiting)} if view.waiting is not None else {}
    return Advice(replicas=replicas, wish=replicas, reason=Reason.PAUSED, message=message, figures=figures)


def pinned(pin: Pin, wish: Decision) -> Advice:
    """What a pinned model has. wish: its policy's, told beside it."""
    until = "" if pin.until_s is None else f" until {clock(pin.until_s)}"
    message = f"{pin.replicas} by an operator's hand since {clock(pin.at_s)}{until}{_why(pin.note)}"
    if wish.replicas != pin.replicas:
        message += f"; the policy would have {wish.replicas} ({wish.reason})"
    return Advice(
        replicas=pin.replicas, wish=wish.replicas, reason=Reason.BY_HAND, message=message, figures=wish.figures
    )


def sent_away(drain: Drain) -> str:
    """Why a worker leaves."""
    return f"worker {drain.worker} was told by an operator to finish and leave{_why(drain.note)}"


def clock(at_s: float) -> str:
    """An instant as an operator reads it: the day is told by what stands around it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%m-%d %H:%M:%S UTC")


def _why(note: str | None) -> str:
    return f" ({note})" if note else ""

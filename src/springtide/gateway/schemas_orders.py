"""What operators have ordered by hand, as the API shows it."""

from __future__ import annotations

import msgspec

from springtide.domain.orders import Pause, Pin
from springtide.gateway.headers import iso8601


class PauseView(msgspec.Struct, kw_only=True):
    """Since when a model is paused, and why, in the operator's words."""

    at: str
    at_s: float
    note: str | None


class PinView(msgspec.Struct, kw_only=True):
    """Replicas by hand: since when, until when (null: until somebody takes it back), and why."""

    replicas: int
    at: str
    at_s: float
    until: str | None
    until_s: float | None
    note: str | None


def pause_view(pause: Pause | None) -> PauseView | None:
    if pause is None:
        return None
    return PauseView(at=iso8601(pause.at_s), at_s=pause.at_s, note=pause.note)


def pin_view(pin: Pin | None) -> PinView | None:
    if pin is None:
        return None
    return PinView(
        replicas=pin.replicas,
        at=iso8601(pin.at_s),
        at_s=pin.at_s,
        until=None if pin.until_s is None else iso8601(pin.until_s),
        until_s=pin.until_s,
        note=pin.note,
    )

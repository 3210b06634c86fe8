"""What operators have ordered, as the server tells it."""

from __future__ import annotations

import msgspec


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a model is paused, and why."""

    at: str
    at_s: float
    note: str | None = None


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas by hand. until: None: until somebody takes it back."""

    replicas: int
    at: str
    at_s: float
    until: str | None = None
    until_s: float | None = None
    note: str | None = None

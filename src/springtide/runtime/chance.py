"""Where chance comes from: one source for the process, which a simulation replaces by a seeded one.

Ids and back-off draw from here, so the same seed gives the same run. Not for secrets: those come from `secrets`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextvars import ContextVar

import uuid_utils


def _uuid7_hex() -> str:
    return uuid_utils.uuid7().hex


_draw: ContextVar[Callable[[], float]] = ContextVar("draw", default=random.random)
_new_hex: ContextVar[Callable[[], str]] = ContextVar("new_hex", default=_uuid7_hex)


def draw() -> float:
    """A random number in [0, 1)."""
    return _draw.get()()


def new_hex() -> str:
    """A new UUIDv7 in hex: unique for ever, and sorting by time."""
    return _new_hex.get()()


def replace(draw: Callable[[], float], new_hex: Callable[[], str]) -> None:
    """Other sources, in this context and in the tasks that are started in it from now on."""
    _draw.set(draw)
    _new_hex.set(new_hex)

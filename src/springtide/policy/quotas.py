"""Rates as a bucket that fills steadily: how many requests a tenant may make now, and when the next."""

from __future__ import annotations

import msgspec

MINUTE_S = 60.0


class Drawn(msgspec.Struct, frozen=True):
    """What became of one request."""

    left: float  # requests that may follow at once; below zero: this one was one too many
    full_in_s: float  # until the whole allowance is there again
    next_in_s: float  # until one more may come


class Bucket:
    """So many requests a minute, all of them at once where nothing came before."""

    __slots__ = ("_at_s", "_left", "per_minute")

    def __init__(self, per_minute: int, now_s: float) -> None:
        self.per_minute = per_minute
        self._left = float(per_minute)
        self._at_s = now_s

    def draw(self, now_s: float) -> Drawn:
        """Take one out, if there is one. now_s: of a clock that never goes back."""
        rate = self.per_minute / MINUTE_S
        left = min(float(self.per_minute), self._left + (now_s - self._at_s) * rate)
        self._at_s = now_s
        self._left = left - 1.0 if left >= 1.0 else left
        shown = left - 1.0
        return Drawn(shown, (self.per_minute - self._left) / rate, max(0.0, (1.0 - self._left) / rate))

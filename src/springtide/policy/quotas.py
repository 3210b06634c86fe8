"""Rates as a bucket that fills steadily: how many requests a tenant may make now, and when the next."""

from __future__ import annotations

MINUTE_S = 60.0


class Bucket:
    """So many requests a minute, all of them at once where nothing came before."""

    __slots__ = ("_at_s", "left", "per_minute")

    def __init__(self, per_minute: int, now_s: float) -> None:
        self.per_minute = per_minute
        self.left = float(per_minute)  # requests that may follow at once
        self._at_s = now_s

    def draw(self, now_s: float) -> bool:
        """Take one out; False where there is none. now_s: of a clock that never goes back."""
        left = self.left + (now_s - self._at_s) * self.per_minute / MINUTE_S
        self._at_s = now_s
        if left > self.per_minute:
            left = float(self.per_minute)
        if left < 1.0:
            self.left = left
            return False
        self.left = left - 1.0
        return True

    @property
    def full_in_s(self) -> float:
        """Until the whole allowance is there again."""
        return (self.per_minute - self.left) * MINUTE_S / self.per_minute

    @property
    def next_in_s(self) -> float:
        """Until one more may come."""
        return max(0.0, (1.0 - self.left) * MINUTE_S / self.per_minute)

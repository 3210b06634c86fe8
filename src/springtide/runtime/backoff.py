"""Waiting longer after each failure, never in step with others."""

from __future__ import annotations

from collections.abc import Callable

from springtide.runtime.chance import draw


class Backoff:
    """Exponential delays with full jitter on the upper half: `next_s()` after a failure, `reset()` after a success."""

    def __init__(self, first_s: float, most_s: float, *, rand: Callable[[], float] = draw) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._rand = rand
        self.failures = 0

    def next_s(self) -> float:
        delay = min(self._most_s, self._first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return delay * (0.5 + self._rand() / 2)

    def reset(self) -> None:
        self.failures = 0

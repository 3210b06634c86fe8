"""How many jobs may share a run: fewer once memory ran out, slowly more again. One per worker, as long as it lives.

Memory that ran out under n jobs halves what is allowed from n. A job that runs out of memory by itself was the cause
all along: then the size from before goes on, or one greedy job would slow down everybody after it. What is allowed
grows by one after a number of full batches that went well; that number doubles with each lesson, since an attempt at
more may cost a process and its loaded model.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

GROW_AFTER = 16  # full batches: a minute or so of work that went well
GROW_AFTER_MOST = 1024


class BatchSize:
    """`now` is the most that may run together."""

    def __init__(self, most: int) -> None:
        self.now = most
        self._most = most
        self._before: int | None = None  # the size before memory ran out, until something is learnt from it
        self._went_well = 0.0
        self._grow_after = GROW_AFTER

    def fit(self, most: int) -> None:
        """The engine cannot do more than this."""
        self._most = min(self._most, most)
        self.now = min(self.now, most)

    def ran_out(self, together: int) -> None:
        """Memory ran out in a run of so many jobs."""
        if together > 1:
            self._shrink(together)
        elif self._before is not None:
            log.info("one job alone runs out of memory: up to %d together again", self._before)
            self.now, self._before = self._before, None

    def went_well(self, together: int) -> None:
        """One job of a run of so many gave its result."""
        if self.now >= self._most or together < self.now:
            return
        self._went_well += 1.0 / together
        if self._went_well < self._grow_after:
            return
        self.now += 1
        self._before, self._went_well = None, 0.0
        log.info("up to %d jobs together after %d full batches that went well", self.now, self._grow_after)

    def _shrink(self, together: int) -> None:
        allowed = max(1, together // 2)
        if allowed >= self.now:  # from a time before the last lesson
            return
        if self._before is None:
            self._before = self.now
            self._grow_after = min(2 * self._grow_after, GROW_AFTER_MOST)
        self.now, self._went_well = allowed, 0.0
        log.warning("out of memory with %d jobs together: at most %d from now on", together, allowed)

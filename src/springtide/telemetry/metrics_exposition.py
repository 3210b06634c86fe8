"""What is answered to a scrape: looks first at what nobody counts along the way, then writes the text.

Promises: an answer within a few seconds, whatever is down: a look that fails or takes too long leaves its gauges out.
Asked twice within a second the answer is the same, so that a scraper gone mad costs one look a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from springtide.domain.clock import Clock
from springtide.runtime.loops import standing
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import LOOP_FAILURES, LOOP_SUCCESS

log = logging.getLogger(__name__)
KEPT_S = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Look = Callable[[], Awaitable[None]]  # sets gauges; raises nothing and bounds its own time


class Exposition:
    """Answers scrapes of one process."""

    def __init__(self, metrics: Metrics, clock: Clock, looks: Sequence[Look] = ()) -> None:
        self.metrics = metrics
        self._clock = clock
        self._looks = looks
        self._text = b""
        self._at_s: float | None = None
        self._looking = asyncio.Lock()

    async def text(self) -> bytes:
        """The metrics in Prometheus' text format, of CONTENT_TYPE."""
        from springtide.telemetry.metrics_text import text_of

        async with self._looking:
            began_s = self._clock.monotonic_s()
            if self._at_s is None or began_s - self._at_s >= KEPT_S:
                tell_loops(self.metrics)
                await asyncio.gather(*(look() for look in self._looks))
                self._text = text_of(self.metrics, self._clock.now_s())
                self._at_s = began_s
            return self._text


def tell_loops(metrics: Metrics) -> None:
    """How the background loops of this process stand."""
    metrics.forget(LOOP_SUCCESS, LOOP_FAILURES)
    for loop in standing():
        metrics.set(LOOP_FAILURES, loop.name, value=loop.failures)
        if loop.succeeded_at_s is not None:
            metrics.set(LOOP_SUCCESS, loop.name, value=loop.succeeded_at_s)

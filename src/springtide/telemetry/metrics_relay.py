"""From the processes of `springtide up` to the one that is scraped: what they count goes over the broker's socket.

Promises: what is counted is told within a few seconds and once, also by a worker that leaves; while nobody listens it
is kept, in bounded memory. A process that is killed takes its last few seconds of counting with it.
"""

from __future__ import annotations

import asyncio
import logging

from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, SpringtideError, Unavailable
from springtide.runtime.loops import Loop
from springtide.telemetry.metrics import Metrics, MetricsBoard, Told
from springtide.telemetry.metrics_catalogue import CATALOGUE
from springtide.telemetry.metrics_exposition import tell_loops

log = logging.getLogger(__name__)
TELL_EVERY_S = 5.0  # a third of a usual scrape interval
LAST_WORD_S = 1.0  # nobody waits longer at the end for a listener that may have gone


class Board:
    """A `MetricsBoard` on the metrics of the process that is scraped."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def report_metrics(self, told: Told) -> None:
        self._metrics.take_in(told, CATALOGUE, self._clock.now_s())


class Relay:
    """A service: `start`, `stop`. Tells a board what this process counts."""

    def __init__(self, metrics: Metrics, board: MetricsBoard, source: str, clock: Clock) -> None:
        self._metrics = metrics
        self._board = board
        self._source = source
        self._loop = Loop("metrics", self.tell, every_s=TELL_EVERY_S, clock=clock)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Tells the rest, where somebody listens."""
        await self._loop.stop()
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self.tell()
        except (SpringtideError, TimeoutError) as error:
            log.debug("the last metrics are lost: %s", error)

    async def tell(self) -> None:
        """Once. Raises Unavailable with nothing lost, or OutcomeUnknown: then it may be told already, and is not told
        again (a little too low is better than a rate that never was)."""
        tell_loops(self._metrics)
        told = self._metrics.take(self._source)
        try:
            await self._board.report_metrics(told)
        except OutcomeUnknown:
            raise
        except Unavailable:
            self._metrics.count_in(told, CATALOGUE)
            raise

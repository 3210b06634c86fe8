"""Takes back what dead workers held, on a timer and never on traffic: an idle queue recovers as fast as a busy one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.ids import ModelName
from springtide.domain.lease import LEASE_TTL_S
from springtide.runtime.loops import Loop
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import LEASES_EXPIRED

log = logging.getLogger(__name__)
REAP_EVERY_S = 1.0


class Reaper:
    """A service: `start`, `stop`."""

    def __init__(
        self,
        broker: Broker,
        models: Sequence[ModelName],
        clock: Clock,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._broker = broker
        self._models = models
        self._clock = clock
        self._last_s: float | None = None
        self._patient_until_s = 0.0
        self._loop = Loop("reaper", self.reap_once, every_s=REAP_EVERY_S, clock=clock)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    async def reap_once(self) -> None:
        """One round. After a gap (the broker was away, the laptop suspended, the clock stepped) workers get one TTL to
        beat first: it was not they who were silent."""
        now_s = self._clock.now_s()
        gap_s = 0.0 if self._last_s is None else now_s - self._last_s
        if abs(gap_s) > LEASE_TTL_S / 2:
            await self._broker.queues(
                self._models, now_s
            )  # while it is away the gap grows, and patience does not begin
            self._patient_until_s = now_s + LEASE_TTL_S
            log.warning("%.0f s went by without a look at leases; workers get %.0f s to beat", gap_s, LEASE_TTL_S)
        if not now_s < self._patient_until_s <= now_s + LEASE_TTL_S:
            for job in await self._broker.reap(self._models, now_s):
                self._metrics.add(LEASES_EXPIRED)
                log.warning("took back %s: its worker fell silent", job)
        self._last_s = now_s

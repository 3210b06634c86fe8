"""The heartbeat: says every few seconds, or at once where there is news, what is held and how the worker is; and acts
on the answer, what was cancelled and what was lost.

Promises that a broker that was emptied interrupts nothing: what it does not know goes on until it has been told again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.fleet import Usage
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import JobError, JobRef
from springtide.domain.lease import BEAT_EVERY_S, LEASE_TTL_S, WorkerState
from springtide.runtime.waiting import first_of
from springtide.worker.attempts import Attempts
from springtide.worker.groups import GroupAttempts

log = logging.getLogger(__name__)

UNKNOWN_BEAT_S = 1.0  # while the broker lacks a job that is held: be there when it is put back
UNKNOWN_PATIENCE_S = 4 * LEASE_TTL_S  # an emptied broker is filled again within seconds, a large ledger takes longer

Standing = tuple[WorkerState, JobError | None]


class Heartbeat:
    """`beat_once`, again and again."""

    def __init__(
        self,
        model: ModelName,
        worker: WorkerId,
        *,
        broker: Broker,
        clock: Clock,
        attempts: Attempts | GroupAttempts,
        tell: Callable[[], Standing],
    ) -> None:
        """tell: the worker's state now, and why its engine does not load, if it does not."""
        self._model = model
        self._id = worker
        self._broker = broker
        self._clock = clock
        self._attempts = attempts
        self._tell = tell
        self._told: tuple[WorkerState | None, JobError | None] = (None, None)
        self._due = asyncio.Event()
        self._unknown: dict[JobId, float] = {}  # held and not known to the broker -> since when
        self.usage: Usage | None = None  # what the newest measure found
        self.in_touch = asyncio.Event()  # the broker has heard what is held since it was last away

    def hasten(self) -> None:
        """Beat now."""
        self._due.set()

    def lose_touch(self) -> None:
        """The broker did not answer: it may have forgotten what is held."""
        self.in_touch.clear()
        self._due.set()

    def look(self) -> None:
        """Something has changed: where that is news for others, beat now."""
        state, problem = self._tell()
        told_state, told_problem = self._told
        is_news = state is not told_state and {state, told_state} != {WorkerState.BUSY, WorkerState.READY}
        if is_news or problem is not told_problem:
            self._due.set()

    async def beat_once(self) -> None:
        self._due.clear()
        held = self._attempts.held()
        state, problem = self._told = self._tell()
        now_s = self._clock.now_s()
        reply = await self._broker.beat(self._model, self._id, held, state, now_s, problem=problem, usage=self.usage)
        self.in_touch.set()
        said = {each.id: each.attempt for each in held}
        lost = [job for job in reply.lost if job in said and self._attempts.attempt_of(job) == said[job]]
        for job in await self._gone(lost) if lost or self._unknown else ():
            if self._attempts.attempt_of(job) == said[job]:
                self._attempts.drop(job)
        self._attempts.cancel(reply.cancelled)
        pause_s = UNKNOWN_BEAT_S if self._unknown else BEAT_EVERY_S
        await first_of(self._due.wait(), self._clock.sleep(pause_s))

    async def _gone(self, lost: list[JobId]) -> list[JobId]:
        """Those of `lost` that are somebody else's, or over. The others are unknown to the broker: it was emptied, and
        they are held on to until they have been put back."""
        now_s = self._clock.monotonic_s()
        seen = await self._broker.peek([JobRef(self._model, job) for job in lost], self._clock.now_s()) if lost else []
        unknown = [job for job, found in zip(lost, seen, strict=True) if found is None]
        if unknown and not self._unknown:
            log.warning("the broker has forgotten %d job(s) that are held here; they go on", len(unknown))
        self._unknown = {job: self._unknown.get(job, now_s) for job in unknown}
        patient = {job for job, since_s in self._unknown.items() if now_s - since_s < UNKNOWN_PATIENCE_S}
        return [job for job in lost if job not in patient]

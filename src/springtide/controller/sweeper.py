"""Puts back into the broker every job that is in the ledger, not ended, and not in the broker.

The same path serves a lost enqueue, an emptied Redis, a restored old copy of it, and the start of an embedded broker. A
job may end between two looks, so whatever seems missing is looked up in the ledger once more before it is enqueued.
Each sweep first says how the queues are shared: an emptied broker has forgotten that as well. A model that an operator
has paused is said to have no room at all, as soon as the order is on record.

Jobs that waited for an aborted version are left to who moves them (`rollouts`): in its queue they would run there.

Jobs of a model that is not configured here are left alone: a rolling change may bring it, or bring it back. Unknown for
REMOVED_AFTER_S on end, a job is recorded as failed (`model_removed`): nobody would ever run it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

import msgspec

from springtide.broker.protocol import Broker
from springtide.controller.rollouts import retired_of
from springtide.domain.clock import Clock
from springtide.domain.ids import JobId, ModelName
from springtide.domain.job import JobError, JobStatus
from springtide.domain.orders import in_force
from springtide.domain.tenant import Discipline
from springtide.domain.tickets import end_of, ticket_of
from springtide.ledger.orders import OrderBook
from springtide.ledger.protocol import Ledger, LiveRef
from springtide.ledger.rollouts import Rollouts
from springtide.policy.waiting import REMOVED_AFTER_S
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
SWEEP_EVERY_S = 5.0
PAUSE_EVERY_S = 0.5  # an operator who has paused a model watches the next job begin, or not
SETTLE_S = 5.0  # a job younger than this is still on its way from the ledger to the broker
PAGE = 500


class Sweeper:
    """A service: `start`, `stop`; `sweep` by hand for the rebuild at start."""

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        models: Sequence[ModelName],
        clock: Clock,
        *,
        disciplines: Mapping[ModelName, Discipline] | None = None,
        book: OrderBook | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        """book: where it is written which models are paused. rollouts: which versions were aborted."""
        self._broker = broker
        self._ledger = ledger
        self._models = frozenset(models)
        self._clock = clock
        self._since_s = clock.monotonic_s()  # as long as this, at most, a model has been unknown here
        self._told: set[ModelName] = set()
        self._disciplines = {model: Discipline() for model in models} | dict(disciplines or {})
        self._book = book
        self._rollouts = rollouts
        self._said: dict[ModelName, Discipline] = {}
        self._saying = asyncio.Lock()
        self._loops = [Loop("sweep", self._sweep_settled, every_s=SWEEP_EVERY_S, clock=clock)]
        if book is not None:
            self._loops.append(Loop("pauses", self._say_changes, every_s=PAUSE_EVERY_S, clock=clock))

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        for loop in self._loops:
            await loop.stop()

    async def sweep(self, *, settle_s: float = 0.0) -> int:
        """Put back what is missing; returns how many jobs."""
        await self._say_disciplines(again=True)
        put_back, after = 0, None
        while True:
            jobs = await self._ledger.live(after=after, limit=PAGE, created_before_s=math.inf)
            if not jobs:
                return put_back
            # By this clock's age and no other measure: where the clock was set back, jobs are from the future.
            now_s = self._clock.now_s()
            jobs_of_age = [job for job in jobs if not 0 <= now_s - job.created_at_s < settle_s]
            put_back += await self._put_back([job for job in jobs_of_age if job.queue in self._models])
            await self._end_removed([job for job in jobs_of_age if job.queue not in self._models])
            after = jobs[-1].id

    async def _say_changes(self) -> None:
        await self._say_disciplines(again=False)

    async def _say_disciplines(self, *, again: bool) -> None:
        """Tell the broker how queues are shared: what has changed, or with `again` everything. One at a time, so that
        what was read last is said last."""
        async with self._saying:
            orders = [] if self._book is None else await self._book.all_orders()
            pauses = in_force(orders, self._clock.now_s()).pauses
            for model, usual in self._disciplines.items():
                due = msgspec.structs.replace(usual, max_running=0) if model in pauses else usual
                if again or self._said.get(model) != due:
                    await self._broker.configure(model, due)
                    self._said[model] = due

    async def _sweep_settled(self) -> None:
        count = await self.sweep(settle_s=SETTLE_S)
        if count:
            log.warning("put %d jobs back into the broker that were only in the ledger", count)

    async def _end_removed(self, jobs: Sequence[LiveRef]) -> None:
        """Fail jobs of models that have been unknown for long enough. A broker that outlived the model may still queue
        some of them: they are taken out there, so that none runs should the model ever come back."""
        now_s = self._clock.now_s()
        for model in sorted({job.queue for job in jobs} - self._told):
            self._told.add(model)
            log.warning("jobs wait for model %s, which is not configured; they fail after %g s", model, REMOVED_AFTER_S)
        unknown_s = self._clock.monotonic_s() - self._since_s  # a clock that is set ahead makes nothing old
        due = [job for job in jobs if min(unknown_s, now_s - job.created_at_s) >= REMOVED_AFTER_S]
        if not due:
            return
        whole = await self._ledger.get([job.id for job in due])
        ends = [end_of(job, JobStatus.FAILED, now_s, error=_removed(job.queue)) for job in whole if job is not None]
        ended = sum(await self._ledger.record(ends))
        log.error("failed %d job(s) whose model is not configured any more", ended)
        await self._broker.cancel([job.ref for job in due], now_s)

    async def _put_back(self, jobs: Sequence[LiveRef]) -> int:
        now_s = self._clock.now_s()
        known = await self._broker.known([job.ref for job in jobs])
        missing: list[JobId] = [job.id for job, is_known in zip(jobs, known, strict=True) if not is_known]
        if not missing:
            return 0
        again = [job for job in await self._ledger.get(missing) if job is not None and not job.status.is_terminal]
        retired = await self._retired() if any(job.unit is not None for job in again) else frozenset[ModelName]()
        tickets = [ticket_of(job) for job in again if job.is_pinned or job.queue not in retired]
        return sum(await self._broker.enqueue(tickets, now_s)) if tickets else 0

    async def _retired(self) -> frozenset[ModelName]:
        rollouts = [] if self._rollouts is None else await self._rollouts.rollouts()
        return frozenset(each.unit for each in retired_of(rollouts, self._models))


def _removed(model: ModelName) -> JobError:
    message = f"the model {model!r} was taken out of the configuration before the job could run"
    return JobError(code="model_removed", message=message, retryable=True)  # once it is served again

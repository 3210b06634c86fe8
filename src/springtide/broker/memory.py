"""The embedded broker: everything in this process's memory, nothing on disk.

Promises what `broker.protocol` promises, for as long as the process lives; the ledger rebuilds it after a restart by
the same path that recovers a lost Redis. Single-threaded: all calls come from one event loop, and only calls with a
`wait_s` ever suspend. `remote` serves it to other processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from springtide.broker.memory_events import Stories
from springtide.broker.memory_jobs import Beat, ModelJobs
from springtide.broker.memory_outcomes import Outcomes, Seqs
from springtide.broker.memory_waits import Waits
from springtide.domain.fleet import QueueView, Usage
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import JobError, JobRef, JobStatus
from springtide.domain.lease import (
    BeatReply,
    Completion,
    Failure,
    Held,
    Lease,
    LiveEvent,
    LiveJob,
    Outcome,
    Progress,
    Ticket,
    WakeUp,
    WorkerState,
)
from springtide.domain.tenant import Discipline


class MemoryBroker:
    """A `Broker` in memory."""

    def __init__(self) -> None:
        self._seqs = Seqs()
        self._waits = Waits()
        self._stories = Stories(self._waits)
        self._outcomes = Outcomes()
        self._models: dict[ModelName, ModelJobs] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    # --- the way in -------------------------------------------------------------------------------------------------

    async def configure(self, model: ModelName, discipline: Discipline) -> None:
        self._of(model).configure(discipline)

    async def enqueue(self, tickets: Sequence[Ticket], now_s: float) -> list[bool]:
        return [self._of(ticket.model).enqueue(ticket, now_s) for ticket in tickets]

    async def cancel(self, refs: Sequence[JobRef], now_s: float) -> list[JobStatus | None]:
        return [self._of(ref.model).cancel(ref.id, now_s) for ref in refs]

    async def withdraw(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        return [self._of(ref.model).withdraw(ref.id) for ref in refs]

    # --- workers ----------------------------------------------------------------------------------------------------

    async def lease(
        self, model: ModelName, worker: WorkerId, max_jobs: int, now_s: float, *, min_wait_s: float = 0.0
    ) -> list[Lease]:
        return self._of(model).lease(worker, max_jobs, now_s, min_wait_s)

    async def beat(
        self,
        model: ModelName,
        worker: WorkerId,
        held: Sequence[Held],
        state: WorkerState,
        now_s: float,
        *,
        problem: JobError | None = None,
        usage: Usage | None = None,
    ) -> BeatReply:
        return self._of(model).beat(worker, held, Beat(now_s, state, problem, usage))

    async def complete(
        self, model: ModelName, worker: WorkerId, done: Sequence[Completion], now_s: float
    ) -> list[bool]:
        jobs = self._of(model)
        return [jobs.complete(worker, one, now_s) for one in done]

    async def fail(self, model: ModelName, worker: WorkerId, failed: Sequence[Failure], now_s: float) -> list[bool]:
        jobs = self._of(model)
        return [jobs.fail(worker, one, now_s) for one in failed]

    async def release(self, model: ModelName, worker: WorkerId, held: Sequence[Held], now_s: float) -> list[bool]:
        jobs = self._of(model)
        return [jobs.release(worker, one, now_s) for one in held]

    async def leave(self, model: ModelName, worker: WorkerId, now_s: float) -> None:
        self._of(model).leave(worker, now_s)

    async def wake(self, model: ModelName, worker: WorkerId, *, for_work: bool, wait_s: float) -> WakeUp:
        jobs = self._of(model)
        woken = _look(jobs, worker, for_work)
        if wait_s <= 0 or woken.work or woken.cancelled:
            return woken
        work, cancel = ("work", model), ("cancel", model, worker)
        rung = await self._waits.wait(*((work, cancel) if for_work else (cancel,)), wait_s=wait_s)
        return WakeUp(work=rung == work, cancelled=jobs.tell_cancels(worker))

    # --- live events ------------------------------------------------------------------------------------------------

    async def publish(
        self, model: ModelName, worker: WorkerId, progress: Sequence[Progress], now_s: float
    ) -> list[bool]:
        jobs = self._of(model)
        return [jobs.publish(worker, one, now_s) for one in progress]

    async def announce(self, model: ModelName, events: Sequence[LiveEvent]) -> None:
        for event in events:
            self._tell(event)

    async def read_events(
        self, ref: JobRef, after: str | None, *, wait_s: float = 0.0, to_end: bool = False
    ) -> list[LiveEvent]:
        if wait_s > 0 and not (self._stories.is_told(ref.id) or (self._stories.has_news(ref.id, after) and not to_end)):
            await self._waits.wait(("end" if to_end else "events", ref.id), wait_s=wait_s)
        return self._stories.read(ref.id, after)

    # --- the record -------------------------------------------------------------------------------------------------

    async def read_outcomes(self, max_outcomes: int, *, wait_s: float = 0.0) -> list[Outcome]:
        if not self._outcomes and wait_s > 0:
            await self._waits.wait(("outcomes",), wait_s=wait_s)
        return self._outcomes.read(max_outcomes)

    async def ack_outcomes(
        self, outcomes: Sequence[Outcome], now_s: float, *, announce: Sequence[LiveEvent] = ()
    ) -> None:
        for event in announce:
            self._tell(event)
        for outcome in self._outcomes.ack(outcomes):
            if outcome.status.is_terminal:
                self._of(outcome.model).bury(outcome.id, now_s)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def peek(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        return [self._of(ref.model).peek(ref.id) for ref in refs]

    async def known(self, refs: Sequence[JobRef]) -> list[bool]:
        return [self._of(ref.model).knows(ref.id) for ref in refs]

    async def queues(self, models: Sequence[ModelName], now_s: float) -> list[QueueView]:
        return [self._of(model).view(now_s) for model in models]

    async def held(self, models: Sequence[ModelName], now_s: float, *, min_age_s: float) -> list[LiveJob]:
        return [job for model in models for job in self._of(model).held(now_s, min_age_s)]

    async def reap(self, models: Sequence[ModelName], now_s: float) -> list[JobId]:
        self._stories.forget(now_s)
        return [job for model in models for job in self._of(model).reap(now_s)]

    def _tell(self, event: LiveEvent) -> None:
        self._stories.add(
            event.job,
            event.kind,
            event.at_s,
            attempt=event.attempt,
            fraction=event.fraction,
            stage=event.stage,
            error=event.error,
        )

    def _of(self, model: ModelName) -> ModelJobs:
        jobs = self._models.get(model)
        if jobs is None:
            jobs = self._models[model] = ModelJobs(
                model, seqs=self._seqs, stories=self._stories, outcomes=self._outcomes, waits=self._waits
            )
        return jobs


def _look(jobs: ModelJobs, worker: WorkerId, for_work: bool) -> WakeUp:
    return WakeUp(work=for_work and jobs.has_work, cancelled=jobs.tell_cancels(worker))

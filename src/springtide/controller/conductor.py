"""Leads pipelines from step to step: observe (the record) → decide (`policy.pipelines`) → submit, stop or end.

Woken by the recorder the moment a step's end is on record, so a hand-over costs one commit and no wait.
What a crash left undone, a slow round over the live pipelines does; every act may be repeated, also by two conductors
at once: a step's job has one possible id, an end is written once, enqueueing and cancelling are idempotent.

Order: commit the next step → enqueue it → say so. A wish to cancel is looked for again after the commit: who asks for
it writes the wish first and looks for a running step then, so one of the two always sees the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.ids import JobId
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import LiveEvent, LiveJob, Outcome
from springtide.domain.tickets import ticket_of
from springtide.ledger.protocol import Ledger
from springtide.policy.pipelines import End, Steps, Stop, Submit, decide, events_ref, plan_of, step_jobs
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
LOOK_EVERY_S = 5.0  # as the sweep: only what a crash or a lost wake-up left behind waits for it
PAGE = 100  # pipelines at once: with sixteen steps each still a few milliseconds of reading


class Conductor:
    """A service: `start`, `stop`; `nudge` when steps have ended."""

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        clock: Clock,
        *,
        on_recorded: Callable[[Sequence[Outcome], Sequence[bool]], None] | None = None,
    ) -> None:
        """on_recorded: told the ends of pipelines that are on record now."""
        self._on_recorded = on_recorded
        self._broker = broker
        self._ledger = ledger
        self._clock = clock
        self._due: dict[JobId, None] = {}  # pipelines to look at, in the order they were named
        self._is_due = asyncio.Event()
        self._looking = asyncio.Lock()
        self._loops = [
            Loop("conductor", self.conduct_due, every_s=0.0, clock=clock),
            Loop("conductor's round", self.conduct_all, every_s=LOOK_EVERY_S, clock=clock),
        ]

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stops at once; whoever comes next goes on from the record."""
        for loop in self._loops:
            await loop.stop()

    def nudge(self, pipelines: Iterable[JobId]) -> None:
        """Something happened to a step of each of these."""
        self._due.update(dict.fromkeys(pipelines))
        if self._due:
            self._is_due.set()

    async def conduct_due(self) -> None:
        """Wait for a nudge, then lead on whatever is due. Where that fails, it stays due."""
        await self._is_due.wait()
        batch = list(self._due)[:PAGE]
        for pipeline in batch:  # before looking: a nudge from now on means another look
            del self._due[pipeline]
        if not self._due:
            self._is_due.clear()
        try:
            await self.conduct(batch)
        except BaseException:
            self.nudge(batch)
            raise

    async def conduct_all(self) -> None:
        """One round over every live pipeline."""
        after: JobId | None = None
        while page := await self._ledger.live_pipelines(after=after, limit=PAGE):
            await self._lead_on([job.id for job in page])
            after = page[-1].id

    async def conduct(self, pipelines: Sequence[JobId]) -> None:
        """Look at these pipelines once and do what is due."""
        await self._lead_on(pipelines)

    async def _lead_on(self, pipelines: Sequence[JobId]) -> None:
        # One look at a time: what one has decided must be on record before another ends the whole.
        async with self._looking:
            await self._look_and_lead(pipelines)

    async def _look_and_lead(self, ids: Sequence[JobId]) -> None:
        pipelines = [job for job in await self._ledger.get(ids) if job is not None and job.plan]
        wanted = [step_jobs(pipeline) for pipeline in pipelines]
        found = iter(await self._ledger.get([job for jobs in wanted for job in jobs]))
        now_s = self._clock.now_s()
        submits: list[tuple[Job, Submit]] = []
        ends: list[tuple[Job, End]] = []
        stops: list[Stop] = []
        for pipeline, jobs in zip(pipelines, wanted, strict=True):
            match _decided(pipeline, [next(found) for _ in jobs], now_s):
                case Submit() as submit:
                    submits.append((pipeline, submit))
                case Stop() as stop:
                    stops.append(stop)
                case End() as end:
                    ends.append((pipeline, end))
                case None:
                    pass
        await self._end(ends)
        await self._submit(submits, now_s)
        if stops:
            await self._broker.cancel([stop.ref for stop in stops], now_s)

    async def _submit(self, due: Sequence[tuple[Job, Submit]], now_s: float) -> None:
        if not due:
            return
        jobs = [submit.job for _, submit in due]
        began = [_begun(*each) for each in due if each[0].status is JobStatus.QUEUED and each[1].began_at_s is not None]
        inserted, _ = await asyncio.gather(self._ledger.insert(jobs), self._ledger.record_running(began))
        tickets = [ticket_of(each.job) for each in inserted if not each.job.status.is_terminal]
        await self._broker.enqueue(tickets, now_s)
        await self._say([(parent, _handover(parent, submit.job, now_s)) for parent, submit in due])
        again = await self._ledger.get([parent.id for parent, _ in due])
        self.nudge(job.id for job in again if job is not None and job.cancel_asked_at_s is not None)

    async def _end(self, due: Sequence[tuple[Job, End]]) -> None:
        if not due:
            return
        is_end = await self._ledger.record([end.outcome for _, end in due])
        if self._on_recorded is not None:
            self._on_recorded([end.outcome for _, end in due], is_end)
        await self._say([(parent, _told(end.outcome)) for (parent, end), won in zip(due, is_end, strict=True) if won])

    async def _say(self, events: Sequence[tuple[Job, LiveEvent]]) -> None:
        for pipeline, event in events:
            await self._broker.announce(events_ref(pipeline).model, [event])


def _decided(pipeline: Job, steps: Steps, now_s: float) -> Submit | Stop | End | None:
    """What to do; nothing where the plan makes no sense (a defect): one broken plan must not hold up the others."""
    try:
        return decide(pipeline, steps, now_s)
    except Exception:
        log.exception("pipeline %s cannot be led on", pipeline.id)
        return None


def _handover(pipeline: Job, job: Job, now_s: float) -> LiveEvent:
    assert job.step is not None
    return LiveEvent(seq="", job=pipeline.id, kind="progress", at_s=now_s, stage=plan_of(pipeline).steps[job.step].name)


def _begun(pipeline: Job, submit: Submit) -> LiveJob:
    """A pipeline is noted as in progress with its second step: that a job runs is not on record at once either."""
    return LiveJob(id=pipeline.id, status=JobStatus.IN_PROGRESS, attempt=1, started_at_s=submit.began_at_s)


def _told(outcome: Outcome) -> LiveEvent:
    error = outcome.error and msgspec.structs.replace(outcome.error, details={})
    return LiveEvent(
        seq="", job=outcome.id, kind=outcome.status.value, at_s=outcome.finished_at_s, attempt=1, error=error
    )

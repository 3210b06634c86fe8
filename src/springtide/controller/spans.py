"""The spans that only the record can tell: the job as a whole, its waits, its attempts, and the way onto the record.

Told when a job's end is on record, in the background: a trace is never worth a moment of the recorder's. Loaded only
where traces are configured.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import Outcome
from springtide.ledger.protocol import Attempt, Ledger
from springtide.telemetry.tracing import tell

log = logging.getLogger(__name__)
MOST_AT_ONCE = 20  # looks at the record under way: beyond them traces are lost, not the recorder's pace


class JobSpans:
    """`recorded` is a hook of the recorder's and the conductor's."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def recorded(self, outcomes: Sequence[Outcome], are_ends: Sequence[bool]) -> None:
        ends = [outcome for outcome, is_end in zip(outcomes, are_ends, strict=True) if is_end]
        if ends and len(self._tasks) < MOST_AT_ONCE:
            task = asyncio.create_task(self._tell(ends, self._clock.now_s()), name="spans of jobs")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, ends: Sequence[Outcome], recorded_at_s: float) -> None:
        try:
            jobs = await self._ledger.get([outcome.id for outcome in ends])
            for job, outcome in zip(jobs, ends, strict=True):
                if job is not None:
                    before = await self._ledger.attempts(job.id) if outcome.attempt > 1 or outcome.error else []
                    tell_job(job, outcome, before, recorded_at_s)
        except SpringtideError as error:
            log.debug("spans are lost: %s", error)


def tell_job(job: Job, outcome: Outcome, before: Sequence[Attempt], recorded_at_s: float) -> None:
    """before: attempts on record, the last one among them where it gave no result."""
    trace = job.traceparent
    error = outcome.error.message if outcome.error is not None else None
    tell(
        job.id,
        trace,
        f"job {job.model}",
        start_s=job.created_at_s,
        end_s=recorded_at_s,
        error=error if outcome.status is JobStatus.FAILED else None,
        model=job.model,
        tenant=job.tenant,
        status=outcome.status.value,
        attempts=outcome.attempt,
    )
    if job.plan is not None:
        return
    waited_from_s, told = job.created_at_s, 0
    for one in before:
        _attempt(job, waited_from_s, one)
        waited_from_s, told = one.finished_at_s, one.attempt
    if outcome.started_at_s is None:  # it ended in the queue
        _wait(job, outcome.attempt + 1, waited_from_s, outcome.finished_at_s)
    elif outcome.attempt > told:
        last = Attempt(
            job=job.id,
            attempt=outcome.attempt,
            worker=outcome.worker,
            started_at_s=outcome.started_at_s,
            finished_at_s=outcome.finished_at_s,
            error=outcome.error,
        )
        _attempt(job, waited_from_s, last)
    tell(job.id, trace, "record", what=("record",), start_s=outcome.finished_at_s, end_s=recorded_at_s)


def _attempt(job: Job, waited_from_s: float, one: Attempt) -> None:
    if one.started_at_s is None:
        return
    _wait(job, one.attempt, waited_from_s, one.started_at_s)
    tell(
        job.id,
        job.traceparent,
        f"attempt {one.attempt}",
        what=("attempt", one.attempt),
        start_s=one.started_at_s,
        end_s=one.finished_at_s,
        error=one.error.message if one.error is not None else None,
        attempt=one.attempt,
        worker=one.worker,
    )


def _wait(job: Job, number: int, start_s: float, end_s: float) -> None:
    tell(job.id, job.traceparent, "queue", what=("queue", number), start_s=start_s, end_s=end_s, attempt=number)

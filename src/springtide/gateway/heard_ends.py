"""Ends that the recorder of this very process has just written, for requests here that wait for them.

Whoever waits for a job has all of it but its end, and the recorder beside it has that in hand: reading the row back
would cost as much as a tenth of the job. Promises: only what is committed is heard; nothing is kept that nobody waits
for. What is not heard here (another process recorded it, or it was no plain success) is read from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from springtide.domain.ids import JobId
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import Outcome
from springtide.ledger.usage import used_s


class HeardEnds:
    """Told by the recorder, asked by `Live`."""

    def __init__(self, *, are_all: bool = False) -> None:
        """are_all: nobody but this process's recorder writes ends, so that who waits need not ask a broker."""
        self.are_all = are_all
        self._waits: dict[JobId, list[HeardEnd]] = {}

    def tell(self, recorded: Iterable[Outcome]) -> None:
        """These are committed, and are their jobs' ends."""
        for outcome in recorded:
            for wait in self._waits.get(outcome.id, ()):
                wait.hear(outcome)

    def listen(self, job: Job) -> HeardEnd:
        """From now on the end of `job` is kept where it is told, until `leave`."""
        wait = HeardEnd(job)
        self._waits.setdefault(job.id, []).append(wait)
        return wait

    def leave(self, wait: HeardEnd) -> None:
        waits = self._waits[wait.id]
        waits.remove(wait)
        if not waits:
            del self._waits[wait.id]


class HeardEnd:
    """One request's wait for one job."""

    __slots__ = ("_job", "_told", "outcome")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outcome: Outcome | None = None

    @property
    def id(self) -> JobId:
        return self._job.id

    def hear(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if not self._told.done():
            self._told.set_result(None)

    async def told(self, wait_s: float) -> bool:
        """Wait until the end is told, for so long."""
        if self.outcome is not None:
            return True
        if self._told.done():  # given up once before
            self._told = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(wait_s, _give_up, self._told)
        try:
            await self._told
        finally:
            timer.cancel()
        return self.outcome is not None

    def job(self) -> Job | None:
        """The job as the ledger has it now, where that is certain without asking it: a result names its own attempt,
        while a failure may leave fields of earlier attempts as they are; and what earlier ones took is not known here.
        """
        end, job = self.outcome, self._job
        if end is None or end.status is not JobStatus.COMPLETED or end.started_at_s is None or job.plan is not None:
            return None
        if end.attempt > 1:
            return None
        return msgspec.structs.replace(
            job,
            status=end.status,
            attempt=max(job.attempt, end.attempt),
            worker=end.worker,
            started_at_s=end.started_at_s,
            finished_at_s=end.finished_at_s,
            outputs=end.outputs,
            output_files=end.output_files,
            error=None,
            checkpoint=None,
            used_s=used_s(end),
        )


def _give_up(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)

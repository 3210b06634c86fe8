"""The jobs of one model in the embedded broker: who waits, who holds what, how it ends. Synchronous and without I/O.

Every state change goes through `domain.job.advance`, and the change, its outcome and its live event are one step
because nothing here awaits. The verbs have the meaning that `broker.protocol` gives them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from springtide.broker.memory_entries import Entry, LazyHeap
from springtide.broker.memory_events import Stories
from springtide.broker.memory_outcomes import Outcomes, Seqs
from springtide.broker.memory_ready import ReadyQueue
from springtide.broker.memory_waits import Waits
from springtide.broker.protocol import TOMBSTONE_S
from springtide.domain.fleet import QueueView, Usage, WorkerView
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import JobError, JobEvent, JobStatus, advance
from springtide.domain.lease import (
    LEASE_TTL_S,
    BeatReply,
    Completion,
    Failure,
    Held,
    Lease,
    LiveJob,
    Outcome,
    Progress,
    Ticket,
    WorkerState,
)
from springtide.domain.tenant import Discipline


class _Ended(msgspec.Struct, frozen=True):
    """What is remembered of a job that has ended: how, and by whose report."""

    status: JobStatus
    attempt: int
    worker: WorkerId | None


CLOCK_STEP_S = LEASE_TTL_S / 2  # two controllers' clocks differ by less


class Beat(NamedTuple):
    """What a worker last said of itself, and when it was last heard of."""

    at_s: float
    state: WorkerState = WorkerState.READY
    problem: JobError | None = None
    usage: Usage | None = None


class ModelJobs:
    """One model's queue and leases."""

    def __init__(self, model: ModelName, *, seqs: Seqs, stories: Stories, outcomes: Outcomes, waits: Waits) -> None:
        self.model = model
        self._seqs = seqs
        self._stories = stories
        self._outcomes = outcomes
        self._waits = waits
        self._work_key = ("work", model)
        self._serial = 0
        self._live: dict[JobId, Entry] = {}
        self._ready = ReadyQueue()
        self._delayed = LazyHeap(lambda entry: entry.retry_at_s is not None)
        self._deadlines = LazyHeap(lambda entry: not entry.status.is_terminal)
        self._queued = 0  # ready and delayed
        self._predicted_s = 0.0  # of those
        self._holdings: dict[WorkerId, dict[JobId, Entry]] = {}
        self._beats: dict[WorkerId, Beat] = {}
        self._reaped_at_s = float("-inf")
        self._untold: dict[WorkerId, dict[JobId, None]] = {}  # cancels that no wake-up has told yet
        self._ended: dict[JobId, _Ended] = {}
        self._tombs: deque[tuple[float, JobId]] = deque()  # when to forget which ended job

    # --- the way in -------------------------------------------------------------------------------------------------

    def configure(self, discipline: Discipline) -> None:
        if self._ready.configure(discipline):
            self._ring(len(self._ready))

    def enqueue(self, ticket: Ticket, now_s: float) -> bool:
        if ticket.id in self._live or ticket.id in self._ended:
            return False
        self._serial += 1
        entry = self._live[ticket.id] = Entry(ticket, self._serial)
        if ticket.held_by is not None:
            since_s = now_s if ticket.started_at_s is None else ticket.started_at_s
            self._grant(entry, ticket.held_by, now_s, since_s)
            self._stories.add(ticket.id, "started", since_s, attempt=entry.attempt)
            return True
        self._stories.add(ticket.id, "queued", now_s, attempt=entry.attempt)
        self._wait(entry)
        if ticket.start_deadline_at_s is not None:
            self._deadlines.push(ticket.start_deadline_at_s, entry)
        if entry.attempt >= ticket.max_attempts:
            spent = JobError(code="attempts_spent", message=f"All {ticket.max_attempts} attempts are spent.")
            self._close(entry, JobEvent.FAILED, now_s, error=spent)
        else:
            self._ring(1)
        return True

    def cancel(self, job: JobId, now_s: float) -> JobStatus | None:
        entry = self._live.get(job)
        if entry is None:
            ended = self._ended.get(job)
            return None if ended is None else ended.status
        match entry.status:
            case JobStatus.QUEUED:
                self._close(entry, JobEvent.CANCEL_REQUESTED, now_s)
            case JobStatus.IN_PROGRESS if entry.worker is not None:
                entry.status = advance(entry.status, JobEvent.CANCEL_REQUESTED)
                self._stories.add(job, "cancelling", now_s, attempt=entry.attempt)
                self._untold.setdefault(entry.worker, {})[job] = None
                self._waits.ring(("cancel", self.model, entry.worker))
            case _:
                entry.status = advance(entry.status, JobEvent.CANCEL_REQUESTED)
        return entry.status

    def withdraw(self, job: JobId) -> LiveJob | None:
        entry = self._live.get(job)
        if entry is None or entry.status is not JobStatus.QUEUED:
            return None
        stood = self._show(entry)
        self._unwait(entry)
        entry.status = JobStatus.CANCELLED  # what is listed by time passes it over
        del self._live[job]
        return stood

    # --- workers ----------------------------------------------------------------------------------------------------

    def lease(self, worker: WorkerId, max_jobs: int, now_s: float, min_wait_s: float) -> list[Lease]:
        self._beats[worker] = self._beats.get(worker, Beat(now_s))._replace(at_s=now_s)
        self._expire(now_s)
        promoted = self._promote(now_s)
        leases: list[Lease] = []
        while len(leases) < max_jobs and (entry := self._ready.pop(now_s, min_wait_s)) is not None:
            leases.append(self._lease(entry, worker, now_s))
        if promoted:
            self._ring(min(promoted, len(self._ready)))
        return leases

    def beat(self, worker: WorkerId, held: Sequence[Held], said: Beat) -> BeatReply:
        now_s = said.at_s
        self._beats[worker] = said
        cancelled: list[JobId] = []
        lost: list[JobId] = []
        for item in held:
            entry = self._owned(worker, item.id, item.attempt, now_s)
            if entry is None:
                lost.append(item.id)
                continue
            entry.expires_at_s = now_s + LEASE_TTL_S
            if entry.status is JobStatus.CANCELLING:
                cancelled.append(item.id)
        return BeatReply(cancelled=tuple(cancelled), lost=tuple(lost))

    def complete(self, worker: WorkerId, done: Completion, now_s: float) -> bool:
        entry = self._owned(worker, done.id, done.attempt, now_s)
        if entry is None:
            return self._ended.get(done.id) == _Ended(JobStatus.COMPLETED, done.attempt, worker)
        self._close(entry, JobEvent.COMPLETED, now_s, done=done)
        return True

    def fail(self, worker: WorkerId, failed: Failure, now_s: float) -> bool:
        entry = self._owned(worker, failed.id, failed.attempt, now_s)
        if entry is None:
            return False
        if failed.cancelled and entry.status is JobStatus.IN_PROGRESS:
            entry.status = advance(entry.status, JobEvent.CANCEL_REQUESTED)
        if failed.cancelled:
            self._close(entry, JobEvent.CANCELLED, now_s)
        elif failed.retry_after_s is not None and entry.attempt < entry.ticket.max_attempts:
            self._retry(entry, JobEvent.RETRIED, now_s, error=failed.error, after_s=failed.retry_after_s)
        else:
            self._close(entry, JobEvent.FAILED, now_s, error=failed.error)
        return True

    def release(self, worker: WorkerId, item: Held, now_s: float) -> bool:
        entry = self._owned(worker, item.id, item.attempt, now_s)
        if entry is None:
            return False
        if entry.status is JobStatus.CANCELLING:
            self._close(entry, JobEvent.RELEASED, now_s)
            return True
        entry.status = advance(entry.status, JobEvent.RELEASED)
        self._take(entry)
        entry.given_back = entry.attempt
        entry.attempt -= 1
        self._stories.add(item.id, "queued", now_s, attempt=entry.attempt)
        self._wait_again(entry, now_s)
        return True

    def leave(self, worker: WorkerId, now_s: float) -> None:
        for entry in list(self._holdings.get(worker, {}).values()):
            self._lose(entry, now_s)
        self._beats.pop(worker, None)

    def publish(self, worker: WorkerId, progress: Progress, now_s: float) -> bool:
        entry = self._owned(worker, progress.id, progress.attempt, now_s)
        if entry is None:
            return False
        entry.fraction, entry.stage = progress.fraction, progress.stage
        entry.checkpoint = progress.checkpoint or entry.checkpoint
        self._stories.add(
            progress.id,
            "progress",
            now_s,
            attempt=progress.attempt,
            fraction=progress.fraction,
            stage=progress.stage,
        )
        return True

    def tell_cancels(self, worker: WorkerId) -> tuple[JobId, ...]:
        """Cancels of this worker's jobs that have not been told by a wake-up; they have now."""
        return tuple(self._untold.pop(worker, ()))

    @property
    def has_work(self) -> bool:
        return self._ready.has_work

    # --- the clock --------------------------------------------------------------------------------------------------

    def reap(self, now_s: float) -> list[JobId]:
        self._follow_clock(now_s)
        expired = [entry for held in self._holdings.values() for entry in held.values() if entry.expires_at_s <= now_s]
        for entry in expired:
            self._lose(entry, now_s)
        self._expire(now_s)
        self._promote(now_s)
        for worker in [worker for worker, beat in self._beats.items() if beat.at_s + LEASE_TTL_S <= now_s]:
            del self._beats[worker]
        while self._tombs and self._tombs[0][0] <= now_s:
            del self._ended[self._tombs.popleft()[1]]
        # A woken worker may have died before it leased: whoever waits beside work is told again.
        self._ring(len(self._ready))
        return [entry.ticket.id for entry in expired]

    def _follow_clock(self, now_s: float) -> None:
        """Let nobody wait for a time that another clock has named, or this one before it was set back."""
        for held in self._holdings.values():
            for entry in held.values():
                entry.expires_at_s = min(entry.expires_at_s, now_s + LEASE_TTL_S)
        for worker, beat in self._beats.items():
            if beat.at_s > now_s:
                self._beats[worker] = beat._replace(at_s=now_s)
        back_s = self._reaped_at_s - now_s
        if back_s > CLOCK_STEP_S:
            for entry in self._delayed.move(self._reaped_at_s, -back_s):
                if entry.retry_at_s is not None:
                    entry.retry_at_s -= back_s
        self._reaped_at_s = now_s

    def bury(self, job: JobId, now_s: float) -> None:
        """The end of this job is on record: only a tombstone is kept, and not for long."""
        if job in self._ended:
            self._tombs.append((now_s + TOMBSTONE_S, job))

    # --- looking ----------------------------------------------------------------------------------------------------

    def peek(self, job: JobId) -> LiveJob | None:
        entry = self._live.get(job)
        if entry is not None:
            return self._show(entry, ahead=self._ready.ahead_of(entry) if entry.is_ready else None)
        ended = self._ended.get(job)
        if ended is None:
            return None
        return LiveJob(id=job, status=ended.status, attempt=ended.attempt, worker=ended.worker)

    def knows(self, job: JobId) -> bool:
        return job in self._live or job in self._ended

    def held(self, now_s: float, min_age_s: float) -> list[LiveJob]:
        return [
            self._show(entry)
            for held in self._holdings.values()
            for entry in held.values()
            if entry.started_at_s is not None and entry.started_at_s + min_age_s <= now_s
        ]

    def view(self, now_s: float) -> QueueView:
        workers = tuple(
            WorkerView(
                worker=worker,
                model=self.model,
                state=beat.state,
                held=len(self._holdings.get(worker, ())),
                beat_at_s=beat.at_s,
                problem=beat.problem,
                usage=beat.usage,
            )
            for worker, beat in self._beats.items()
            if beat.at_s + LEASE_TTL_S > now_s
        )
        return QueueView(
            model=self.model,
            queued=self._queued,
            leased=len(self._live) - self._queued,
            predicted_s=self._predicted_s,
            oldest_enqueued_at_s=self._ready.oldest_at_s(),
            workers=workers,
            taken_at_s=now_s,
            tenants=self._ready.loads(),
        )

    # --- steps ------------------------------------------------------------------------------------------------------

    def _owned(self, worker: WorkerId, job: JobId, attempt: int, now_s: float) -> Entry | None:
        """The fence: the entry, if this worker's attempt is the one in force, or comes to be by being named."""
        entry = self._live.get(job)
        if entry is None:
            return None
        if entry.worker == worker and entry.attempt == attempt:
            return entry
        # Nobody holds it, and the next attempt was never granted here: a broker whose memory was lost has granted it.
        if entry.status is JobStatus.QUEUED and attempt == entry.attempt + 1 and attempt != entry.given_back:
            self._begin(entry, worker, now_s)
            return entry
        return None

    def _lease(self, entry: Entry, worker: WorkerId, now_s: float) -> Lease:
        self._begin(entry, worker, now_s)
        ticket = entry.ticket
        return Lease(
            id=ticket.id,
            model=self.model,
            tenant=ticket.tenant,
            worker=worker,
            attempt=entry.attempt,
            max_attempts=ticket.max_attempts,
            payload=ticket.payload,
            timeout_s=ticket.timeout_s,
            enqueued_at_s=ticket.enqueued_at_s,
            checkpoint=entry.checkpoint,
        )

    def _begin(self, entry: Entry, worker: WorkerId, now_s: float) -> None:
        """The next attempt, by this worker."""
        self._unwait(entry)
        entry.attempt += 1
        self._grant(entry, worker, now_s, now_s)
        self._stories.add(entry.ticket.id, "started", now_s, attempt=entry.attempt)

    def _grant(self, entry: Entry, worker: WorkerId, now_s: float, since_s: float) -> None:
        entry.status = advance(entry.status, JobEvent.LEASED)
        entry.worker = worker
        entry.started_at_s = since_s
        entry.expires_at_s = now_s + LEASE_TTL_S
        self._holdings.setdefault(worker, {})[entry.ticket.id] = entry
        self._ready.started(entry.ticket.tenant)

    def _take(self, entry: Entry) -> None:
        """End the lease in force."""
        worker = entry.worker
        assert worker is not None
        holding = self._holdings[worker]
        del holding[entry.ticket.id]
        if not holding:
            del self._holdings[worker]
        if worker in self._untold:
            self._untold[worker].pop(entry.ticket.id, None)
        entry.worker = entry.started_at_s = entry.fraction = entry.stage = None
        if self._ready.stopped(entry.ticket.tenant):
            self._ring(1)

    def _wait(self, entry: Entry, *, retry_at_s: float | None = None) -> None:
        self._queued += 1
        self._predicted_s += entry.ticket.predicted_s
        entry.retry_at_s = retry_at_s
        self._ready.add(entry)
        if retry_at_s is not None:
            self._delayed.push(retry_at_s, entry)

    def _unwait(self, entry: Entry) -> None:
        self._queued -= 1
        # Sums of floats drift; an empty queue is the moment to forget that.
        self._predicted_s = self._predicted_s - entry.ticket.predicted_s if self._queued else 0.0
        entry.retry_at_s = None
        self._ready.remove(entry)

    def _wait_again(self, entry: Entry, now_s: float, after_s: float = 0.0) -> None:
        deadline_at_s = entry.ticket.start_deadline_at_s
        if deadline_at_s is not None:
            self._deadlines.push(deadline_at_s, entry)  # may be listed twice; what has ended is skipped
        self._wait(entry, retry_at_s=now_s + after_s if after_s > 0 else None)
        if after_s <= 0:
            self._ring(1)

    def _lose(self, entry: Entry, now_s: float) -> None:
        """The worker is gone: another attempt if there is one left."""
        error = JobError(code="worker_lost", message=f"Worker {entry.worker} stopped answering.", retryable=True)
        if entry.status is JobStatus.IN_PROGRESS and entry.attempt < entry.ticket.max_attempts:
            self._retry(entry, JobEvent.LOST, now_s, error=error)
        else:
            self._close(entry, JobEvent.FAILED, now_s, error=error)

    def _retry(self, entry: Entry, event: JobEvent, now_s: float, *, error: JobError, after_s: float = 0.0) -> None:
        """The attempt is over and the job goes on; a cancelling one ends."""
        if entry.status is JobStatus.CANCELLING:
            self._close(entry, event, now_s)
            return
        entry.status = advance(entry.status, event)
        self._record(entry, now_s, error=error)
        self._stories.add(entry.ticket.id, "retrying", now_s, attempt=entry.attempt, error=error)
        self._take(entry)
        self._wait_again(entry, now_s, after_s)

    def _close(
        self,
        entry: Entry,
        event: JobEvent,
        now_s: float,
        *,
        done: Completion | None = None,
        error: JobError | None = None,
    ) -> None:
        """The job has ended. Its terminal live event comes with `announce`, when the end is on record."""
        was_queued = entry.status is JobStatus.QUEUED
        entry.status = advance(entry.status, event)
        assert entry.status.is_terminal
        job = entry.ticket.id
        self._record(entry, now_s, done=done, error=None if entry.status is JobStatus.CANCELLED else error)
        self._ended[job] = _Ended(entry.status, entry.attempt, entry.worker)
        del self._live[job]
        if was_queued:
            self._unwait(entry)
        else:
            self._take(entry)
        self._stories.end(job, now_s)

    def _record(
        self, entry: Entry, now_s: float, *, done: Completion | None = None, error: JobError | None = None
    ) -> None:
        self._outcomes.add(
            Outcome(
                seq=self._seqs.next(now_s),
                id=entry.ticket.id,
                model=self.model,
                status=entry.status,
                attempt=entry.attempt,
                finished_at_s=now_s,
                worker=entry.worker,
                started_at_s=entry.started_at_s,
                run_s=None if done is None else done.run_s,
                outputs=None if done is None else done.outputs,
                output_files=() if done is None else done.output_files,
                error=error,
                checkpoint=entry.checkpoint,
                tenant=entry.ticket.tenant,
                enqueued_at_s=entry.ticket.enqueued_at_s,
            )
        )
        self._waits.ring(("outcomes",))

    def _ring(self, jobs: int) -> None:
        """Wake as many waiting workers, where something may be leased at all."""
        if self._waits.has(self._work_key) and self._ready.has_work:
            self._waits.ring(self._work_key, jobs)

    def _expire(self, now_s: float) -> None:
        while (entry := self._deadlines.pop_due(now_s)) is not None:
            if entry.status is JobStatus.QUEUED:
                self._close(entry, JobEvent.EXPIRED, now_s)

    def _promote(self, now_s: float) -> int:
        """Move delayed jobs that are due to where they can be leased."""
        count = 0
        while (entry := self._delayed.pop_due(now_s)) is not None:
            entry.retry_at_s = None
            self._ready.promote(entry)
            count += 1
        return count

    def _show(self, entry: Entry, *, ahead: int | None = None) -> LiveJob:
        return LiveJob(
            id=entry.ticket.id,
            status=entry.status,
            attempt=entry.attempt,
            worker=entry.worker,
            started_at_s=entry.started_at_s,
            fraction=entry.fraction,
            stage=entry.stage,
            ahead=ahead,
            retry_at_s=entry.retry_at_s,
            checkpoint=entry.checkpoint,
        )

"""What every broker does. Siblings: `memory` (embedded), `remote` (the same verbs over a local socket), `redis`.

Promises, held by `springtide.testing.broker_suite` for each implementation:

- A job is queued at most once: enqueueing is idempotent by id, also for a short while (TOMBSTONE_S) after it ended.
- At most one (worker, attempt) owns a job. A report from anybody else changes nothing and returns False.
- An attempt outlives the broker's memory: whoever names the next attempt of a job that waits, one that this broker has
  not granted, has it from before the loss, and owns it from then on. One that was given back is not taken up again.
- Every lease ends: by a report, by release, or by `reap` once no beat of its worker has named it for LEASE_TTL_S since
  the grant. That covers the worker that died, the grant that never reached it and the attempt that it forgot.
- A state change and its outcome are one step: an outcome stays readable until it is acked.
- States follow `domain.job.TRANSITIONS`.

Time is an argument (`now_s`, Unix seconds), never the server's. `wait_s` is the only real time. All verbs take batches.
Errors: `Unavailable` where the broker cannot be reached; `OutcomeUnknown` where the reply was lost on the way (every
verb is safe to repeat).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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

TOMBSTONE_S = 60.0  # an ended job's id is remembered this long after its outcome was acked, against late enqueues
EVENTS_PER_JOB = 256  # the newest live events kept for replay; the first and the terminal one always
# Live events of an ended job stay readable this long (embedded: at most 16 MiB of them). A client whose line broke, or
# whose gateway starts anew, is back within minutes; the end itself is on record. decisions/0057 has why no longer.
EVENTS_KEPT_S = 900.0


class Broker(Protocol):
    """The queue of every model, and what its workers hold."""

    async def start(self) -> None:
        """Connect. Raises Unavailable or ConfigError."""
        ...

    async def stop(self) -> None: ...

    # --- the way in ---------------------------------------------------------------------------------------------

    async def configure(self, model: ModelName, discipline: Discipline) -> None:
        """Weights and limits of a model's queue from now on, for what waits already too; what runs runs on. Wakes
        workers where that made room. Before the first call every tenant has weight 1 and nothing is limited. The same
        again costs next to nothing: the controller says it with every sweep, so that an emptied broker learns it."""
        ...

    async def enqueue(self, tickets: Sequence[Ticket], now_s: float) -> list[bool]:
        """Queue jobs. True for each that was not known yet.

        Order within a model: `policy.fairness`. By class, but two of every TURNS leases are first offered to a lower
        one; within a class each tenant by its weight; within a tenant by `order_key`.
        A ticket with `held_by` is entered as leased by that worker at `attempt`, and goes back to the queue unless the
        worker's beats name it within LEASE_TTL_S. One with `attempt >= max_attempts` and no holder fails at once
        (code `attempts_spent`). Adds the live event `queued` for new jobs, `started` for those that are held: with
        `started_at_s` as its time and in its id, so that a reader who was told before the rebuild is not told again.
        """
        ...

    async def cancel(self, refs: Sequence[JobRef], now_s: float) -> list[JobStatus | None]:
        """Ask jobs to stop. Returns the state after: CANCELLED for a queued job, CANCELLING for a running one (its
        worker is woken), the terminal state where it had ended, None where the broker does not know the job."""
        ...

    async def withdraw(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        """Take jobs out of their queue as if they had never been there: no end, no outcome, and what is known of them
        here is forgotten but for their live events. Only those that wait, after a failed attempt too; each as it stood,
        which is what it goes on from elsewhere. None, and nothing happens, for any other."""
        ...

    # --- workers ------------------------------------------------------------------------------------------------

    async def lease(
        self, model: ModelName, worker: WorkerId, max_jobs: int, now_s: float, *, min_wait_s: float = 0.0
    ) -> list[Lease]:
        """Take up to `max_jobs` attempts. `min_wait_s` > 0 takes only jobs that have waited that long: reading ahead
        must not take work from an idle colleague. Promotes delayed jobs that are due; expires queued jobs whose start
        deadline has passed. The worker counts as alive until now_s + LEASE_TTL_S. Adds the live event `started`.

        No `max_running` is ever passed by a lease; a tenant at its limit is passed over and holds up nobody."""
        ...

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
        """Say that the worker lives, what it holds and how it is. Extends every lease named to now_s + LEASE_TTL_S.
        `problem` says why its engine does not load, `usage` what it uses; `queues` shows each until a beat comes
        without.

        `lost` names held attempts that are not this worker's (any more). `cancelled` names held attempts whose job is
        cancelling, on every beat until they end."""
        ...

    async def complete(
        self, model: ModelName, worker: WorkerId, done: Sequence[Completion], now_s: float
    ) -> list[bool]:
        """Report results. False: not this worker's attempt, drop the result. A cancelling job that completes is
        COMPLETED. True again, and nothing changes, where this worker's very attempt has won already: a repeat after a
        lost reply must not make the worker throw away what is on record."""
        ...

    async def fail(self, model: ModelName, worker: WorkerId, failed: Sequence[Failure], now_s: float) -> list[bool]:
        """Report failures. Another attempt is due at now_s + retry_after_s where that is set, the job is not cancelling
        and attempts are left; else FAILED, or CANCELLED where the job was cancelling or `cancelled` is set."""
        ...

    async def release(self, model: ModelName, worker: WorkerId, held: Sequence[Held], now_s: float) -> list[bool]:
        """Give attempts back unspent, to the place in the queue they had: the attempt's number is used again.
        A cancelling job becomes CANCELLED. Adds the live event `queued` where the job waits again."""
        ...

    async def leave(self, model: ModelName, worker: WorkerId, now_s: float) -> None:
        """The worker is gone for good (drained, or seen dead by its parent): what it still holds is treated at once as
        `reap` would, and it no longer appears in `queues`."""
        ...

    async def wake(self, model: ModelName, worker: WorkerId, *, for_work: bool, wait_s: float) -> WakeUp:
        """Wait until there may be work (only if `for_work`), or one of the worker's jobs is to be cancelled.

        Returns at once where that is so already. Work is a job that may be leased within all limits; an attempt's end
        that makes room under a limit wakes as a new job does. One new job wakes one waiting worker, not all. A wake-up
        is a hint: the lease may come back empty. A cancel is told here once; beats repeat it."""
        ...

    # --- live events --------------------------------------------------------------------------------------------

    async def publish(
        self, model: ModelName, worker: WorkerId, progress: Sequence[Progress], now_s: float
    ) -> list[bool]:
        """Add live progress events. False (and nothing is added): not this worker's attempt. A checkpoint is kept in
        place of the job's last one: its next lease carries it, whoever takes that, and so does every outcome."""
        ...

    async def announce(self, model: ModelName, events: Sequence[LiveEvent]) -> None:
        """Add terminal live events once they are on record. `seq` of the given events is ignored; a job that already
        has a terminal event keeps the one it has. Also for what is never queued here: a pipeline's hand-overs from step
        to step (`progress`, without a figure), and its end."""
        ...

    async def read_events(
        self, ref: JobRef, after: str | None, *, wait_s: float = 0.0, to_end: bool = False
    ) -> list[LiveEvent]:
        """Live events of one job after event id `after` (None: from the first kept), waiting up to `wait_s` for one,
        or with `to_end` for the terminal one. Empty where there is none, also for a job unknown here."""
        ...

    # --- the record ---------------------------------------------------------------------------------------------

    async def read_outcomes(self, max_outcomes: int, *, wait_s: float = 0.0) -> list[Outcome]:
        """The oldest outcomes not yet acked, of all models. Reading takes nothing away: unacked ones come again, to
        this reader at once (after `start`) and to another after LEASE_TTL_S."""
        ...

    async def ack_outcomes(
        self, outcomes: Sequence[Outcome], now_s: float, *, announce: Sequence[LiveEvent] = ()
    ) -> None:
        """These are in the ledger: drop them, and forget their jobs but for a tombstone where they have ended.
        `announce`: terminal live events of these jobs, added first, as by `announce`; in the same step where a step is
        dear. (Without it the end of a job that gave its result may be told all the same: it is on record.)"""
        ...

    # --- looking ------------------------------------------------------------------------------------------------

    async def peek(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        """Jobs as they stand; None for those unknown. A tombstone counts as known until it is dropped: its job's last
        status is given."""
        ...

    async def known(self, refs: Sequence[JobRef]) -> list[bool]:
        """Which of these would `peek` find? For looks at a whole queue: a place in it is dear to tell."""
        ...

    async def queues(self, models: Sequence[ModelName], now_s: float) -> list[QueueView]:
        """One view per model asked for, empty queues included."""
        ...

    async def held(self, models: Sequence[ModelName], now_s: float, *, min_age_s: float) -> list[LiveJob]:
        """Every leased job whose attempt began at least `min_age_s` ago: what the recorder notes as in progress."""
        ...

    async def reap(self, models: Sequence[ModelName], now_s: float) -> list[JobId]:
        """Take back what dead workers held: requeue with the attempt spent (live event `retrying`, error
        `worker_lost`), or fail where attempts are spent, or CANCELLED where it was cancelling. Also promotes delayed
        jobs that are due (and wakes workers for them), expires start deadlines, drops tombstones and old events.
        Where its clock was set back by more than half a lease, nobody waits for the old time to come round: back-offs
        are moved with it; a lease or sign of life that is from the future counts from now on in any case.
        Returns the jobs taken back. Called every second by the controller; never by traffic."""
        ...

"""What the worker of a distributed model does with its leases: each is run by a gang of processes that it starts.

It stands where `Attempts` and `Supervisor` stand in an ordinary worker, so taking work, the heartbeat, hearing of
cancels and draining are the very same. The gang's rank 0 reports results by itself; here is reported what no rank can
say: that one of them was lost, that time ran out, that the attempt was stopped.

Promises: what was leased is run by one gang, which is gone before the worker reports a stop or gives the attempt back;
a lost rank ends the attempt and its whole gang; gangs whose attempt is nobody's any more are found and stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import AttemptFailed, ConfigError, OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.ids import JobId
from springtide.domain.job import JobError, JobRef, JobStatus
from springtide.domain.lease import LEASE_TTL_S, Failure, Held, Lease, Progress
from springtide.fleet.gangs import GangPhase, Gangs, GangShape, GangView, gang_name
from springtide.policy.retry import decide_retry
from springtide.runtime.backoff import Backoff
from springtide.runtime.waiting import first_of, stop_task
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import BATCH_JOBS
from springtide.worker.reporter import Reporter
from springtide.worker.settings import WorkerSettings

log = logging.getLogger(__name__)

COLLECT_EVERY_S = 30.0  # what a dead worker left costs GPUs until then
FORGOTTEN_AFTER_S = 4 * LEASE_TTL_S  # a job that the broker has not known for so long has ended
STOP_AGAIN = (0.5, 10.0)  # seconds between tries to stop a gang


class _Why(StrEnum):
    """Why a gang is stopped before it ends by itself."""

    CANCELLED = "cancelled"
    LOST = "lost"  # the attempt is somebody else's
    LEAVING = "leaving"  # the worker is


@dataclass(slots=True, eq=False)
class _Attempt:
    lease: Lease
    why: _Why | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # set with `why`
    task: asyncio.Task[None] | None = None  # until the gang is gone
    is_reporting: bool = False
    may_give_back: bool = False  # stopped for LEAVING, and certainly gone


class GroupAttempts:
    """The attempts of a distributed model's worker, each with its gang."""

    memory_mb: float | None = None  # nothing is loaded here
    load_s: float | None = None
    ready_after_s: float | None = None
    pid: int | None = None
    turn_s: float | None = None
    waiting = storing = 0

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        gangs: Gangs,
        broker: Broker,
        clock: Clock,
        rand: Callable[[], float],
        on_change: Callable[[], None],
        metrics: Metrics | None = None,
    ) -> None:
        assert settings.gang is not None
        self._shape: GangShape = settings.gang
        self._settings = settings
        self._gangs = gangs
        self._broker = broker
        self._clock = clock
        self._rand = rand
        self._on_change = on_change
        self._metrics = metrics or Metrics()
        self._attempts: dict[JobId, _Attempt] = {}
        self._busy: dict[asyncio.Task[None], _Attempt] = {}  # in the order they began; also of attempts off the books
        self._keeping: asyncio.Task[None] | None = None
        self._failed_opens = 0
        self._leaving = asyncio.Event()
        self._forgotten: dict[str, float] = {}  # gang -> since when the broker does not know its job
        self.ready_at_s: float | None = None
        self.problem: JobError | None = None
        self.reporter: Reporter

    # --- what a worker asks of its supervisor -----------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        return self.ready_at_s is not None

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.occupied < self._settings.slots

    @property
    def is_failing(self) -> bool:
        return self.problem is not None

    @property
    def is_given_up(self) -> bool:
        return not self.is_ready and self._failed_opens >= self._settings.load_attempts

    async def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name="gangs")

    async def stop(self) -> None:
        """Stop all gangs."""
        if self._keeping is not None:
            await stop_task(self._keeping)
            self._keeping = None
        self._leaving.set()
        for attempt in self._busy.values():
            self._ask(attempt, _Why.LEAVING)
        await asyncio.gather(*self._busy, return_exceptions=True)
        self._leaving.clear()
        self.ready_at_s = None
        await self._gangs.close()

    # --- what a worker asks of its attempts -------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return len(self._busy)

    @property
    def occupied(self) -> int:
        """Gangs that are not gone, those of lost attempts too: their GPUs are not free."""
        return len(self._busy)

    def attempt_of(self, job: JobId) -> int | None:
        attempt = self._attempts.get(job)
        return None if attempt is None else attempt.lease.attempt

    def held(self) -> list[Held]:
        return [Held(job, attempt.lease.attempt) for job, attempt in self._attempts.items()]

    def accept(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            if self.attempt_of(lease.id) == lease.attempt:
                continue
            if lease.id in self._attempts:
                self.drop(lease.id)
            attempt = self._attempts[lease.id] = _Attempt(lease)
            attempt.task = asyncio.create_task(self._run(attempt), name=gang_name(lease.id, lease.attempt))
            self._busy[attempt.task] = attempt
            attempt.task.add_done_callback(self._is_gone)
        self._on_change()

    def refuse(self, leases: Iterable[Lease], error: JobError) -> None:
        """Fail these for good, unrun."""
        for lease in leases:
            self.drop(lease.id)
            attempt = self._attempts[lease.id] = _Attempt(lease)
            self._report(attempt, Failure(id=lease.id, attempt=lease.attempt, error=error))

    def cancel(self, jobs: Iterable[JobId]) -> bool:
        """Stop these. True where one of them was news."""
        found = [attempt for job in jobs if (attempt := self._attempts.get(job)) and attempt.why is None]
        for attempt in found:
            self._ask(attempt, _Why.CANCELLED)
        return bool(found)

    def drop(self, job: JobId) -> None:
        """The attempt is over, or somebody else's. Nothing more of it is reported."""
        attempt = self._attempts.pop(job, None)
        if attempt is None:
            return
        log.info("job %s, attempt %d: no longer this worker's", job, attempt.lease.attempt)
        attempt.why = _Why.LOST
        attempt.asked.set()
        self.reporter.forget(job)
        self._on_change()

    def drain(self) -> None:
        """What runs goes on; nothing waits here that could be given back."""

    def give_back_running(self) -> None:
        """After `stop`: unspent where the gang is certainly gone; else the attempt is spent with the worker's end."""
        for job, attempt in list(self._attempts.items()):
            if attempt.may_give_back:
                attempt.is_reporting = True
                self.reporter.release(Held(job, attempt.lease.attempt))

    def settled(self, reported: Sequence[Held]) -> None:
        """The broker has answered: off the books."""
        for held in reported:
            attempt = self._attempts.get(held.id)
            if attempt is not None and attempt.lease.attempt == held.attempt and attempt.is_reporting:
                del self._attempts[held.id]

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _run(self, attempt: _Attempt) -> None:
        """From the lease to the end of its gang, and the report of what no rank can say."""
        lease = attempt.lease
        try:
            error = await self._follow(attempt)
        except AttemptFailed as failed:
            error = JobError.of(failed)
        except Exception as unexpected:
            log.exception("job %s: its group could not be followed", lease.id)
            message = f"its group could not be followed: {type(unexpected).__name__}: {unexpected}"
            error = JobError(code="crashed", message=message, retryable=True)
        is_gone = await self._stop(gang_name(lease.id, lease.attempt))
        if self._attempts.get(lease.id) is not attempt:
            return
        if attempt.why is _Why.CANCELLED and is_gone:
            stopped = JobError(code="cancelled", message="stopped as asked")
            self._report(attempt, Failure(id=lease.id, attempt=lease.attempt, error=stopped, cancelled=True))
        elif attempt.why is _Why.LEAVING or not is_gone:
            attempt.may_give_back = is_gone
        elif error is not None:
            wait_s = decide_retry(error, lease.attempt, lease.max_attempts, self._rand(), settings=self._settings.retry)
            self._report(attempt, Failure(id=lease.id, attempt=lease.attempt, error=error, retry_after_s=wait_s))
        else:
            del self._attempts[lease.id]  # rank 0 has reported
            self._metrics.observe(BATCH_JOBS, self._settings.model, value=1)  # a gang has one job

    async def _follow(self, attempt: _Attempt) -> JobError | None:
        """Start the gang and wait for its end, or for a reason to stop it. Gives what was lost; None where nothing."""
        seen = await self._start(attempt)
        waits_since_s = self._clock.monotonic_s()
        runs_since_s: float | None = None
        backoff = Backoff(*STOP_AGAIN)
        while seen is not None and not seen.is_over:
            now_s = self._clock.monotonic_s()
            if seen.phase is GangPhase.RUNNING and runs_since_s is None:
                runs_since_s = now_s
            self._tell(attempt, seen)
            left_s = self._left_s(attempt, now_s - waits_since_s, runs_since_s and now_s - runs_since_s)
            if left_s <= 0:
                return self._overdue(attempt, seen, has_begun=runs_since_s is not None)
            change = asyncio.ensure_future(self._gangs.change(seen))
            try:
                await first_of(asyncio.shield(change), attempt.asked.wait(), self._clock.sleep(left_s))
                if attempt.why is not None:
                    return None
                seen = change.result() if change.done() else seen
                backoff.reset()
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("job %s: its group cannot be seen now: %s", attempt.lease.id, error)
                await first_of(attempt.asked.wait(), self._clock.sleep(backoff.next_s()))
            finally:
                await stop_task(change)
        return None if seen is None else seen.error

    async def _start(self, attempt: _Attempt) -> GangView | None:
        """None where it was stopped before it began. Raises AttemptFailed."""
        backoff = Backoff(*STOP_AGAIN)
        while attempt.why is None:
            try:
                return await self._gangs.start(attempt.lease)
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("job %s: its group cannot be started now: %s", attempt.lease.id, error)
                await first_of(attempt.asked.wait(), self._clock.sleep(backoff.next_s()))
            except ConfigError as error:
                raise AttemptFailed(f"a group cannot be started: {error.message}", retryable=True) from error
        return None

    async def _stop(self, name: str) -> bool:
        """Whether it is certainly gone. A worker that leaves tries once: others will find what is left."""
        backoff = Backoff(*STOP_AGAIN)
        while True:
            try:
                await self._gangs.stop(name)
                return True
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("%s cannot be stopped now: %s", name, error)
                if self._leaving.is_set():
                    return False
                await first_of(self._clock.sleep(backoff.next_s()), self._leaving.wait())

    def _left_s(self, attempt: _Attempt, waited_s: float, ran_s: float | None) -> float:
        if ran_s is None:
            return self._shape.start_timeout_s - waited_s
        limit_s = attempt.lease.timeout_s if attempt.lease.timeout_s > 0 else self._settings.timeout_s
        return limit_s - ran_s

    def _overdue(self, attempt: _Attempt, seen: GangView, *, has_begun: bool) -> JobError:
        if has_begun:
            limit_s = attempt.lease.timeout_s if attempt.lease.timeout_s > 0 else self._settings.timeout_s
            message = f"the run took longer than its limit of {limit_s:g} s and was stopped"
            return JobError(code="timed_out", message=message, details={"timeout_s": limit_s})
        limit_s = self._shape.start_timeout_s
        why = f": {seen.message}" if seen.message else ""
        message = f"its group of {self._shape.processes} did not start within {limit_s:g} s{why}"
        return JobError(code="group_not_started", message=message, retryable=True, details={"start_timeout_s": limit_s})

    def _tell(self, attempt: _Attempt, seen: GangView) -> None:
        """What a gang waits for is progress too; once it runs, its rank 0 tells."""
        if seen.phase is GangPhase.PENDING and seen.message:
            lease = attempt.lease
            stage = f"starting: {seen.message}"
            self.reporter.progress(Progress(id=lease.id, attempt=lease.attempt, fraction=0.0, stage=stage))

    def _ask(self, attempt: _Attempt, why: _Why) -> None:
        if attempt.why is None:
            attempt.why = why
            attempt.asked.set()
            self._on_change()

    def _report(self, attempt: _Attempt, failure: Failure) -> None:
        attempt.is_reporting = True
        self.reporter.fail(failure)

    def _is_gone(self, task: asyncio.Task[None]) -> None:
        self._busy.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an attempt was lost track of", exc_info=error)
        self._on_change()

    # --- gangs as such ----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Open for work as soon as gangs can be started; then collect what others have left."""
        backoff = Backoff(0.5, 30.0)
        while not self.is_ready:
            try:
                await self._gangs.open()
                await self._collect()
            except SpringtideError as error:
                self._failed_opens += 1
                counts = {"failed_loads": self._failed_opens, "load_attempts": self._settings.load_attempts}
                message = f"groups cannot be started: {error.message}"
                self.problem = JobError(code="load_failed", message=message, retryable=True, details=counts)
                log.error("%s", message)
                self._on_change()
                await self._clock.sleep(backoff.next_s())
            else:
                self.problem, self._failed_opens = None, 0
                self.ready_at_s = self._clock.monotonic_s()
                self._on_change()
        while True:
            await self._clock.sleep(COLLECT_EVERY_S)
            try:
                await self._collect()
            except SpringtideError as error:
                log.warning("groups that were left behind cannot be looked for: %s", error)

    async def _collect(self) -> None:
        """Stop gangs that are nobody's."""
        own = {gang_name(attempt.lease.id, attempt.lease.attempt) for attempt in self._busy.values()}
        left = [view for view in await self._gangs.list() if view.name not in own]
        for view in await self._nobodys(left):
            log.warning("%s: stopping this group, its worker %s is gone", view.name, view.worker)
            await self._gangs.stop(view.name)

    async def _nobodys(self, views: Sequence[GangView]) -> list[GangView]:
        now_s = self._clock.monotonic_s()
        doubtful = [view for view in views if not view.is_orphan]
        refs = [JobRef(self._settings.model, view.job) for view in doubtful]
        seen = await self._broker.peek(refs, self._clock.now_s()) if refs else []
        unknown = {view.name for view, live in zip(doubtful, seen, strict=True) if live is None}
        self._forgotten = {name: self._forgotten.get(name, now_s) for name in unknown}
        found = [view for view in views if view.is_orphan]
        for view, live in zip(doubtful, seen, strict=True):
            if live is None:
                is_held = now_s - self._forgotten[view.name] < FORGOTTEN_AFTER_S
            else:
                runs = live.status in (JobStatus.IN_PROGRESS, JobStatus.CANCELLING)
                is_held = runs and (live.worker, live.attempt) == (view.worker, view.attempt)
            if not is_held:
                found.append(view)
        return [msgspec.structs.replace(view, is_orphan=True) for view in found]

"""The attempts a worker holds, each on its way: fetching → ready → running → storing → reporting.

The stages overlap: while one attempt computes, the inputs of the next are fetched and the outputs of the last are
stored. Promises: every accepted attempt is reported exactly once (completed, failed, cancelled or given back), unless
its lease is lost; what was lost is stopped and never reported; its folder is removed in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.ids import JobId
from springtide.domain.job import BlobRef, JobError
from springtide.domain.lease import Completion, Failure, Held, Lease, Progress
from springtide.engines.places import place
from springtide.policy.retry import decide_retry, is_retryable
from springtide.telemetry.logs import about
from springtide.telemetry.tracing import handed_on, is_on
from springtide.worker.attempt import Attempt, Books, Stage
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.errands import Errands
from springtide.worker.phases import Phases
from springtide.worker.reporter import Reporter
from springtide.worker.row import Row
from springtide.worker.run import Ending, Run
from springtide.worker.scratch import Scratch
from springtide.worker.settings import WorkerSettings
from springtide.worker.supervisor import Supervisor
from springtide.worker.transfer import Transfer

log = logging.getLogger(__name__)


# Failures that are not the engine's: running it again would show nothing.
NO_FAULT_CODES = frozenset({"invalid_input", "bad_media", "input_missing", "storage_unavailable"})


class _PayloadPart(msgspec.Struct):
    """The part of `domain.lease.Payload` that the worker itself reads; the child decodes the whole."""

    files: tuple[BlobRef, ...] = ()
    traceparent: str | None = None


_payload_part = msgspec.msgpack.Decoder(_PayloadPart)


class Attempts:
    """Implements `supervised.Listener`."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        transfer: Transfer,
        checkpoints: Checkpoints,
        scratch: Scratch,
        clock: Clock,
        rand: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        """on_change: told when a slot, the child or the number of held attempts has changed."""
        self._default_timeout_s = settings.timeout_s
        self._retry = settings.retry
        self._transfer = transfer
        self._checkpoints = checkpoints
        self._scratch = scratch
        self._clock = clock
        self._rand = rand
        self._on_change = on_change
        self._books = Books()
        self._row = Row(self._books, settings, clock=clock, on_gathered=self._on_gathered)
        self._errands = Errands(self._books, checkpoints, on_failed=self._fail, on_change=on_change)
        self._is_draining = False
        self.supervisor: Supervisor
        self.reporter: Reporter

    # --- what is held -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Held and not yet in the child."""
        return self._books.count(Stage.FETCHING) + self._books.count(Stage.READY)

    @property
    def running(self) -> int:
        return self._books.count(Stage.RUNNING)

    @property
    def storing(self) -> int:
        return self._books.count(Stage.STORING)

    @property
    def occupied(self) -> int:
        """Slots in use: what only waits for the broker's answer needs none."""
        return self.waiting + self.running + self.storing

    def attempt_of(self, job: JobId) -> int | None:
        """The number of the attempt that is held."""
        attempt = self._books.get(job)
        return None if attempt is None else attempt.lease.attempt

    def held(self) -> list[Held]:
        return [Held(attempt.lease.id, attempt.lease.attempt) for attempt in self._books]

    # --- what the worker is told --------------------------------------------------------------------------------

    def accept(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            if self.attempt_of(lease.id) == lease.attempt:  # ours before the broker lost its memory, and ours again
                continue
            self.drop(lease.id)  # an older attempt of the same job: its lease is lost, as we now know
            self._accept(lease)
        self._feed()
        self._on_change()

    def refuse(self, leases: Iterable[Lease], error: JobError) -> None:
        """Fail these for good, unrun: another attempt would find the same."""
        for lease in leases:
            self.drop(lease.id)
            attempt = self._enter(lease)
            self._books.move(attempt, Stage.REPORTING)
            self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error))
        self._on_change()

    def cancel(self, jobs: Iterable[JobId]) -> bool:
        """Stop these politely. True where one of them was news."""
        news = False
        for job in jobs:
            attempt = self._books.get(job)
            if attempt is None or attempt.is_cancelled:
                continue
            news = attempt.is_cancelled = True
            if attempt.stage is Stage.RUNNING:
                self.supervisor.cancel(attempt.run)
            elif attempt.stage is not Stage.REPORTING:  # what was made need not be stored
                self._errands.recall(attempt)
                self._report_cancelled(attempt)
        self._on_change()
        return news

    def drop(self, job: JobId) -> None:
        """The lease is lost: somebody else's now. Nothing of it is reported."""
        attempt = self._books.strike(job)
        if attempt is None:
            return
        log.warning("job %s, attempt %d: lease lost, dropped", job, attempt.lease.attempt)
        if attempt.stage is Stage.RUNNING:
            self.supervisor.cancel(attempt.run)
        elif attempt.stage is not Stage.REPORTING:
            self._errands.recall(attempt)
        self.reporter.forget(job)
        self._on_change()

    def give_back_waiting(self) -> None:
        """Give back what has not begun."""
        for attempt in self._books:
            if attempt.stage < Stage.RUNNING:
                self._errands.recall(attempt)
                self._release(attempt)
        self._on_change()

    def drain(self) -> None:
        """Give back what has not begun, also in the child; what runs goes on."""
        self._is_draining = True
        self.give_back_waiting()
        self.supervisor.withdraw()

    def give_back_running(self) -> None:
        """After the supervisor has stopped: what was still running was not done."""
        for attempt in self._books:
            if attempt.stage is Stage.RUNNING:
                self._release(attempt)
        self._on_change()

    async def stop(self) -> None:
        """End all transfers."""
        await self._checkpoints.stop()
        await self._row.stop()
        await self._errands.stop()

    # --- supervised.Listener ------------------------------------------------------------------------------------

    def on_child(self) -> None:
        if self.supervisor.is_failing:
            self.give_back_waiting()  # another worker may be luckier
        self._feed()
        self._on_change()

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        attempt = self._books.of(run)
        if attempt is None:
            return
        if checkpoint is not None:
            run.needs_cleaning = True
            self._checkpoints.offer(run, checkpoint)
        if attempt.phases is not None and stage is not None:
            attempt.phases.at_stage(stage, self._clock.now_s())
        self._checkpoints.note(run, fraction, stage)
        self.reporter.progress(Progress(id=run.id, attempt=run.attempt, fraction=fraction, stage=stage))

    def on_endings(self, endings: Sequence[Ending]) -> None:
        again: list[Attempt] = []
        for ending in endings:
            run = ending.run
            run.needs_cleaning = run.needs_cleaning or ending.has_folder
            attempt = self._books.of(run)
            if attempt is None:
                if not ending.lingers:
                    self._errands.clean(run)
            elif ending.unbegun and not self._is_draining and not attempt.is_cancelled:
                again.append(attempt)
            else:
                self._end(attempt, ending)
        for attempt in reversed(again):
            run = attempt.run
            run.folder = f"{run.base}/out{run.handbacks}"
            if self._checkpoints.newest(run) is None:
                self._row.rejoin(attempt)
            else:  # it need not begin at the beginning
                self._books.move(attempt, Stage.FETCHING)
                self._errands.send(attempt, partial(self._fetch, attempt, ()))
        self._feed()
        self._on_change()

    def on_ghost(self, run: Run) -> None:
        attempt = self._books.of(run)
        if attempt is not None and attempt.stage is Stage.RUNNING:
            return  # who stopped the child gives it back, with its last checkpoint
        run.needs_cleaning = True
        self._errands.clean(run)
        self._feed()  # its lane is free

    # --- stage by stage -----------------------------------------------------------------------------------------

    def _enter(self, lease: Lease) -> Attempt:
        base = self._scratch.attempt(lease.id, lease.attempt)
        timeout_s = lease.timeout_s if lease.timeout_s > 0 else self._default_timeout_s
        run = Run(lease.id, lease.attempt, lease.payload, timeout_s, base, f"{base}/out0")
        attempt = Attempt(lease, run)
        self._books.enter(attempt)
        return attempt

    def _accept(self, lease: Lease) -> None:
        attempt = self._enter(lease)
        run = attempt.run
        try:
            part = _payload_part.decode(lease.payload)
        except msgspec.DecodeError as error:
            message = f"the job's payload cannot be read: {error}"
            self._fail(attempt, JobError(code="invalid_input", message=message))
            return
        files = part.files
        about(lease.id, lease.attempt, part.traceparent)
        run.traceparent = handed_on(lease.id, part.traceparent, "run", lease.attempt)
        if is_on():
            self._begin_phases(attempt, part.traceparent)
        if lease.checkpoint is not None:
            self._checkpoints.inherit(run, lease.checkpoint)
        if files or lease.checkpoint is not None:
            run.needs_cleaning = True
            self._errands.send(attempt, partial(self._fetch, attempt, files))
        else:
            self._row.join(attempt)

    def _begin_phases(self, attempt: Attempt, traceparent: str | None) -> None:
        now_s = self._clock.now_s()
        attempt.phases = Phases(attempt.lease, traceparent, now_s)
        ready_at_s, took_s = self.supervisor.ready_at_s, self.supervisor.ready_after_s
        if ready_at_s is not None and took_s is not None:
            ready_at_s += now_s - self._clock.monotonic_s()
            attempt.phases.waited_for_start(ready_at_s - took_s, ready_at_s)

    async def _fetch(self, attempt: Attempt, files: Sequence[BlobRef]) -> None:
        run = attempt.run
        folder = Path(run.base, "in")
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        if files:
            run.paths = await self._transfer.fetch(files, folder)
            if attempt.phases is not None:
                attempt.phases.over("download", self._clock.now_s())
        checkpoint = self._checkpoints.newest(run)
        if checkpoint is not None:
            run.checkpoint = await self._transfer.fetch_if_there(checkpoint, folder)
        self._row.join(attempt)
        self._feed()

    def _feed(self) -> None:
        """Give the child what it takes now."""
        if not self._is_draining:
            self._row.feed(self.supervisor)

    def _on_gathered(self) -> None:
        self._feed()
        self._on_change()

    def _end(self, attempt: Attempt, ending: Ending) -> None:
        if attempt.phases is not None:
            error = None if ending.error is None else ending.error.message
            attempt.phases.over("run", self._clock.now_s(), error=error)
        if ending.files:
            self._books.move(attempt, Stage.STORING)
            self._errands.send(attempt, partial(self._store, attempt, ending))
            return
        if ending.outputs is not None:
            self._complete(attempt, ending, [])
        elif (
            ending.error is not None
            and is_retryable(ending.error, self._retry)
            and self._checkpoints.is_busy(attempt.run)
        ):
            self._books.move(attempt, Stage.STORING)
            self._errands.send(attempt, partial(self._fail_with_checkpoint, attempt, ending.error))
            return
        elif ending.error is not None:
            self._fail(attempt, ending.error)
        elif ending.cancelled or attempt.is_cancelled:
            self._report_cancelled(attempt)
        else:
            self._release(attempt)
        if not ending.lingers:
            self._errands.clean(attempt.run)

    async def _store(self, attempt: Attempt, ending: Ending) -> None:
        refs = await self._transfer.store(ending.files)
        if attempt.phases is not None:
            attempt.phases.over("upload", self._clock.now_s())
        self._complete(attempt, ending, refs)

    def _complete(self, attempt: Attempt, ending: Ending, refs: list[BlobRef]) -> None:
        assert ending.outputs is not None
        outputs = place(ending.outputs, [ref.id for ref in refs]) if refs else ending.outputs
        self._books.move(attempt, Stage.REPORTING)
        lease = attempt.lease
        completion = Completion(
            id=lease.id, attempt=lease.attempt, outputs=outputs, output_files=tuple(refs), run_s=ending.run_s
        )
        self.reporter.complete(completion, size=ending.outputs_bytes)

    async def _fail_with_checkpoint(self, attempt: Attempt, error: JobError) -> None:
        """The next attempt shall have the last word of this one."""
        await self._checkpoints.finish_run(attempt.run)
        self._fail(attempt, error)

    def _fail(self, attempt: Attempt, error: JobError) -> None:
        self._books.move(attempt, Stage.REPORTING)
        lease = attempt.lease
        if error.code not in NO_FAULT_CODES:
            error = msgspec.structs.replace(error, details={**self.supervisor.facts, **error.details})
        wait_s = decide_retry(error, lease.attempt, lease.max_attempts, self._rand(), settings=self._retry)
        self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error, retry_after_s=wait_s))

    def _report_cancelled(self, attempt: Attempt) -> None:
        self._books.move(attempt, Stage.REPORTING)
        lease = attempt.lease
        error = JobError(code="cancelled", message="stopped as asked")
        self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error, cancelled=True))

    def _release(self, attempt: Attempt) -> None:
        self._books.move(attempt, Stage.REPORTING)
        self.reporter.release(Held(attempt.lease.id, attempt.lease.attempt))

    def settled(self, reported: Sequence[Held]) -> None:
        """The broker has answered: off the books."""
        for held in reported:
            attempt = self._books.get(held.id)
            if attempt is not None and attempt.lease.attempt == held.attempt and attempt.stage is Stage.REPORTING:
                self._books.strike(held.id)

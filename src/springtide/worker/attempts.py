"""The attempts a worker holds, each on its way: fetching → ready → running → storing → reporting.

The stages overlap: while one attempt computes, the inputs of the next are fetched and the outputs of the last are
stored. Promises: every accepted attempt is reported exactly once (completed, failed, cancelled or given back), unless
its lease is lost; what was lost is stopped and never reported; its folder is removed in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import AttemptFailed
from springtide.domain.ids import JobId
from springtide.domain.job import BlobRef, JobError
from springtide.domain.lease import Completion, Failure, Held, Lease, Progress
from springtide.engines.places import place
from springtide.policy.retry import decide_retry, is_retryable
from springtide.telemetry.logs import about
from springtide.telemetry.tracing import handed_on, is_on
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.phases import Phases
from springtide.worker.reporter import Reporter
from springtide.worker.run import Ending, Run
from springtide.worker.scratch import Scratch, remove
from springtide.worker.settings import WorkerSettings
from springtide.worker.supervisor import Supervisor
from springtide.worker.transfer import Transfer

log = logging.getLogger(__name__)


# Failures that are not the engine's: running it again would show nothing.
NO_FAULT_CODES = frozenset({"invalid_input", "bad_media", "input_missing", "storage_unavailable"})


class Stage(IntEnum):
    """Where an attempt is."""

    FETCHING = 0
    READY = 1
    RUNNING = 2  # in the child, also where it has not begun there
    STORING = 3
    REPORTING = 4


class _PayloadPart(msgspec.Struct):
    """The part of `domain.lease.Payload` that the worker itself reads; the child decodes the whole."""

    files: tuple[BlobRef, ...] = ()
    traceparent: str | None = None


_payload_part = msgspec.msgpack.Decoder(_PayloadPart)


@dataclass(slots=True, eq=False)
class _Attempt:
    lease: Lease
    run: Run
    stage: Stage = Stage.FETCHING
    is_cancelled: bool = False
    ready_at_s: float = 0.0  # monotonic
    task: asyncio.Task[None] | None = None
    phases: Phases | None = None  # where traces are told


class Attempts:
    """Implements `supervisor.Listener`."""

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
        self._batch = settings.batch
        self._batch_wait_s = settings.batch_wait_s
        self._default_timeout_s = settings.timeout_s
        self._retry = settings.retry
        self._transfer = transfer
        self._checkpoints = checkpoints
        self._scratch = scratch
        self._clock = clock
        self._rand = rand
        self._on_change = on_change
        self._attempts: dict[JobId, _Attempt] = {}
        self._ready: deque[_Attempt] = deque()
        self._in_stage = [0] * len(Stage)
        self._gathering: asyncio.Task[None] | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order they began
        self._is_draining = False
        self.supervisor: Supervisor
        self.reporter: Reporter

    # --- what is held -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Held and not yet in the child."""
        return self._in_stage[Stage.FETCHING] + self._in_stage[Stage.READY]

    @property
    def running(self) -> int:
        return self._in_stage[Stage.RUNNING]

    @property
    def storing(self) -> int:
        return self._in_stage[Stage.STORING]

    @property
    def occupied(self) -> int:
        """Slots in use: what only waits for the broker's answer needs none."""
        return self.waiting + self.running + self.storing

    def attempt_of(self, job: JobId) -> int | None:
        """The number of the attempt that is held."""
        attempt = self._attempts.get(job)
        return None if attempt is None else attempt.lease.attempt

    def held(self) -> list[Held]:
        return [Held(job, attempt.lease.attempt) for job, attempt in self._attempts.items()]

    # --- what the worker is told --------------------------------------------------------------------------------

    def accept(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            if self.attempt_of(lease.id) == lease.attempt:  # ours before the broker lost its memory, and ours again
                continue
            if lease.id in self._attempts:  # an older attempt of the same job: its lease is lost, as we now know
                self.drop(lease.id)
            self._accept(lease)
        self._pump()
        self._on_change()

    def refuse(self, leases: Iterable[Lease], error: JobError) -> None:
        """Fail these for good, unrun: another attempt would find the same."""
        for lease in leases:
            self.drop(lease.id)
            attempt = self._enter(lease)
            self._move(attempt, Stage.REPORTING)
            self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error))
        self._on_change()

    def cancel(self, jobs: Iterable[JobId]) -> bool:
        """Stop these politely. True where one of them was news."""
        news = False
        for job in jobs:
            attempt = self._attempts.get(job)
            if attempt is None or attempt.is_cancelled:
                continue
            news = attempt.is_cancelled = True
            if attempt.stage is Stage.RUNNING:
                self.supervisor.cancel(attempt.run)
            elif attempt.stage is not Stage.REPORTING:  # what was made need not be stored
                self._stop_waiting(attempt)
                self._report_cancelled(attempt)
        self._on_change()
        return news

    def drop(self, job: JobId) -> None:
        """The lease is lost: somebody else's now. Nothing of it is reported."""
        attempt = self._attempts.pop(job, None)
        if attempt is None:
            return
        log.warning("job %s, attempt %d: lease lost, dropped", job, attempt.lease.attempt)
        self._in_stage[attempt.stage] -= 1
        if attempt.stage is Stage.RUNNING:
            self.supervisor.cancel(attempt.run)
        elif attempt.stage is not Stage.REPORTING:
            self._stop_waiting(attempt)
        self.reporter.forget(job)
        self._on_change()

    def give_back_waiting(self) -> None:
        """Give back what has not begun."""
        for attempt in list(self._attempts.values()):
            if attempt.stage < Stage.RUNNING:
                self._stop_waiting(attempt)
                self._release(attempt)
        self._on_change()

    def drain(self) -> None:
        """Give back what has not begun, also in the child; what runs goes on."""
        self._is_draining = True
        self.give_back_waiting()
        self.supervisor.withdraw()

    def give_back_running(self) -> None:
        """After the supervisor has stopped: what was still running was not done."""
        for attempt in list(self._attempts.values()):
            if attempt.stage is Stage.RUNNING:
                self._release(attempt)
        self._on_change()

    async def stop(self) -> None:
        """End all transfers."""
        await self._checkpoints.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- supervisor.Listener ------------------------------------------------------------------------------------

    def on_child(self) -> None:
        if self.supervisor.is_failing:
            self.give_back_waiting()  # another worker may be luckier
        self._pump()
        self._on_change()

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        attempt = self._attempts.get(run.id)
        if attempt is None or attempt.run is not run:
            return
        if checkpoint is not None:
            run.needs_cleaning = True
            self._checkpoints.offer(run, checkpoint)
        if attempt.phases is not None and stage is not None:
            attempt.phases.at_stage(stage, self._clock.now_s())
        self._checkpoints.note(run, fraction, stage)
        self.reporter.progress(Progress(id=run.id, attempt=run.attempt, fraction=fraction, stage=stage))

    def on_endings(self, endings: Sequence[Ending]) -> None:
        again: list[_Attempt] = []
        for ending in endings:
            run = ending.run
            run.needs_cleaning = run.needs_cleaning or ending.has_folder
            attempt = self._attempts.get(run.id)
            if attempt is None or attempt.run is not run:
                if not ending.lingers:
                    self._clean(run)
            elif ending.unbegun and not self._is_draining and not attempt.is_cancelled:
                again.append(attempt)
            else:
                self._end(attempt, ending)
        for attempt in reversed(again):
            run = attempt.run
            run.folder = f"{run.base}/out{run.handbacks}"
            if self._checkpoints.newest(run) is None:
                self._move(attempt, Stage.READY)
                self._ready.appendleft(attempt)
            else:  # it need not begin at the beginning
                self._move(attempt, Stage.FETCHING)
                self._spawn(attempt, partial(self._fetch, attempt, ()))
        self._pump()
        self._on_change()

    def on_ghost(self, run: Run) -> None:
        run.needs_cleaning = True
        self._clean(run)
        self._pump()  # its lane is free

    # --- stage by stage -----------------------------------------------------------------------------------------

    def _enter(self, lease: Lease) -> _Attempt:
        base = self._scratch.attempt(lease.id, lease.attempt)
        timeout_s = lease.timeout_s if lease.timeout_s > 0 else self._default_timeout_s
        run = Run(lease.id, lease.attempt, lease.payload, timeout_s, base, f"{base}/out0")
        attempt = self._attempts[lease.id] = _Attempt(lease, run)
        self._in_stage[Stage.FETCHING] += 1
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
            self._spawn(attempt, partial(self._fetch, attempt, files))
        else:
            self._make_ready(attempt)

    def _begin_phases(self, attempt: _Attempt, traceparent: str | None) -> None:
        now_s = self._clock.now_s()
        attempt.phases = Phases(attempt.lease, traceparent, now_s)
        ready_at_s, took_s = self.supervisor.ready_at_s, self.supervisor.ready_after_s
        if ready_at_s is not None and took_s is not None:
            ready_at_s += now_s - self._clock.monotonic_s()
            attempt.phases.waited_for_start(ready_at_s - took_s, ready_at_s)

    async def _fetch(self, attempt: _Attempt, files: Sequence[BlobRef]) -> None:
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
        self._make_ready(attempt)
        self._pump()

    def _make_ready(self, attempt: _Attempt) -> None:
        attempt.ready_at_s = self._clock.monotonic_s()
        self._move(attempt, Stage.READY)
        self._ready.append(attempt)

    def _pump(self) -> None:
        """Give the idle child the next batch, unless it may still grow; or fill its lanes."""
        if self._is_draining or self.supervisor.room == 0 or self._in_stage[Stage.READY] == 0:
            return
        if self.supervisor.lanes > 1:
            self._fill_lanes()
            return
        full = min(self._batch, self.supervisor.most_together)
        if self._batch_wait_s > 0 and self._in_stage[Stage.READY] < full and self._gather():
            return
        # Where only like jobs share a run the child picks them: the more it has to pick from, the fuller its batches.
        most = len(self._ready) if self.supervisor.has_shapes else self._batch
        runs: list[Run] = []
        while self._ready and len(runs) < most:
            attempt = self._ready.popleft()
            if self._is_ready(attempt):
                runs.append(self._begin(attempt))
        if runs:
            self.supervisor.dispatch(runs)

    def _fill_lanes(self) -> None:
        while self._ready:
            attempt = self._ready[0]
            if self._is_ready(attempt):
                if not self.supervisor.takes(attempt.run):
                    return
                self.supervisor.dispatch([self._begin(attempt)])
            self._ready.popleft()

    def _begin(self, attempt: _Attempt) -> Run:
        self._move(attempt, Stage.RUNNING)
        if attempt.phases is not None:
            attempt.phases.skip(self._clock.now_s())
        return attempt.run

    def _gather(self) -> bool:
        """Whether to wait for more jobs, as the first one may for a while; `_pump` is called again after that."""
        while not self._is_ready(self._ready[0]):
            self._ready.popleft()
        left_s = self._ready[0].ready_at_s + self._batch_wait_s - self._clock.monotonic_s()
        if left_s <= 0:
            return False
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._pump_after(left_s))
            self._keep(self._gathering)
        return True

    async def _pump_after(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._gathering = None
        self._pump()
        self._on_change()

    def _is_ready(self, attempt: _Attempt) -> bool:
        """False for one that was cancelled, given back or lost since it was put into the row."""
        return attempt.stage is Stage.READY and self._attempts.get(attempt.lease.id) is attempt

    def _end(self, attempt: _Attempt, ending: Ending) -> None:
        if attempt.phases is not None:
            error = None if ending.error is None else ending.error.message
            attempt.phases.over("run", self._clock.now_s(), error=error)
        if ending.files:
            self._move(attempt, Stage.STORING)
            self._spawn(attempt, partial(self._store, attempt, ending))
            return
        if ending.outputs is not None:
            self._complete(attempt, ending, [])
        elif (
            ending.error is not None
            and is_retryable(ending.error, self._retry)
            and self._checkpoints.is_busy(attempt.run)
        ):
            self._move(attempt, Stage.STORING)
            self._spawn(attempt, partial(self._fail_with_checkpoint, attempt, ending.error))
            return
        elif ending.error is not None:
            self._fail(attempt, ending.error)
        elif ending.cancelled or attempt.is_cancelled:
            self._report_cancelled(attempt)
        else:
            self._release(attempt)
        if not ending.lingers:
            self._clean(attempt.run)

    async def _store(self, attempt: _Attempt, ending: Ending) -> None:
        refs = await self._transfer.store(ending.files)
        if attempt.phases is not None:
            attempt.phases.over("upload", self._clock.now_s())
        self._complete(attempt, ending, refs)

    def _complete(self, attempt: _Attempt, ending: Ending, refs: list[BlobRef]) -> None:
        assert ending.outputs is not None
        outputs = place(ending.outputs, [ref.id for ref in refs]) if refs else ending.outputs
        self._move(attempt, Stage.REPORTING)
        lease = attempt.lease
        completion = Completion(
            id=lease.id, attempt=lease.attempt, outputs=outputs, output_files=tuple(refs), run_s=ending.run_s
        )
        self.reporter.complete(completion, size=ending.outputs_bytes)

    async def _fail_with_checkpoint(self, attempt: _Attempt, error: JobError) -> None:
        """The next attempt shall have the last word of this one."""
        await self._checkpoints.finish_run(attempt.run)
        self._fail(attempt, error)

    def _fail(self, attempt: _Attempt, error: JobError) -> None:
        self._move(attempt, Stage.REPORTING)
        lease = attempt.lease
        if error.code not in NO_FAULT_CODES:
            error = msgspec.structs.replace(error, details={**self.supervisor.facts, **error.details})
        wait_s = decide_retry(error, lease.attempt, lease.max_attempts, self._rand(), settings=self._retry)
        self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error, retry_after_s=wait_s))

    def _report_cancelled(self, attempt: _Attempt) -> None:
        self._move(attempt, Stage.REPORTING)
        lease = attempt.lease
        error = JobError(code="cancelled", message="stopped as asked")
        self.reporter.fail(Failure(id=lease.id, attempt=lease.attempt, error=error, cancelled=True))

    def _release(self, attempt: _Attempt) -> None:
        self._move(attempt, Stage.REPORTING)
        self.reporter.release(Held(attempt.lease.id, attempt.lease.attempt))

    def settled(self, reported: Sequence[Held]) -> None:
        """The broker has answered: off the books."""
        for held in reported:
            attempt = self._attempts.get(held.id)
            if attempt is not None and attempt.lease.attempt == held.attempt and attempt.stage is Stage.REPORTING:
                del self._attempts[held.id]
                self._in_stage[Stage.REPORTING] -= 1

    def _move(self, attempt: _Attempt, stage: Stage) -> None:
        self._in_stage[attempt.stage] -= 1
        self._in_stage[stage] += 1
        attempt.stage = stage

    # --- transfers and folders ----------------------------------------------------------------------------------

    def _spawn(self, attempt: _Attempt, transfer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:
            try:
                await transfer()
            except AttemptFailed as failed:
                details = failed.details
                error = JobError(code=failed.code, message=failed.message, retryable=failed.retryable, details=details)
                self._fail_transfer(attempt, error)
            except Exception as unexpected:
                log.exception("job %s: files could not be moved", attempt.lease.id)
                message = f"files could not be moved: {type(unexpected).__name__}: {unexpected}"
                self._fail_transfer(attempt, JobError(code="storage_unavailable", message=message, retryable=True))

        attempt.task = asyncio.create_task(guarded())
        self._keep(attempt.task)
        attempt.task.add_done_callback(lambda task: self._transfer_over(attempt, task))  # also of one that never began

    def _transfer_over(self, attempt: _Attempt, task: asyncio.Task[None]) -> None:
        if attempt.task is not task:
            return
        attempt.task = None
        is_held = self._attempts.get(attempt.lease.id) is attempt
        if not is_held or attempt.stage not in (Stage.READY, Stage.RUNNING):
            self._clean(attempt.run)
        self._on_change()

    def _fail_transfer(self, attempt: _Attempt, error: JobError) -> None:
        if self._attempts.get(attempt.lease.id) is attempt:
            self._fail(attempt, error)

    def _stop_waiting(self, attempt: _Attempt) -> None:
        """A transfer that runs cleans up after itself."""
        if attempt.task is not None:
            attempt.task.cancel()
        else:
            self._clean(attempt.run)

    def _clean(self, run: Run) -> None:
        busy = self._checkpoints.end(run)
        if busy is not None:
            busy.add_done_callback(lambda _: self._clean(run))
            return
        if not run.needs_cleaning:
            return
        run.needs_cleaning = False
        task = asyncio.create_task(asyncio.to_thread(remove, run.base))
        self._keep(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

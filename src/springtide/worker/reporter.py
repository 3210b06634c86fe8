"""The way back to the broker: results, failures, attempts given back, and progress in between.

Promises: a report is repeated until the broker has answered it or the lease is lost; while one call is under way the
next batch gathers, without a timer; progress of an attempt never follows its end. Progress itself may be dropped: only
the newest counts, and only while the broker is there; what says nothing new is not sent. A result whose job the broker
does not know is kept until it does (it was emptied, and is filled again from the ledger) or `forget` is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import JobRef
from springtide.domain.lease import Completion, Failure, Held, Progress
from springtide.runtime.backoff import Backoff
from springtide.runtime.waiting import first_of, stop_task

log = logging.getLogger(__name__)

BATCH_ITEMS = 256
UNKNOWN_AGAIN_S = 1.0  # between tries where the broker does not know the job
BATCH_BYTES = 4 << 20  # of outputs in one call: a broker's connection is shared with the heartbeat

ReportT = TypeVar("ReportT", Completion, Failure, Held)


class Reporter:
    """Queues reports and sends them in batches from one task."""

    def __init__(
        self,
        model: ModelName,
        worker: WorkerId,
        *,
        broker: Broker,
        clock: Clock,
        on_settled: Callable[[Sequence[Held]], None],
    ) -> None:
        """on_settled: told of attempts that are off this worker's books: reported, refused or given up."""
        self._model = model
        self._worker = worker
        self._broker = broker
        self._clock = clock
        self._on_settled = on_settled
        self._done: dict[JobId, Completion] = {}
        self._failed: dict[JobId, Failure] = {}
        self._released: dict[JobId, Held] = {}
        self._progress: dict[JobId, Progress] = {}
        self._told: dict[JobId, Progress] = {}  # the last that was published
        self._bytes: dict[JobId, int] = {}
        self._open: dict[JobId, int] = {}  # attempt by job, from its report to the broker's answer
        self._is_kept = False  # some report was not taken because the broker does not know its job
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reporter")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await stop_task(task)

    async def drained(self) -> None:
        """Wait until every report has been answered."""
        await self._clean.wait()

    def complete(self, completion: Completion, *, size: int) -> None:
        self._done[completion.id] = completion
        self._bytes[completion.id] = size
        self._opened(completion)

    def fail(self, failure: Failure) -> None:
        self._failed[failure.id] = failure
        self._opened(failure)

    def release(self, held: Held) -> None:
        self._released[held.id] = held
        self._opened(held)

    def progress(self, progress: Progress) -> None:
        if self._told.get(progress.id) == progress:
            self._progress.pop(progress.id, None)
            return
        self._progress[progress.id] = progress
        self._dirty.set()

    def forget(self, job: JobId) -> None:
        """The lease is lost: say nothing of this job any more."""
        for reports in (self._done, self._failed, self._released, self._progress, self._told, self._bytes):
            reports.pop(job, None)
        self._open.pop(job, None)
        self._note_clean()

    def _opened(self, report: Completion | Failure | Held) -> None:
        self._open[report.id] = report.attempt
        self._clean.clear()
        self._dirty.set()

    def _note_clean(self) -> None:
        if not self._open:
            self._clean.set()

    async def _run(self) -> None:
        backoff = Backoff(0.1, 5.0)
        while True:
            if self._is_kept:
                await first_of(self._dirty.wait(), self._clock.sleep(UNKNOWN_AGAIN_S))
            else:
                await self._dirty.wait()
            self._dirty.clear()
            self._is_kept = False
            try:
                await self._flush()
            except (Unavailable, OutcomeUnknown) as error:
                if backoff.failures == 0:
                    log.warning("results wait for the broker: %s", error)
            except Exception:
                log.exception("results could not be sent, trying again")
            else:
                if backoff.failures:
                    log.info("the broker answers again")
                    backoff.reset()
                continue
            self._dirty.set()
            await self._clock.sleep(backoff.next_s())

    async def _flush(self) -> None:
        """Everything that is queued now, progress first."""
        if self._progress:
            progress, self._progress = list(self._progress.values()), {}
            await self._publish(progress)
        broker = self._broker
        await self._send(self._done, broker.complete)
        await self._send(self._failed, broker.fail)
        await self._send(self._released, broker.release)

    async def _publish(self, progress: list[Progress]) -> None:
        self._told.update((one.id, one) for one in progress)
        try:
            await self._broker.publish(self._model, self._worker, progress, self._clock.now_s())
            return
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("progress was not published, the next one says more: %s", error)
        except Exception:
            log.exception("progress could not be published")
        for one in progress:
            if self._told.get(one.id) is one:
                del self._told[one.id]

    async def _send(
        self,
        queued: dict[JobId, ReportT],
        verb: Callable[[ModelName, WorkerId, Sequence[ReportT], float], Awaitable[list[bool]]],
    ) -> None:
        kept: list[ReportT] = []
        try:
            while queued:
                batch = self._take(queued)
                try:
                    kept += await self._call(batch, verb)
                except BaseException:
                    kept += batch
                    raise
        finally:
            # Not those whose lease was lost, or that were given another report, while the call was under way.
            for report in kept:
                if self._open.get(report.id) == report.attempt:
                    queued.setdefault(report.id, report)

    async def _call(
        self,
        batch: list[ReportT],
        verb: Callable[[ModelName, WorkerId, Sequence[ReportT], float], Awaitable[list[bool]]],
    ) -> list[ReportT]:
        """Gives those that are to be sent again."""
        try:
            accepted = await verb(self._model, self._worker, batch, self._clock.now_s())
        except (Unavailable, OutcomeUnknown):
            raise
        except Exception:
            if len(batch) > 1:  # one report spoils the call: find it
                return [kept for report in batch for kept in await self._call([report], verb)]
            # The lease is no longer named by the beat, so the broker takes it back.
            log.exception("the broker cannot take the report of job %s", batch[0].id)
            accepted = [True]
        refused = [report for report, is_taken in zip(batch, accepted, strict=True) if not is_taken]
        kept = await self._unknown(refused) if refused else []
        self._is_kept = self._is_kept or bool(kept)
        for report in refused:
            if report not in kept:
                # Its blobs stay: the answer to a repeated call is False too, and then they are the job's result.
                log.warning("job %s, attempt %d: no longer this worker's, report dropped", report.id, report.attempt)
        self._settled([report for report in batch if report not in kept])
        return kept

    async def _unknown(self, refused: list[ReportT]) -> list[ReportT]:
        """Results that were refused because the broker does not know their jobs. (Nothing is given back to it.)"""
        results = [report for report in refused if not isinstance(report, Held)]
        if not results:
            return []
        seen = await self._broker.peek([JobRef(self._model, report.id) for report in results], self._clock.now_s())
        return [report for report, found in zip(results, seen, strict=True) if found is None]

    def _settled(self, batch: Sequence[Completion | Failure | Held]) -> None:
        settled: list[Held] = []
        for report in batch:
            if self._open.get(report.id) == report.attempt:
                del self._open[report.id]
                self._bytes.pop(report.id, None)
                self._told.pop(report.id, None)
                settled.append(Held(report.id, report.attempt))
        self._on_settled(settled)
        self._note_clean()

    def _take(self, queued: dict[JobId, ReportT]) -> list[ReportT]:
        batch: list[ReportT] = []
        size = 0
        for job in list(queued):
            size += self._bytes.get(job, 0)
            if batch and (len(batch) >= BATCH_ITEMS or size > BATCH_BYTES):
                break
            batch.append(queued.pop(job))
        return batch

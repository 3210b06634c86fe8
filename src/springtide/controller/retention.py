"""Deletes what has been kept for its time: ended jobs with their files, uploads that no job ever used, the past of the
fleet and of bills, leftovers.

Crash-safe by its order: the ledger first says that nobody has a blob any more (from then on no request can name it), an
hour later its bytes go, and its row last. What a crash interrupts is done again, and doing it again changes nothing.
The hour is for a submit that looked the blob up just before: by then it is on record and has the blob, or it failed.

Works in small batches from the oldest on, so that it never holds up the queue; two controllers that do it at once only
do it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from springtide.blobs.protocol import Blobs
from springtide.domain.clock import Clock
from springtide.domain.ids import BlobId, JobId
from springtide.ledger.batches import Batches
from springtide.ledger.history import FleetHistory
from springtide.ledger.protocol import Ledger
from springtide.ledger.usage import Usage, day_of
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
LOOK_EVERY_S = 60.0
BATCH = 200  # a few milliseconds of the ledger's only writer
AT_ONCE = 16  # deletions in the blob store
MARGIN_S = 3600.0  # between a blob's end on record and the end of its bytes; no submit takes that long to commit
HISTORY_EVERY_S = 6 * 3600.0  # it looks at every row: a tenth of a second for a week of a dozen models
LEFTOVER_S = 86_400.0  # an upload that a crash broke off is of no use to anybody after a day


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept, in seconds."""

    keep_s: float | None  # ended jobs and their files; None: for ever
    keep_orphans_s: float  # uploads that no job has
    keep_history_s: float = 7 * 86_400.0  # scaling decisions, samples of queue and fleet
    keep_usage_s: float | None = None  # what tenants used, by day; None: for ever


class Retention:
    """A service: `start`, `stop`; `sweep` by hand."""

    def __init__(
        self,
        ledger: Ledger,
        batches: Batches,
        history: FleetHistory,
        blobs: Blobs,
        *,
        usage: Usage,
        settings: RetentionSettings,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._batches = batches
        self._blobs = blobs
        self._usage = usage
        self._settings = settings
        self._clock = clock
        self._leftovers_due_s = 0.0
        self._history_due_s = 0.0
        self._patient_until_s = 0.0
        self._offset_s: float | None = None
        self._loop = Loop("retention", self.sweep, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        keep_s = self._settings.keep_s
        days = "for ever" if keep_s is None else f"for {keep_s / 86_400:.3g} days"
        log.info("ended jobs and their files are kept %s ([ledger] keep_s)", days)
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    async def sweep(self) -> None:
        """One round over all that is due."""
        now_s = self._clock.now_s()
        if self._is_clock_doubtful(now_s):
            return
        keep_s = self._settings.keep_s
        jobs = await self._forget_jobs(now_s - keep_s) if keep_s is not None else 0
        uploads = await self._drop_uploads(now_s)
        blobs = await self._drop_blobs(now_s - self._settings.keep_orphans_s - MARGIN_S)
        if jobs or uploads or blobs:
            log.info("deleted %d old jobs, %d files and %d uploads never completed", jobs, blobs, uploads)
        if now_s >= self._history_due_s:
            self._history_due_s = now_s + HISTORY_EVERY_S
            await self._history.forget_history(before_s=now_s - self._settings.keep_history_s)
            if self._settings.keep_usage_s is not None:
                await self._usage.forget_used(before_day=day_of(now_s - self._settings.keep_usage_s))
        if keep_s is not None and (jobs or now_s >= self._leftovers_due_s):  # one without any job has nobody else
            await self._batches.forget_batches(before_s=now_s - keep_s)
        if now_s >= self._leftovers_due_s:
            self._leftovers_due_s = now_s + MARGIN_S
            leftovers = await self._blobs.remove_leftovers(before_s=now_s - LEFTOVER_S)
            if leftovers:
                log.info("removed %d uploads that were broken off", leftovers)

    def _is_clock_doubtful(self, now_s: float) -> bool:
        """A clock that is set to another year must not cost anybody a file: after a jump an hour goes by first."""
        offset_s = now_s - self._clock.monotonic_s()
        jump_s = 0.0 if self._offset_s is None else offset_s - self._offset_s
        self._offset_s = offset_s
        if abs(jump_s) > MARGIN_S:
            log.warning("the clock moved by %.0f s; nothing is deleted for an hour", jump_s)
            self._patient_until_s = self._clock.monotonic_s() + MARGIN_S
        return self._clock.monotonic_s() < self._patient_until_s

    async def _forget_jobs(self, before_s: float) -> int:
        loose_since_s = self._clock.now_s() - self._settings.keep_orphans_s  # its files were kept long enough
        count = 0
        after: JobId | None = None
        while True:
            jobs = await self._ledger.ended(before_s=before_s, after=after, limit=BATCH)
            if jobs:
                await self._ledger.forget(jobs, loose_since_s=loose_since_s)
                count += len(jobs)
                after = jobs[-1]
            if len(jobs) < BATCH:
                return count

    async def _drop_blobs(self, before_s: float) -> int:
        async def batch() -> Sequence[BlobId]:
            return await self._ledger.loose_blobs(before_s=before_s, limit=BATCH)

        return await self._drop(batch, self._ledger.drop_blobs)

    async def _drop_uploads(self, now_s: float) -> int:
        """Uploads whose URL expired an hour ago, with what was put there: those on record never became blobs."""

        async def batch() -> Sequence[BlobId]:
            return await self._ledger.stale_uploads(expired_before_s=now_s - MARGIN_S, limit=BATCH)

        return await self._drop(batch, self._ledger.drop_uploads)

    async def _drop(
        self, batch: Callable[[], Awaitable[Sequence[BlobId]]], drop: Callable[[Sequence[BlobId]], Awaitable[None]]
    ) -> int:
        count = 0
        gate = asyncio.Semaphore(AT_ONCE)

        async def delete(blob: BlobId) -> None:
            async with gate:
                await self._blobs.delete(blob)

        while True:
            blobs = await batch()
            if blobs:
                await asyncio.gather(*(delete(blob) for blob in blobs))
                await drop(blobs)
                count += len(blobs)
            if len(blobs) < BATCH:
                return count

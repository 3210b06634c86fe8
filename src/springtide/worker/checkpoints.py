"""Checkpoints on their way from a running engine to the blob store, and from there to the broker.

Promises: of each attempt one at a time is stored, at most one a second, and the newest counts; a checkpoint is told to
the broker only when it is stored, and only while the lease is this worker's. One that was replaced stays for a while:
the ledger, from which a lost broker is rebuilt, may still name it. What is left at the end of the job is deleted by
the recorder, which is told of all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field

from springtide.blobs.protocol import Blobs
from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import AttemptFailed, OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.ids import BlobId, ModelName, WorkerId
from springtide.domain.job import BlobRef, Checkpoint
from springtide.domain.lease import Progress
from springtide.runtime.backoff import Backoff
from springtide.runtime.waiting import first_of
from springtide.worker.frames import Made
from springtide.worker.run import Run
from springtide.worker.transfer import Transfer

log = logging.getLogger(__name__)

EVERY_S = 1.0  # what is lost with a worker is about a second of work
STORING_SHARE = 4.0  # a pause of so many times what storing took: at most a fifth of the time goes into it
OLDER_KEPT_S = 10.0  # the recorder notes the newest every second, a few seconds where the ledger is busy
MEDIA_TYPE = "application/octet-stream"


@dataclass(slots=True, eq=False)
class _Line:
    """One attempt's checkpoints."""

    run: Run
    newest: BlobRef | None
    older: deque[tuple[float, BlobId]]  # since when each is replaced
    fraction: float = 0.0
    stage: str | None = None
    pending: str | None = None  # the file of one that is not stored yet
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)  # no pause before the next
    task: asyncio.Task[None] | None = None


class Checkpoints:
    """The checkpoints of all attempts of one worker."""

    def __init__(
        self, model: ModelName, worker: WorkerId, *, broker: Broker, blobs: Blobs, transfer: Transfer, clock: Clock
    ) -> None:
        self._model = model
        self._worker = worker
        self._broker = broker
        self._blobs = blobs
        self._transfer = transfer
        self._clock = clock
        self._lines: dict[Run, _Line] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order they began

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def inherit(self, run: Run, checkpoint: Checkpoint) -> None:
        """This attempt begins with an earlier one's."""
        now_s = self._clock.monotonic_s()
        older = deque((now_s, blob) for blob in checkpoint.older)
        self._lines[run] = _Line(run, checkpoint.file, older)

    def newest(self, run: Run) -> BlobRef | None:
        """The one that this run should go on from, had it to begin again now."""
        line = self._lines.get(run)
        return None if line is None else line.newest

    def offer(self, run: Run, path: str) -> None:
        """The engine has made one: a file in the attempt's folder that nobody else touches."""
        line = self._lines.setdefault(run, _Line(run, None, deque()))
        line.pending = path
        if line.task is None:
            line.task = asyncio.create_task(self._keep(line), name="checkpoints")
            self._tasks[line.task] = None
            line.task.add_done_callback(self._tasks.pop)

    def note(self, run: Run, fraction: float, stage: str | None) -> None:
        """How far the run is: a checkpoint is told with it, and must not seem to turn it back."""
        line = self._lines.get(run)
        if line is not None:
            line.fraction, line.stage = fraction, stage

    def is_busy(self, run: Run) -> bool:
        line = self._lines.get(run)
        return line is not None and line.task is not None

    async def finish(self) -> None:
        """Wait until every last one is stored and told, or cannot be."""
        for run in list(self._lines):
            await self.finish_run(run)

    async def finish_run(self, run: Run) -> None:
        line = self._lines.get(run)
        if line is not None and line.task is not None:
            line.hurry.set()
            await asyncio.wait([line.task])
            line.hurry.clear()

    def end(self, run: Run) -> asyncio.Task[None] | None:
        """The attempt is over, no more is wanted. Gives what is still busy with its files, where something is."""
        line = self._lines.pop(run, None)
        if line is None or line.task is None:
            return None
        line.ended.set()
        line.hurry.set()
        return line.task

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _keep(self, line: _Line) -> None:
        """Store what is pending, and what comes meanwhile, at a bearable pace."""
        is_ours = True
        try:
            while is_ours and line.pending is not None and not line.ended.is_set():
                path, line.pending = line.pending, None
                began_s = self._clock.monotonic_s()
                is_ours = await self._store(line, path)
                took_s = self._clock.monotonic_s() - began_s
                await first_of(self._clock.sleep(max(EVERY_S - took_s, STORING_SHARE * took_s)), line.hurry.wait())
        except Exception:
            log.exception("job %s: a checkpoint could not be kept", line.run.id)
        finally:
            line.task = None

    async def _store(self, line: _Line, path: str) -> bool:
        """Store one and tell of it. False where the job is not this worker's any more."""
        await self._delete_old(line)
        try:
            [file] = await self._transfer.store([Made(path, MEDIA_TYPE, None)])
        except AttemptFailed as error:
            log.warning("job %s: a checkpoint is not kept: %s", line.run.id, error.message)
            return True
        older = line.older.copy()
        if line.newest is not None:
            older.append((self._clock.monotonic_s(), line.newest.id))
        checkpoint = Checkpoint(file=file, older=tuple(blob for _, blob in older))
        if not await self._tell(line, checkpoint):
            return False
        line.newest, line.older = file, older
        return True

    async def _tell(self, line: _Line, checkpoint: Checkpoint) -> bool:
        backoff = Backoff(0.1, 5.0)
        may_be_known = False
        while not line.ended.is_set():
            run = line.run
            told = Progress(
                id=run.id, attempt=run.attempt, fraction=line.fraction, stage=line.stage, checkpoint=checkpoint
            )
            try:
                [is_ours] = await self._broker.publish(self._model, self._worker, [told], self._clock.now_s())
            except (Unavailable, OutcomeUnknown) as error:
                may_be_known = may_be_known or isinstance(error, OutcomeUnknown)
                await first_of(self._clock.sleep(backoff.next_s()), line.ended.wait())
                continue
            if is_ours:
                return True
            break
        if not may_be_known:
            await self._delete(checkpoint.file.id)
        return False

    async def _delete_old(self, line: _Line) -> None:
        while line.older and line.older[0][0] + OLDER_KEPT_S <= self._clock.monotonic_s():
            await self._delete(line.older.popleft()[1])

    async def _delete(self, blob: BlobId) -> None:
        try:
            await self._blobs.delete(blob)
        except SpringtideError as error:
            log.warning("an old checkpoint stays behind: %s", error)

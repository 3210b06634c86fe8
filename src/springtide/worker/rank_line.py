"""The line of one process of a gang to broker and blobs, on a thread of its own: the engine has the main one.

It reports in the name of the worker that holds the lease, with the attempt's number, so the broker's fencing holds for
a gang as for a worker: whoever is late changes nothing. Promises: a report is repeated until the broker has answered;
a rank whose attempt is somebody else's by now ends itself, whoever may have forgotten it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from springtide.blobs.protocol import Blobs
from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.job import BlobRef, JobError, JobRef
from springtide.domain.lease import Completion, Failure, Lease, Progress
from springtide.policy.retry import RetrySettings, decide_retry
from springtide.runtime.backoff import Backoff
from springtide.runtime.waiting import stop_task
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.frames import Made
from springtide.worker.reporter import Reporter
from springtide.worker.run import Run
from springtide.worker.transfer import Transfer

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0  # whether the attempt is still ours: as often as a worker's heartbeat
TELL_EVERY_S = 0.1  # of progress: ten a second are plenty for who watches
LOST_EXIT = 4  # the attempt is somebody else's
T = TypeVar("T")


class RankLine:
    """`start`, then any of the others from the engine's thread, each of which waits for its end; `stop`."""

    def __init__(
        self,
        lease: Lease,
        folder: Path,
        *,
        broker: Broker,
        blobs: Blobs,
        clock: Clock,
        rand: Callable[[], float],
        retry: RetrySettings,
        leave: Callable[[int], Any] = os._exit,
    ) -> None:
        """folder: of the attempt, on this machine. leave: ends the process with an exit code."""
        self._lease = lease
        self._broker = broker
        self._blobs = blobs
        self._clock = clock
        self._rand = rand
        self._retry = retry
        self._leave = leave
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rank line", daemon=True)
        self._transfer = Transfer(blobs, clock)
        self._reporter = Reporter(lease.model, lease.worker, broker=broker, clock=clock, on_settled=lambda _: None)
        self._checkpoints = Checkpoints(
            lease.model, lease.worker, broker=broker, blobs=blobs, transfer=self._transfer, clock=clock
        )
        self._run = Run(lease.id, lease.attempt, lease.payload, lease.timeout_s, str(folder), f"{folder}/out")
        self._newest: tuple[float, str | None] | None = None  # progress that was not handed over yet
        self._lock = threading.Lock()  # of that
        self._has_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect to the broker and the blobs, however long that takes."""
        self._thread.start()
        self._do(self._start())

    def stop(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fetch(self, refs: list[BlobRef], folder: Path) -> dict[str, str]:
        """Local paths by blob id. Raises AttemptFailed."""
        return self._do(self._transfer.fetch(refs, folder))

    def fetch_checkpoint(self, folder: Path) -> str | None:
        """The checkpoint of an earlier attempt as a local file. Raises AttemptFailed."""
        given = self._lease.checkpoint
        return None if given is None else self._do(self._transfer.fetch_if_there(given.file, folder))

    def progress(self, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        """Does not wait, and may be called as often as one likes. checkpoint: a file, taken away."""
        with self._lock:
            is_told_soon, self._newest = self._newest is not None, (fraction, stage)
        if checkpoint is not None:
            self._loop.call_soon_threadsafe(self._checkpoints.offer, self._run, checkpoint)
        if not is_told_soon:
            self._loop.call_soon_threadsafe(self._has_news.set)

    def store(self, files: list[Made]) -> list[BlobRef]:
        """Raises AttemptFailed; then nothing stays stored."""
        return self._do(self._transfer.store(files))

    def complete(self, outputs: dict[str, Any], refs: list[BlobRef], *, size: int, run_s: float) -> None:
        lease = self._lease
        done = Completion(id=lease.id, attempt=lease.attempt, outputs=outputs, output_files=tuple(refs), run_s=run_s)
        self._do(self._complete(done, size))

    def fail(self, error: JobError) -> None:
        """With the back-off after which another attempt is due, where one is."""
        lease = self._lease
        wait_s = decide_retry(error, lease.attempt, lease.max_attempts, self._rand(), settings=self._retry)
        failure = Failure(id=lease.id, attempt=lease.attempt, error=error, retry_after_s=wait_s)
        self._do(self._fail(failure))

    def pause(self, seconds: float) -> None:
        """Wait in this line's time."""
        self._do(self._clock.sleep(seconds))

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _do(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()

    async def _start(self) -> None:
        for service in (self._blobs, self._broker):
            backoff = Backoff(0.2, 5.0)
            while True:
                try:
                    await service.start()
                    break
                except (Unavailable, OutcomeUnknown) as error:
                    log.warning("a rank waits: %s", error)
                    await self._clock.sleep(backoff.next_s())
        await self._reporter.start()
        if self._lease.checkpoint is not None:
            self._checkpoints.inherit(self._run, self._lease.checkpoint)
        self._tasks = [asyncio.create_task(self._guard()), asyncio.create_task(self._tell_news())]

    async def _stop(self) -> None:
        for task in self._tasks:
            await stop_task(task)
        await self._checkpoints.stop()
        await self._reporter.stop()
        await self._broker.stop()
        await self._blobs.stop()

    async def _complete(self, done: Completion, size: int) -> None:
        busy = self._checkpoints.end(self._run)  # nobody needs one any more
        if busy is not None:
            await asyncio.wait([busy])
        self._tell()
        self._reporter.complete(done, size=size)
        await self._reporter.drained()

    async def _fail(self, failure: Failure) -> None:
        if failure.retry_after_s is not None:  # the next attempt shall have the last word of this one
            await self._checkpoints.finish_run(self._run)
        self._tell()
        self._reporter.fail(failure)
        await self._reporter.drained()

    async def _tell_news(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            self._tell()
            await self._clock.sleep(TELL_EVERY_S)

    def _tell(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return
        fraction, stage = newest
        self._checkpoints.note(self._run, fraction, stage)
        lease = self._lease
        self._reporter.progress(Progress(id=lease.id, attempt=lease.attempt, fraction=fraction, stage=stage))

    async def _guard(self) -> None:
        """A job that the broker does not know is ours: it was emptied, and will be told."""
        lease = self._lease
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                [live] = await self._broker.peek([JobRef(lease.model, lease.id)], self._clock.now_s())
            except (Unavailable, OutcomeUnknown):
                continue
            if live is not None and (live.attempt > lease.attempt or live.status.is_terminal):
                log.warning("job %s, attempt %d: somebody else's by now", lease.id, lease.attempt)
                self._leave(LOST_EXIT)

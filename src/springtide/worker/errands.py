"""What is done for attempts beside their runs: files are fetched and stored, folders removed.

Promises: one that fails is told of, as a failure of its attempt; the folder of an attempt that is over is removed, but
not while a transfer or a checkpoint still reads from it; `stop` leaves nothing under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from springtide.domain.errors import AttemptFailed
from springtide.domain.job import JobError
from springtide.worker.attempt import Attempt, Books, Stage
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.run import Run
from springtide.worker.scratch import remove

log = logging.getLogger(__name__)


class Errands:
    """Those of all attempts of one worker."""

    def __init__(
        self,
        books: Books,
        checkpoints: Checkpoints,
        *,
        on_failed: Callable[[Attempt, JobError], None],
        on_change: Callable[[], None],
    ) -> None:
        """on_failed: told of an attempt that is still held. on_change: told when a transfer is over."""
        self._books = books
        self._checkpoints = checkpoints
        self._on_failed = on_failed
        self._on_change = on_change
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order they began

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, attempt: Attempt, transfer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Move files of an attempt, which has no other transfer now."""
        attempt.task = asyncio.create_task(self._guard(attempt, transfer))
        self._keep(attempt.task)
        attempt.task.add_done_callback(lambda task: self._is_back(attempt, task))  # also of one that never began

    def recall(self, attempt: Attempt) -> None:
        """The attempt is over: a transfer that runs is stopped, and cleans up after itself."""
        if attempt.task is not None:
            attempt.task.cancel()
        else:
            self.clean(attempt.run)

    def clean(self, run: Run) -> None:
        """Remove the folder, as soon as no checkpoint is read from it."""
        busy = self._checkpoints.end(run)
        if busy is not None:
            busy.add_done_callback(lambda _: self.clean(run))
            return
        if not run.needs_cleaning:
            return
        run.needs_cleaning = False
        self._keep(asyncio.create_task(asyncio.to_thread(remove, run.base)))

    async def _guard(self, attempt: Attempt, transfer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await transfer()
        except AttemptFailed as failed:
            self._failed(attempt, JobError.of(failed))
        except Exception as unexpected:
            log.exception("job %s: files could not be moved", attempt.lease.id)
            message = f"files could not be moved: {type(unexpected).__name__}: {unexpected}"
            self._failed(attempt, JobError(code="storage_unavailable", message=message, retryable=True))

    def _failed(self, attempt: Attempt, error: JobError) -> None:
        if self._books.holds(attempt):
            self._on_failed(attempt, error)

    def _is_back(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        if attempt.task is not task:
            return
        attempt.task = None
        if not self._books.holds(attempt) or attempt.stage not in (Stage.READY, Stage.RUNNING):
            self.clean(attempt.run)
        self._on_change()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

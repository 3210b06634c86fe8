"""The row of attempts that are ready, and when the child gets the next of them: at once, when a batch has gathered, or
one into each free lane."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from springtide.domain.clock import Clock
from springtide.runtime.waiting import stop_task
from springtide.worker.attempt import Attempt, Books, Stage
from springtide.worker.run import Run
from springtide.worker.settings import WorkerSettings
from springtide.worker.supervisor import Supervisor


class Row:
    """First come, first run. Who leaves the stage READY or the books has left the row."""

    def __init__(
        self, books: Books, settings: WorkerSettings, *, clock: Clock, on_gathered: Callable[[], None]
    ) -> None:
        """on_gathered: told when the first one has waited for others as long as it may."""
        self._books = books
        self._batch = settings.batch
        self._batch_wait_s = settings.batch_wait_s
        self._clock = clock
        self._on_gathered = on_gathered
        self._ready: deque[Attempt] = deque()
        self._gathering: asyncio.Task[None] | None = None

    def join(self, attempt: Attempt) -> None:
        """At the end."""
        attempt.ready_at_s = self._clock.monotonic_s()
        self._books.move(attempt, Stage.READY)
        self._ready.append(attempt)

    def rejoin(self, attempt: Attempt) -> None:
        """In front: it had its turn, and was handed back."""
        self._books.move(attempt, Stage.READY)
        self._ready.appendleft(attempt)

    async def stop(self) -> None:
        if self._gathering is not None:
            await stop_task(self._gathering)

    def feed(self, supervisor: Supervisor) -> None:
        """Give the idle child the next batch, unless it may still grow; or fill its lanes."""
        if supervisor.room == 0 or self._books.count(Stage.READY) == 0:
            return
        if supervisor.lanes > 1:
            self._fill_lanes(supervisor)
            return
        full = min(self._batch, supervisor.most_together)
        if self._batch_wait_s > 0 and self._books.count(Stage.READY) < full and self._may_gather():
            return
        # Where only like jobs share a run the child picks them: the more it has to pick from, the fuller its batches.
        most = len(self._ready) if supervisor.has_shapes else self._batch
        runs: list[Run] = []
        while self._ready and len(runs) < most:
            attempt = self._ready.popleft()
            if self._is_here(attempt):
                runs.append(self._begin(attempt))
        if runs:
            supervisor.dispatch(runs)

    def _fill_lanes(self, supervisor: Supervisor) -> None:
        while self._ready:
            attempt = self._ready[0]
            if self._is_here(attempt):
                if not supervisor.takes(attempt.run):
                    return
                supervisor.dispatch([self._begin(attempt)])
            self._ready.popleft()

    def _begin(self, attempt: Attempt) -> Run:
        self._books.move(attempt, Stage.RUNNING)
        if attempt.phases is not None:
            attempt.phases.skip(self._clock.now_s())
        return attempt.run

    def _may_gather(self) -> bool:
        """Whether to wait for more jobs, as the first one may for a while; `on_gathered` is called after that."""
        while not self._is_here(self._ready[0]):
            self._ready.popleft()
        left_s = self._ready[0].ready_at_s + self._batch_wait_s - self._clock.monotonic_s()
        if left_s <= 0:
            return False
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather(left_s), name="gathering a batch")
        return True

    async def _gather(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._gathering = None
        self._on_gathered()

    def _is_here(self, attempt: Attempt) -> bool:
        """False for one that was cancelled, given back or lost since it joined."""
        return attempt.stage is Stage.READY and self._books.holds(attempt)

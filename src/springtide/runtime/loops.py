"""A loop that outlives its errors: the shape of every background service.

An `Unavailable` dependency is an expected error: said once, tried again with back-off, said again when it is back. Any
other error is logged with its traceback and tried again the same way; a loop never dies silently.
`standing` tells how all loops of this process do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Awaitable, Callable

from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.runtime.backoff import Backoff

log = logging.getLogger(__name__)
_running: weakref.WeakSet[Loop] = weakref.WeakSet()


def standing() -> list[Loop]:
    """The loops of this process that run."""
    return sorted(_running, key=lambda loop: loop.name)


class Loop:
    """Runs `body` again and again, `every_s` apart (0: as soon as it returns), from `start` to `stop`."""

    def __init__(self, name: str, body: Callable[[], Awaitable[object]], *, every_s: float, clock: Clock) -> None:
        self.name = name
        self._body = body
        self._every_s = every_s
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(0.2, 10.0)
        self.succeeded_at_s: float | None = None  # when a round last came to its end

    @property
    def failures(self) -> int:
        """Rounds that failed in a row."""
        return self._backoff.failures

    async def start(self) -> None:
        _running.add(self)
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self, grace_s: float = 0.0) -> None:
        """Cancel the loop; a body that is in the middle gets `grace_s` to come to its end."""
        task, self._task = self._task, None
        _running.discard(self)
        if task is None:
            return
        if grace_s > 0:
            await asyncio.wait([task], timeout=grace_s)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        while True:
            try:
                await self._body()
            except (Unavailable, OutcomeUnknown) as error:
                if self._backoff.failures == 0:
                    log.warning("%s waits: %s", self.name, error)
                await self._clock.sleep(self._backoff.next_s())
                continue
            except Exception:
                log.exception("%s failed and will try again", self.name)
                await self._clock.sleep(self._backoff.next_s())
                continue
            self.succeeded_at_s = self._clock.now_s()
            if self._backoff.failures:
                log.info("%s goes on", self.name)
                self._backoff.reset()
            if self._every_s > 0:
                await self._clock.sleep(self._every_s)

"""Group commit for anything: many callers, one flush, no timer.

A flush takes everything that has queued since the last one began. A lone call is flushed at once, so batching costs it
nothing; under load the batch grows by itself to what one flush can carry.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items from concurrent callers and hands them to `flush` in order, at most `max_items` at a time."""

    def __init__(self, flush: Callable[[list[T]], Awaitable[Sequence[R]]], *, max_items: int = 512) -> None:
        """flush: takes items, returns one result each in the same order; its exception goes to every caller in the
        batch."""
        self._flush = flush
        self._max_items = max_items
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[T]) -> list[R]:
        """Wait until all of `items` are flushed."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        if len(futures) == 1:  # the hot path: one job a request
            return [await futures[0]]
        return list(await asyncio.gather(*futures))

    async def drain(self) -> None:
        """Wait until nothing is waiting."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_items))]
            try:
                results = await self._flush([item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

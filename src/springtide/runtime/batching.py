"""Group commit for anything: many callers, one flush, no timer.

A flush takes everything that has queued since the last one began. A lone call is flushed at once, so batching costs it
nothing; under load the batch grows by itself to what one flush can carry.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


class _Call(Generic[R]):
    """One caller's items: their results, and how many are still to come."""

    __slots__ = ("done", "left", "results")

    def __init__(self, size: int) -> None:
        self.results: list[R | Exception | None] = [None] * size
        self.left = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, place: int, result: R | Exception) -> None:
        self.results[place] = result
        self.left -= 1
        if not self.left and not self.done.done():  # a caller that was cancelled waits no longer
            self.done.set_result(None)


class Batcher(Generic[T, R]):
    """Collects items from concurrent callers and hands them to `flush` in order, at most `max_items` at a time."""

    def __init__(self, flush: Callable[[list[T]], Awaitable[Sequence[R]]], *, max_items: int = 512) -> None:
        """flush: takes items, returns one result each in the same order; its exception goes to every item of the
        batch."""
        self._flush = flush
        self._max_items = max_items
        # An item with the call it belongs to and its place there, or with the future of one that came alone.
        self._waiting: deque[tuple[T, _Call[R] | asyncio.Future[R | Exception], int]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[T]) -> list[R]:
        """Wait until all of `items` are flushed. Raises the first error there was."""
        if len(items) == 1:  # as requests bring them
            done: asyncio.Future[R | Exception] = asyncio.get_running_loop().create_future()
            self._waiting.append((items[0], done, 0))
            self._wake()
            results = [await done]
        else:
            results = await self.submit_each(items)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return cast("list[R]", results)

    async def submit_each(self, items: Sequence[T]) -> list[R | Exception]:
        """The same with each item's own result or error: more items than fit one flush may part ways."""
        if not items:
            return []
        call: _Call[R] = _Call(len(items))
        self._waiting.extend((item, call, place) for place, item in enumerate(items))
        self._wake()
        await call.done
        return cast("list[R | Exception]", call.results)

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Wait until nothing is waiting."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) <= self._max_items:
                batch = list(self._waiting)
                self._waiting.clear()
            else:
                batch = [self._waiting.popleft() for _ in range(self._max_items)]
            results: Sequence[R | Exception]
            try:
                results = await self._flush([item for item, _, _ in batch])
            except Exception as error:
                results = [error] * len(batch)
            for (_, call, place), result in zip(batch, results, strict=True):
                if isinstance(call, _Call):
                    call.settle(place, result)
                elif not call.done():  # as above
                    call.set_result(result)

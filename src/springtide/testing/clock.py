"""A clock that moves only when told to: loops run in virtual time, and no test waits for a second to pass."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class ManualClock:
    """`domain.clock.Clock` whose sleepers wake in order as `advance` passes them."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self._now_s = now_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), future))
        await future

    @property
    def sleepers(self) -> int:
        """How many wait for the time to pass."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its own moment and letting it run."""
        end_s = self._now_s + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await _settle()
        self._now_s = end_s

    def step(self, seconds: float) -> None:
        """The host's clock is set: time jumps (also backwards) without anybody having slept."""
        self._now_s += seconds


async def _settle() -> None:
    for _ in range(20):  # long enough for a chain of awaits that need no I/O
        await asyncio.sleep(0)

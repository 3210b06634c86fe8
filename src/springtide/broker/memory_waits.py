"""Waits of the embedded broker: who waits for what, in the order they came.

Promises: a ring reaches waits that are still wanted, oldest first; a wait that is given up after it was rung hands the
ring on, so that no wake-up dies with a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

Key = tuple[Hashable, ...]
_Future = asyncio.Future[Key | None]


class Waits:
    """Futures under keys. One wait may listen to several keys; the first ring ends it."""

    def __init__(self) -> None:
        self._by_key: dict[Key, dict[_Future, None]] = {}

    async def wait(self, *keys: Key, wait_s: float) -> Key | None:
        """The key that was rung, or None where `wait_s` ran out."""
        loop = asyncio.get_running_loop()
        future: _Future = loop.create_future()
        for key in keys:
            self._by_key.setdefault(key, {})[future] = None
        timer = loop.call_later(wait_s, _give_up, future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and (rung := future.result()) is not None:
                self.ring(rung, 1)
            raise
        finally:
            timer.cancel()
            self._forget(future, keys)

    def has(self, key: Key) -> bool:
        """Whether anybody waits for `key`."""
        return key in self._by_key

    def ring(self, key: Key, count: int | None = None) -> None:
        """End the `count` oldest waits on `key` (None: all)."""
        waiting = self._by_key.get(key)
        if waiting is None:
            return
        left = len(waiting) if count is None else count
        while waiting and left > 0:
            future = next(iter(waiting))
            del waiting[future]
            if not future.done():
                future.set_result(key)
                left -= 1

    def _forget(self, future: _Future, keys: tuple[Key, ...]) -> None:
        for key in keys:
            waiting = self._by_key.get(key)
            if waiting is not None:
                waiting.pop(future, None)
                if not waiting:
                    del self._by_key[key]


def _give_up(future: _Future) -> None:
    if not future.done():
        future.set_result(None)

"""Work in several threads whose results come in the order of the work, a few steps ahead and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

TICK_S = 0.25  # how long a cancel may go unheard while results are waited for


def in_order(work: Callable[[A], B], items: Iterable[A], *, at_once: int, tick: Callable[[], None]) -> Generator[B]:
    """Results of `work` on `items`, `at_once` of them in flight and one more ready, so memory stays flat.

    tick: called while waiting; what it raises, as what `work` raises, ends it all, after those in flight.
    """
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(at_once, "speech") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                while len(waiting) > at_once or (waiting and waiting[0].done()):
                    yield _awaited(waiting.popleft(), tick)
            while waiting:
                yield _awaited(waiting.popleft(), tick)
        finally:
            for future in waiting:
                future.cancel()


def _awaited(future: Future[B], tick: Callable[[], None]) -> B:
    while True:
        try:
            return future.result(TICK_S)
        except TimeoutError:
            if future.done():  # the work's own
                raise
            tick()

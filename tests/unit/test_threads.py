"""Work on other threads: results, errors, order, and callers that give up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from springtide.runtime.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    one = Threads("test")
    yield one
    one.stop()


async def test_work_runs_on_another_thread_and_its_result_comes_back(threads: Threads) -> None:
    assert await threads.run(threading.get_ident) != threading.get_ident()


async def test_an_error_comes_back_as_it_was(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 2) == 2


async def test_one_thread_works_in_order(threads: Threads) -> None:
    done: list[int] = []
    await asyncio.gather(*(threads.run(lambda n=n: done.append(n)) for n in range(50)))
    assert done == list(range(50))


async def test_a_caller_that_gives_up_does_not_disturb_the_next(threads: Threads) -> None:
    gate = threading.Event()
    gone = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.set()
    assert await threads.run(lambda: "next") == "next"


async def test_stop_finishes_what_is_queued() -> None:
    threads, done = Threads("test", 2), []
    calls = [asyncio.create_task(threads.run(lambda n=n: done.append(n))) for n in range(20)]
    await asyncio.sleep(0)
    threads.stop()
    await asyncio.gather(*calls)
    assert sorted(done) == list(range(20))

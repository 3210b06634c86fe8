"""Group commit: nobody waits for a timer, nobody's error is lost."""

import asyncio
from collections.abc import Sequence

import pytest

from springtide.runtime.batching import Batcher


async def test_callers_that_come_during_a_flush_share_the_next_one() -> None:
    flushed: list[list[int]] = []
    gate = asyncio.Event()

    async def flush(items: list[int]) -> Sequence[int]:
        flushed.append(items)
        await gate.wait()
        return [item * 10 for item in items]

    batcher = Batcher(flush)
    first = asyncio.create_task(batcher.submit([1]))
    while not flushed:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batcher.submit([n, n])) for n in (2, 3)]
    await asyncio.sleep(0)
    gate.set()
    assert await first == [10]
    assert [await task for task in rest] == [[20, 20], [30, 30]]
    assert flushed == [[1], [2, 2, 3, 3]]


async def test_a_batch_is_never_larger_than_the_limit() -> None:
    sizes: list[int] = []

    async def flush(items: list[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    assert await Batcher(flush, max_items=4).submit(range(10)) == list(range(10))
    assert sizes == [4, 4, 2]


async def test_a_failed_flush_fails_its_own_callers_only() -> None:
    async def flush(items: list[str]) -> Sequence[str]:
        if "bad" in items:
            raise ValueError("no")
        return items

    batcher = Batcher(flush, max_items=1)
    results = await asyncio.gather(batcher.submit(["bad"]), batcher.submit(["good"]), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == ["good"]


async def test_each_item_can_have_its_own_result_or_error() -> None:
    async def flush(items: list[int]) -> Sequence[int]:
        if 3 in items:
            raise ValueError("no")
        return items

    batcher = Batcher(flush, max_items=2)
    results = await batcher.submit_each([1, 2, 3, 4, 5])
    assert [result if isinstance(result, int) else str(result) for result in results] == [1, 2, "no", "no", 5]
    assert await batcher.submit_each([]) == await batcher.submit([]) == []
    with pytest.raises(ValueError, match="no"):
        await batcher.submit([1, 2, 3])


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    started = asyncio.Event()
    gate = asyncio.Event()

    async def flush(items: list[int]) -> Sequence[int]:
        started.set()
        await gate.wait()
        return items

    batcher = Batcher(flush)
    gone = asyncio.create_task(batcher.submit([1]))
    stays = asyncio.create_task(batcher.submit([2]))
    await started.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.set()
    assert await stays == [2]


async def test_a_caller_of_one_item_that_went_away_disturbs_nobody() -> None:
    gate = asyncio.Event()

    async def flush(items: list[int]) -> Sequence[int]:
        await gate.wait()
        return items

    batcher = Batcher(flush)
    tasks = [asyncio.create_task(batcher.submit([n])) for n in (1, 2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await tasks[1] == [2]

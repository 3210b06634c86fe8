"""Parts of the embedded broker: what the contract cannot see, such as memory that must not grow."""

from __future__ import annotations

import asyncio

import pytest

from springtide.broker import memory_events
from springtide.broker.memory import MemoryBroker
from springtide.broker.memory_entries import SAMPLE, SPARE, Entry, LazyHeap
from springtide.broker.memory_events import Stories
from springtide.broker.memory_ready import ReadyQueue
from springtide.broker.memory_waits import Waits
from springtide.broker.protocol import EVENTS_KEPT_S
from springtide.domain.ids import TenantId
from springtide.domain.job import JobError, Priority
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    T0,
    done,
    failure,
    job,
    leased,
    progress,
    ref,
    ticket,
)


class TestLazyHeap:
    def test_entries_no_longer_wanted_are_swept_out(self):
        heap = LazyHeap(lambda entry: entry.is_ready)
        for number in range(100 * SPARE):
            entry = Entry(ticket("a"), number)
            entry.is_ready = number % 100 == 0
            heap.push(float(number), entry)
        assert sum(entry.is_ready for _, _, entry in heap._items) == SPARE
        assert len(heap._items) <= 4 * SPARE

    def test_what_is_due_comes_in_the_order_of_its_time(self):
        heap = LazyHeap(lambda entry: True)
        for number, at_s in enumerate([5.0, 1.0, 9.0]):
            heap.push(at_s, Entry(ticket("a"), number))
        assert [entry.serial for entry in iter(lambda: heap.pop_due(6.0), None)] == [1, 0]

    def test_a_place_in_a_long_heap_is_told_from_a_sample(self):
        heap = LazyHeap(lambda entry: True)
        numbers = [number * 7919 % 10_007 for number in range(10_007)]  # every number once, in no order
        for number in numbers:
            heap.push(float(number), Entry(ticket("a"), 0))
        assert len(heap._items) > 10 * SAMPLE
        for number in range(0, 10_000, 500):
            assert abs(heap.share_below(float(number), 0) * len(numbers) - number) < 0.1 * len(numbers)

    def test_a_queue_counts_what_can_be_leased(self):
        queue = ReadyQueue()
        entries = [Entry(ticket("a", priority=priority), n) for n, priority in enumerate(Priority)]
        for entry in entries:
            queue.add(entry)
        queue.remove(entries[0])
        assert (len(queue), queue.ahead_of(entries[2])) == (2, 1)
        assert queue.pop(T0, 0.0) is entries[1]
        assert len(queue) == 1


class TestWaits:
    async def test_a_wait_given_up_after_it_was_rung_hands_the_ring_on(self):
        waits = Waits()
        first = asyncio.create_task(waits.wait(("k",), wait_s=30.0))
        second = asyncio.create_task(waits.wait(("k",), wait_s=30.0))
        await asyncio.sleep(0)
        waits.ring(("k",), 1)
        first.cancel()
        assert await second == ("k",)
        assert first.cancelled()

    async def test_the_oldest_wait_is_rung_first(self):
        waits = Waits()
        tasks = [asyncio.create_task(waits.wait(("k",), wait_s=30.0)) for _ in range(3)]
        await asyncio.sleep(0)
        waits.ring(("k",), 1)
        assert await tasks[0] == ("k",)
        assert not tasks[1].done()
        waits.ring(("k",))
        assert await asyncio.gather(*tasks[1:]) == [("k",), ("k",)]

    async def test_waits_that_are_over_are_forgotten(self):
        waits = Waits()
        assert await waits.wait(("a",), ("b",), wait_s=0.001) is None
        waiting = asyncio.create_task(waits.wait(("a",), ("b",), wait_s=30.0))
        await asyncio.sleep(0)
        waits.ring(("b",), 5)
        assert await waiting == ("b",)
        assert waits._by_key == {}


class TestStories:
    def test_ended_stories_are_bounded_by_bytes_the_oldest_go_first(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level("INFO")
        monkeypatch.setattr(memory_events, "ENDED_BYTES", 3 * 400)
        stories = Stories(Waits())
        for number in range(10):
            stories.add(job(str(number)), "completed", T0)
        stories.add(job("running"), "started", T0)
        assert [number for number in range(10) if stories.read(job(str(number)), None)] == [7, 8, 9]
        assert stories.read(job("running"), None)
        assert [record.getMessage() for record in caplog.records] == [
            f"live events of ended jobs fill 0 MiB: forgotten {EVENTS_KEPT_S:.0f} s early"
        ]
        for step in range(40):
            stories.add(job("long"), "progress", T0, attempt=1, fraction=step / 40, stage="work")
        stories.add(job("long"), "completed", T0)
        assert [name for name in ("7", "8", "9", "long") if stories.read(job(name), None)] == ["long"]
        stories.forget(T0 + EVENTS_KEPT_S)
        assert (stories._told, stories._told_bytes, list(stories._ended)) == ({}, 0, [])

    def test_a_story_reads_the_same_before_and_after_its_end(self):
        stories = Stories(Waits())
        error = JobError(code="engine_failed", message="no", retryable=False)
        stories.add(job("a"), "queued", T0)
        for number in range(5):
            stories.add(job("a"), "progress", T0 + number, attempt=1, fraction=number / 5, stage="work")
        before = stories.read(job("a"), None)
        stories.add(job("a"), "failed", T0 + 9, attempt=1, error=error)
        after = stories.read(job("a"), None)
        assert after[:-1] == before
        assert (after[-1].kind, after[-1].error) == ("failed", error)
        assert [stories.read(job("a"), one.seq) for one in after] == [after[at + 1 :] for at in range(len(after))]
        assert stories.has_news(job("a"), before[-1].seq) and not stories.has_news(job("a"), after[-1].seq)

    def test_ended_stories_take_little_memory(self):
        import tracemalloc

        stories = Stories(Waits())
        tracemalloc.start()
        try:
            for number in range(200):
                for step in range(10):
                    stories.add(job(f"{number:032x}"), "progress", T0 + step, attempt=1, fraction=step / 10)
                stories.add(job(f"{number:032x}"), "completed", T0 + 11, attempt=1)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken / 200 < 1000, "bytes of a story of eleven events; kept as they were told they take four times that"

    async def test_an_end_that_nobody_announced_does_not_keep_its_story_for_ever(self):
        broker = MemoryBroker()
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        await broker.reap(MODELS, T0 + EVENTS_KEPT_S + 1)
        assert await broker.read_events(ref("a"), None) == []


class TestMemoryBroker:
    async def test_a_job_that_ended_before_its_cancel_was_told_is_not_told(self):
        broker = MemoryBroker()
        await leased(broker, "a")
        await broker.cancel([ref("a")], T0)
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert (await broker.wake(MODEL, ANN, for_work=True, wait_s=0.0)).cancelled == ()

    async def test_a_lease_that_promotes_more_than_it_takes_wakes_others(self):
        broker = MemoryBroker()
        await leased(broker, "a", "b")
        await broker.fail(MODEL, ANN, [failure(name, retry_after_s=5.0) for name in "ab"], T0)
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=30.0))
        await asyncio.sleep(0)
        assert len(await broker.lease(MODEL, ANN, 1, T0 + 6)) == 1
        assert (await waiting).work

    async def test_a_worker_that_waits_beside_work_is_told_again_by_reap(self):
        broker = MemoryBroker()
        waits = [asyncio.create_task(broker.wake(MODEL, w, for_work=True, wait_s=30.0)) for w in (ANN, BOB)]
        await asyncio.sleep(0)
        await broker.enqueue([ticket("a")], T0)
        await waits[0]  # and dies before it leases
        await broker.reap(MODELS, T0 + 1)
        assert (await waits[1]).work

    async def test_an_ended_and_recorded_job_leaves_nothing_behind(self):
        broker = MemoryBroker()
        for number in range(500):
            name, now_s = f"job{number}", T0 + number
            await leased(broker, name, now_s=now_s, start_deadline_at_s=now_s + 1e6, tenant=TenantId(name))
            await broker.publish(MODEL, ANN, [progress(name, 0.5)], now_s)
            await broker.cancel([ref(name)], now_s)
            await broker.complete(MODEL, ANN, [done(name)], now_s)
            await broker.ack_outcomes(await broker.read_outcomes(9), now_s)
        await broker.reap(MODELS, T0 + 10 * EVENTS_KEPT_S)
        jobs = broker._models[MODEL]
        assert [jobs._live, jobs._ended, jobs._holdings, list(jobs._tombs), broker._stories._stories] == [
            {},
            {},
            {},
            [],
            {},
        ]
        assert len(broker._outcomes) == 0
        assert jobs._ready._accounts == {}
        assert [one._lanes for one in jobs._ready._classes.values()] == [{}, {}, {}]
        assert len(jobs._deadlines._items) <= 2 * SPARE

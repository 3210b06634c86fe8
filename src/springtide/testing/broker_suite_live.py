"""Broker suite, part three: waits and wake-ups, live events and outcomes."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from springtide.broker.protocol import EVENTS_KEPT_S, EVENTS_PER_JOB, Broker
from springtide.domain.lease import LEASE_TTL_S, LiveEvent, WakeUp, is_seq, seq_after
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    MOMENT_S,
    OTHER,
    SOON_S,
    T0,
    Rebuild,
    done,
    failure,
    held,
    job,
    kinds,
    lease_names,
    leased,
    look,
    progress,
    ref,
    take_outcomes,
    ticket,
)


async def let_waits_begin(broker: Broker) -> None:
    """Give waits that other tasks have begun the time to reach the broker: a few round trips."""
    for _ in range(20):
        await asyncio.sleep(0)
        await broker.queues(MODELS, T0)


def ended(name: str, kind: str, at_s: float) -> LiveEvent:
    return LiveEvent(seq="", job=job(name), kind=kind, at_s=at_s, attempt=1)


class WakeContract:
    """Doorbells."""

    async def test_a_wait_returns_at_once_where_work_is_there(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        woken = await broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S)
        assert woken == WakeUp(work=True)
        await lease_names(broker, ANN, 1, T0)
        assert (await broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S)).work

    async def test_a_wait_runs_out_where_nothing_happens(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", model=OTHER)], T0)
        assert await broker.wake(MODEL, ANN, for_work=True, wait_s=0.0) == WakeUp()
        assert await broker.wake(MODEL, ANN, for_work=True, wait_s=0.02) == WakeUp()

    async def test_new_work_wakes_a_waiting_worker(self, broker: Broker) -> None:
        waiting = asyncio.create_task(broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        assert not waiting.done()
        await broker.enqueue([ticket("a")], T0)
        assert (await waiting).work

    async def test_one_new_job_wakes_one_of_two_waiting_workers(self, broker: Broker) -> None:
        for worker in (ANN, BOB):
            await broker.wake(MODEL, worker, for_work=True, wait_s=0.01)
        waits = [asyncio.create_task(broker.wake(MODEL, w, for_work=True, wait_s=MOMENT_S)) for w in (ANN, BOB)]
        await let_waits_begin(broker)
        await broker.enqueue([ticket("a")], T0)
        assert sorted(woken.work for woken in await asyncio.gather(*waits)) == [False, True]

    async def test_two_new_jobs_wake_both(self, broker: Broker) -> None:
        waits = [asyncio.create_task(broker.wake(MODEL, w, for_work=True, wait_s=SOON_S)) for w in (ANN, BOB)]
        await let_waits_begin(broker)
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        assert all(woken.work for woken in await asyncio.gather(*waits))

    @pytest.mark.parametrize("verb", ["release", "fail", "reap", "leave", "promotion"])
    async def test_a_job_that_comes_back_wakes_a_waiting_worker(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a")
        if verb == "promotion":
            await broker.fail(MODEL, ANN, [failure("a", retry_after_s=9.0)], T0)
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        assert not waiting.done()
        match verb:
            case "release":
                await broker.release(MODEL, ANN, [held("a")], T0)
            case "fail":
                await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0)
            case "leave":
                await broker.leave(MODEL, ANN, T0)
            case _:
                await broker.reap(MODELS, T0 + LEASE_TTL_S + 1)
        assert (await waiting).work

    async def test_a_wait_that_was_given_up_takes_no_wake_up_with_it(self, broker: Broker) -> None:
        given_up = asyncio.create_task(broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await let_waits_begin(broker)
        await broker.enqueue([ticket("a")], T0)
        assert (await waiting).work

    async def test_a_cancel_wakes_the_worker_that_runs_the_job(self, broker: Broker) -> None:
        await leased(broker, "a")
        await leased(broker, "b", worker=BOB)
        waiting = asyncio.create_task(broker.wake(MODEL, ANN, for_work=False, wait_s=SOON_S))
        await let_waits_begin(broker)
        await broker.cancel([ref("b")], T0)
        await let_waits_begin(broker)
        assert not waiting.done()
        await broker.cancel([ref("a")], T0)
        assert await waiting == WakeUp(cancelled=(job("a"),))

    async def test_a_cancel_before_the_wait_is_told_at_once_and_once(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await broker.cancel([ref("a"), ref("b")], T0)
        woken = await broker.wake(MODEL, ANN, for_work=True, wait_s=SOON_S)
        assert set(woken.cancelled) == {job("a"), job("b")}
        assert (await broker.wake(MODEL, ANN, for_work=True, wait_s=0.0)).cancelled == ()

    async def test_a_worker_that_wants_no_work_is_not_woken_for_it(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a")], T0)
        assert await broker.wake(MODEL, ANN, for_work=False, wait_s=0.02) == WakeUp()
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=False, wait_s=MOMENT_S))
        await let_waits_begin(broker)
        await broker.enqueue([ticket("b")], T0)
        assert await waiting == WakeUp()


class EventsContract:
    """Live events."""

    async def test_the_story_of_a_job_is_told_in_order(self, broker: Broker) -> None:
        await leased(broker, "a", now_s=T0)
        await broker.publish(MODEL, ANN, [progress("a", 0.5, stage="decode"), progress("a", 0.75)], T0 + 1)
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0 + 2)
        await lease_names(broker, BOB, 1, T0 + 3)
        await broker.cancel([ref("a")], T0 + 4)
        await broker.complete(MODEL, BOB, [done("a", 2)], T0 + 5)
        await broker.announce(MODEL, [ended("a", "completed", T0 + 5)])
        events = await broker.read_events(ref("a"), None)
        story = ["queued", "started", "progress", "progress", "retrying", "started", "cancelling", "completed"]
        assert [event.kind for event in events] == story
        assert [event.at_s for event in events] == [T0, T0, T0 + 1, T0 + 1, T0 + 2, T0 + 3, T0 + 4, T0 + 5]
        assert [event.attempt for event in events][:7] == [0, 1, 1, 1, 1, 2, 2]
        assert (events[2].fraction, events[2].stage, events[2].job) == (0.5, "decode", job("a"))
        assert events[4].error == failure("a").error
        assert all(is_seq(event.seq) for event in events)
        assert all(seq_after(b.seq, a.seq) for a, b in itertools.pairwise(events))

    async def test_releases_and_losses_are_part_of_the_story(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.release(MODEL, ANN, [held("a")], T0)
        await lease_names(broker, ANN, 1, T0)
        await broker.reap(MODELS, T0 + LEASE_TTL_S + 1)
        events = await broker.read_events(ref("a"), None)
        assert [event.kind for event in events] == ["queued", "started", "queued", "started", "retrying"]
        assert events[-1].error is not None
        assert events[-1].error.code == "worker_lost"

    async def test_a_refused_progress_leaves_no_event(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.publish(MODEL, BOB, [progress("a", 0.5)], T0) == [False]
        assert await broker.publish(MODEL, ANN, [progress("a", 0.1), progress("x", 0.5)], T0) == [True, False]
        assert await kinds(broker, "a") == ["queued", "started", "progress"]
        assert await kinds(broker, "x") == []

    async def test_a_reader_resumes_after_the_event_it_saw_last(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.publish(MODEL, ANN, [progress("a", i / 10) for i in range(5)], T0)
        events = await broker.read_events(ref("a"), None)
        for i, event in enumerate(events):
            assert await broker.read_events(ref("a"), event.seq) == events[i + 1 :]

    async def test_jobs_do_not_share_events(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await broker.publish(MODEL, ANN, [progress("b", 0.5)], T0)
        assert await kinds(broker, "a") == ["queued", "started"]
        assert {event.job for event in await broker.read_events(ref("b"), None)} == {job("b")}

    async def test_a_reader_waits_for_the_next_event(self, broker: Broker) -> None:
        await leased(broker, "a")
        [*_, last] = await broker.read_events(ref("a"), None)
        assert await broker.read_events(ref("a"), last.seq, wait_s=0.02) == []
        readers = [asyncio.create_task(broker.read_events(ref("a"), last.seq, wait_s=SOON_S)) for _ in range(2)]
        await let_waits_begin(broker)
        await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)
        for events in await asyncio.gather(*readers):
            assert [event.fraction for event in events] == [0.5]

    async def test_a_reader_may_wait_past_all_other_events_for_the_end(self, broker: Broker) -> None:
        reader = asyncio.create_task(broker.read_events(ref("a"), None, wait_s=SOON_S, to_end=True))
        await leased(broker, "a")
        await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)
        found = await broker.read_events(ref("a"), None, wait_s=0.02, to_end=True)
        assert [event.kind for event in found] == ["queued", "started", "progress"]
        assert not reader.done()
        await broker.complete(MODEL, ANN, [done("a")], T0)
        await broker.announce(MODEL, [LiveEvent(seq="", job=job("a"), kind="completed", at_s=T0)])
        assert [event.kind for event in await reader] == ["queued", "started", "progress", "completed"]
        assert await broker.read_events(ref("a"), found[-1].seq, wait_s=SOON_S, to_end=True) == (await reader)[-1:]

    async def test_a_reader_may_wait_for_a_job_that_is_yet_to_come(self, broker: Broker) -> None:
        assert await broker.read_events(ref("a"), None) == []
        reader = asyncio.create_task(broker.read_events(ref("a"), None, wait_s=SOON_S))
        await let_waits_begin(broker)
        await broker.enqueue([ticket("a")], T0)
        assert [event.kind for event in await reader] == ["queued"]

    async def test_the_first_terminal_event_stays_the_only_one(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0 + 1)
        assert "completed" not in await kinds(broker, "a")
        await broker.announce(MODEL, [ended("a", "completed", T0 + 1), ended("a", "completed", T0 + 1)])
        await broker.announce(MODEL, [ended("a", "failed", T0 + 2)])
        assert await kinds(broker, "a") == ["queued", "started", "completed"]

    async def test_an_end_can_be_announced_for_a_job_unknown_here(self, broker: Broker) -> None:
        error = failure("a").error
        event = LiveEvent(seq="", job=job("a"), kind="failed", at_s=T0, attempt=2, error=error)
        await broker.announce(MODEL, [event])
        [read] = await broker.read_events(ref("a"), None)
        assert is_seq(read.seq)
        assert (read.kind, read.attempt, read.error) == ("failed", 2, error)

    async def test_a_story_of_somebody_elses_can_be_told_here(self, broker: Broker) -> None:
        """As the conductor tells that of a pipeline, which is never queued: wakes readers, ends once."""
        reader = asyncio.create_task(broker.read_events(ref("a"), None, wait_s=SOON_S))
        waiter = asyncio.create_task(broker.read_events(ref("a"), None, wait_s=SOON_S, to_end=True))
        await let_waits_begin(broker)
        await broker.announce(MODEL, [LiveEvent(seq="", job=job("a"), kind="progress", at_s=T0, stage="two")])
        [told] = await reader
        assert told.kind == "progress"
        await let_waits_begin(broker)
        assert not waiter.done()
        await broker.announce(MODEL, [ended("a", "completed", T0 + 1)])
        await broker.announce(MODEL, [ended("a", "failed", T0 + 2)])
        assert [event.kind for event in await waiter] == ["progress", "completed"]
        assert await kinds(broker, "a") == ["progress", "completed"]
        assert (await broker.queues(MODELS, T0))[0].queued == 0
        assert await broker.peek([ref("a")], T0) == [None]

    async def test_the_newest_events_are_kept_and_the_first_and_the_last_always(self, broker: Broker) -> None:
        await leased(broker, "a")
        for start in range(0, 1000, 100):
            await broker.publish(MODEL, ANN, [progress("a", (start + i) / 1000) for i in range(100)], T0 + 1)
        await broker.complete(MODEL, ANN, [done("a")], T0 + 2)
        await broker.announce(MODEL, [ended("a", "completed", T0 + 2)])
        events = await broker.read_events(ref("a"), None)
        assert len(events) <= 2 * EVENTS_PER_JOB
        assert [events[0].kind, events[-1].kind] == ["queued", "completed"]
        newest = [event.fraction for event in events[-EVENTS_PER_JOB + 1 : -1]]
        assert newest == [i / 1000 for i in range(1000 - len(newest), 1000)]

    async def test_event_ids_rise_though_the_clock_steps_back(self, broker: Broker) -> None:
        await leased(broker, "a")
        for now_s in (T0 + 5, T0 - 60, T0 + 1, T0 - 3600):
            await broker.publish(MODEL, ANN, [progress("a", 0.5)], now_s)
        seqs = [event.seq for event in await broker.read_events(ref("a"), None)]
        assert all(seq_after(b, a) for a, b in itertools.pairwise(seqs))
        assert len(await broker.read_events(ref("a"), seqs[-2])) == 1

    async def test_event_ids_rise_across_a_rebuilt_broker(self, broker: Broker, rebuild: Rebuild) -> None:
        await leased(broker, "a")
        await broker.publish(MODEL, ANN, [progress("a", i / 10) for i in range(9)], T0)
        [*_, last] = await broker.read_events(ref("a"), None)
        rebuilt = await rebuild()
        assert await rebuilt.read_events(ref("a"), last.seq) == []
        await rebuilt.enqueue([ticket("a", attempt=1, held_by=ANN)], T0 + 1)
        await rebuilt.publish(MODEL, ANN, [progress("a", 0.95)], T0 + 1)
        await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2)
        await rebuilt.announce(MODEL, [ended("a", "completed", T0 + 2)])
        events = await rebuilt.read_events(ref("a"), last.seq)
        assert [event.kind for event in events] == ["started", "progress", "completed"]

    async def test_times_of_events_never_run_backwards(self, broker: Broker) -> None:
        await leased(broker, "a", now_s=T0 + 3)
        await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0)  # asked for before it could be delivered
        await broker.complete(MODEL, ANN, [done("a")], T0 + 1)
        await broker.announce(MODEL, [ended("a", "completed", T0 + 1)])
        assert [event.at_s for event in await broker.read_events(ref("a"), None)] == [T0 + 3] * 4

    async def test_a_rebuilt_broker_does_not_tell_a_start_again_to_who_knows_it(
        self, broker: Broker, rebuild: Rebuild
    ) -> None:
        await leased(broker, "a", now_s=T0)
        await broker.publish(MODEL, ANN, [progress("a", 0.5)], T0 + 1)
        told = await broker.read_events(ref("a"), None)
        rebuilt = await rebuild()
        await rebuilt.enqueue([ticket("a", attempt=1, held_by=ANN, started_at_s=T0)], T0 + 9)
        [again] = await rebuilt.read_events(ref("a"), None)
        assert (again.kind, again.attempt, again.at_s) == ("started", 1, T0)
        for seen in told[1:]:
            assert await rebuilt.read_events(ref("a"), seen.seq) == []
        assert (await look(rebuilt, "a")).started_at_s == T0
        await rebuilt.publish(MODEL, ANN, [progress("a", 0.6)], T0 + 8)
        [next_one] = await rebuilt.read_events(ref("a"), told[-1].seq)
        assert (next_one.kind, next_one.at_s) == ("progress", T0 + 8)

    async def test_a_story_goes_on_in_order_where_the_clock_was_set_back_before_the_rebuild(
        self, broker: Broker, rebuild: Rebuild
    ) -> None:
        await leased(broker, "a", now_s=T0)
        rebuilt = await rebuild()
        await rebuilt.enqueue([ticket("a", attempt=1, held_by=ANN, started_at_s=T0)], T0 - 3600)
        await rebuilt.publish(MODEL, ANN, [progress("a", 0.5)], T0 - 3599)
        await rebuilt.fail(MODEL, ANN, [failure("a", 1, retry_after_s=0.0)], T0 - 3598)
        events = await rebuilt.read_events(ref("a"), None)
        assert [event.kind for event in events] == ["started", "progress", "retrying"]
        assert all(seq_after(b.seq, a.seq) for a, b in itertools.pairwise(events))
        for seen, event in enumerate(events):
            assert await rebuilt.read_events(ref("a"), event.seq) == events[seen + 1 :]

    async def test_events_of_an_ended_job_stay_for_a_while(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        await take_outcomes(broker, T0)
        await broker.announce(MODEL, [ended("a", "completed", T0)])
        await broker.reap(MODELS, T0 + EVENTS_KEPT_S - 1)
        assert await kinds(broker, "a") == ["queued", "started", "completed"]
        await broker.reap(MODELS, T0 + EVENTS_KEPT_S + 1)
        assert await kinds(broker, "a") == []


class OutcomesContract:
    """The record."""

    async def test_outcomes_come_oldest_first_and_stay_until_acked(self, broker: Broker) -> None:
        await leased(broker, "a", "b", "c")
        for name in "bca":
            await broker.complete(MODEL, ANN, [done(name)], T0)
        first = await broker.read_outcomes(2)
        assert [outcome.id for outcome in first] == [job("b"), job("c")]
        await broker.start()
        assert (await broker.read_outcomes(9))[:2] == first
        await broker.ack_outcomes(first, T0)
        await broker.start()
        [last] = await broker.read_outcomes(9)
        assert last.id == job("a")
        await broker.ack_outcomes([last], T0)
        await broker.ack_outcomes([last], T0)
        await broker.start()
        assert await broker.read_outcomes(9) == []

    async def test_outcomes_of_all_models_are_read_together(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.enqueue([ticket("b", model=OTHER)], T0)
        await broker.cancel([ref("b", OTHER)], T0)
        await broker.complete(MODEL, ANN, [done("a")], T0)
        outcomes = await take_outcomes(broker)
        assert {(outcome.model, outcome.id) for outcome in outcomes} == {(MODEL, job("a")), (OTHER, job("b"))}
        assert len({outcome.seq for outcome in outcomes}) == 2

    async def test_a_reader_waits_for_the_next_outcome(self, broker: Broker) -> None:
        assert await broker.read_outcomes(9, wait_s=0.02) == []
        await leased(broker, "a")
        reader = asyncio.create_task(broker.read_outcomes(9, wait_s=SOON_S))
        await let_waits_begin(broker)
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert [outcome.id for outcome in await reader] == [job("a")]

    async def test_an_ack_from_before_a_rebuild_takes_nothing_away(self, broker: Broker, rebuild: Rebuild) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        old = await broker.read_outcomes(9)
        rebuilt = await rebuild()
        await leased(rebuilt, "b")
        await rebuilt.complete(MODEL, ANN, [done("b")], T0)
        await rebuilt.ack_outcomes(old, T0)
        assert [outcome.id for outcome in await rebuilt.read_outcomes(9)] == [job("b")]


class LiveContract(WakeContract, EventsContract, OutcomesContract):
    """Part three of the suite."""

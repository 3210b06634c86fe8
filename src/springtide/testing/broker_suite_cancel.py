"""Broker suite: what a cancel does, wherever the job is."""

from __future__ import annotations

import asyncio

from springtide.broker.protocol import TOMBSTONE_S, Broker
from springtide.domain.job import JobStatus
from springtide.domain.lease import WorkerState
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    T0,
    done,
    failure,
    held,
    job,
    lease_names,
    leased,
    progress,
    ref,
    status,
    take_outcomes,
    ticket,
)


class CancelContract:
    """A cancel in every state."""

    async def test_a_queued_job_is_cancelled_at_once(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        assert await broker.cancel([ref("a")], T0 + 2) == [JobStatus.CANCELLED]
        assert await lease_names(broker, ANN, 9, T0 + 2) == [job("b")]
        [outcome] = await take_outcomes(broker)
        assert (outcome.id, outcome.status, outcome.finished_at_s) == (job("a"), JobStatus.CANCELLED, T0 + 2)

    async def test_a_job_that_waits_for_its_retry_is_cancelled_at_once(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=30.0)], T0)
        assert await broker.cancel([ref("a")], T0) == [JobStatus.CANCELLED]
        await broker.reap(MODELS, T0 + 31)
        assert await broker.lease(MODEL, ANN, 9, T0 + 31) == []

    async def test_a_running_job_is_cancelling_until_its_worker_has_stopped(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        assert await broker.cancel([ref("a")], T0) == [JobStatus.CANCELLING]
        assert await broker.cancel([ref("a")], T0) == [JobStatus.CANCELLING]
        assert await status(broker, "a") == JobStatus.CANCELLING
        assert await take_outcomes(broker) == []
        for _ in range(2):
            reply = await broker.beat(MODEL, ANN, [held("a"), held("b")], WorkerState.BUSY, T0 + 1)
            assert (reply.cancelled, reply.lost) == ((job("a"),), ())
        assert await broker.fail(MODEL, ANN, [failure("a", cancelled=True)], T0 + 2) == [True]
        [outcome] = await take_outcomes(broker)
        assert (outcome.status, outcome.attempt) == (JobStatus.CANCELLED, 1)
        reply = await broker.beat(MODEL, ANN, [held("b")], WorkerState.BUSY, T0 + 3)
        assert reply.cancelled == ()

    async def test_a_cancelling_job_that_completes_is_completed(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.cancel([ref("a")], T0)
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [True]
        assert await broker.cancel([ref("a")], T0) == [JobStatus.COMPLETED]
        assert [outcome.status for outcome in await take_outcomes(broker)] == [JobStatus.COMPLETED]

    async def test_a_cancelling_job_that_fails_is_cancelled_not_retried(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.cancel([ref("a")], T0)
        assert await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0) == [True]
        assert await status(broker, "a") == JobStatus.CANCELLED
        assert await broker.lease(MODEL, BOB, 9, T0) == []

    async def test_a_cancelling_job_can_still_tell_its_progress(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.cancel([ref("a")], T0)
        assert await broker.publish(MODEL, ANN, [progress("a", 0.9)], T0) == [True]

    async def test_an_ended_job_tells_how_it_ended(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        await broker.fail(MODEL, ANN, [failure("b")], T0)
        ends = [JobStatus.COMPLETED, JobStatus.FAILED, None]
        assert await broker.cancel([ref("a"), ref("b"), ref("nobody")], T0) == ends
        await take_outcomes(broker)
        assert await broker.cancel([ref("a"), ref("b"), ref("nobody")], T0 + TOMBSTONE_S - 1) == ends

    async def test_a_cancel_and_a_result_at_the_same_time_leave_one_end(self, broker: Broker) -> None:
        names = [f"race{i}" for i in range(20)]
        await leased(broker, *names)
        answers = await asyncio.gather(
            *(
                call
                for name in names
                for call in (broker.cancel([ref(name)], T0), broker.complete(MODEL, ANN, [done(name)], T0))
            )
        )
        assert all(answer == [True] for answer in answers[1::2])
        outcomes = await take_outcomes(broker)
        assert sorted(outcome.id for outcome in outcomes) == sorted(job(name) for name in names)
        assert {outcome.status for outcome in outcomes} == {JobStatus.COMPLETED}

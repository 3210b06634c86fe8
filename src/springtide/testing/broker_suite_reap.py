"""Broker suite: leases that end without a report, and who hears of it."""

from __future__ import annotations

from springtide.broker.protocol import Broker
from springtide.domain.job import JobStatus
from springtide.domain.lease import LEASE_TTL_S
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    T0,
    beat,
    done,
    job,
    kinds,
    leased,
    look,
    ref,
    status,
    take_outcomes,
)

DEAD = T0 + LEASE_TTL_S + 1  # a worker that last spoke at T0 is dead by now


class ReapContract:
    """Leases of workers that have gone."""

    async def test_a_lease_expires_by_reap_and_not_before(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.reap(MODELS, T0 + LEASE_TTL_S - 1) == []
        assert await broker.lease(MODEL, BOB, 1, DEAD) == []
        assert await broker.complete(MODEL, ANN, [done("a")], DEAD) == [True]

    async def test_what_a_dead_worker_held_goes_back_with_the_attempt_spent(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.reap(MODELS, DEAD) == [job("a")]
        assert await broker.reap(MODELS, DEAD) == []
        [outcome] = await take_outcomes(broker)
        assert (outcome.status, outcome.attempt, outcome.worker) == (JobStatus.QUEUED, 1, ANN)
        assert outcome.error is not None
        assert outcome.error.code == "worker_lost"
        [lease] = await broker.lease(MODEL, BOB, 1, DEAD)
        assert (lease.id, lease.attempt) == (job("a"), 2)

    async def test_a_job_that_kills_every_worker_fails(self, broker: Broker) -> None:
        await leased(broker, "a", max_attempts=1)
        assert await broker.reap(MODELS, DEAD) == [job("a")]
        [outcome] = await take_outcomes(broker)
        assert outcome.status == JobStatus.FAILED
        assert outcome.error is not None
        assert outcome.error.code == "worker_lost"
        assert await broker.lease(MODEL, BOB, 1, DEAD) == []

    async def test_a_cancelling_job_of_a_dead_worker_is_cancelled(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.cancel([ref("a")], T0)
        assert await broker.reap(MODELS, DEAD) == [job("a")]
        assert [outcome.status for outcome in await take_outcomes(broker)] == [JobStatus.CANCELLED]

    async def test_beats_keep_leases(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        for step in range(1, 10):
            assert await beat(broker, ANN, "a", "b", now_s=T0 + 10 * step) == ()
            assert await broker.reap(MODELS, T0 + 10 * step + 9) == []
        assert set(await broker.reap(MODELS, T0 + 90 + LEASE_TTL_S + 1)) == {job("a"), job("b")}

    async def test_a_beat_learns_what_was_lost(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await beat(broker, ANN, "b", now_s=T0 + 10)
        await broker.reap(MODELS, DEAD)
        assert await beat(broker, ANN, "a", "b", now_s=DEAD) == (job("a"),)
        assert await beat(broker, BOB, "b", "nobody", now_s=DEAD) == (job("b"), job("nobody"))
        assert await beat(broker, ANN, "b", now_s=DEAD, attempt=2) == (job("b"),)

    async def test_a_beat_of_a_stranger_does_not_keep_a_lease(self, broker: Broker) -> None:
        await leased(broker, "a")
        await beat(broker, BOB, "a", now_s=T0 + 10)
        await beat(broker, ANN, "a", now_s=T0 + 10, attempt=2)
        assert await broker.reap(MODELS, DEAD) == [job("a")]

    async def test_a_lease_lost_in_transit_is_taken_back_though_its_worker_lives(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await beat(broker, ANN, "a", now_s=T0 + 5)
        await beat(broker, ANN, "a", now_s=T0 + 14)
        assert await broker.reap(MODELS, T0 + LEASE_TTL_S - 1) == []
        assert await broker.reap(MODELS, DEAD) == [job("b")]
        assert await status(broker, "a") == JobStatus.IN_PROGRESS

    async def test_an_attempt_that_its_worker_forgot_is_taken_back(self, broker: Broker) -> None:
        await leased(broker, "a")
        await beat(broker, ANN, "a", now_s=T0 + 10)
        await beat(broker, ANN, now_s=T0 + 20)
        assert await broker.reap(MODELS, T0 + 10 + LEASE_TTL_S - 1) == []
        assert await broker.reap(MODELS, T0 + 10 + LEASE_TTL_S + 1) == [job("a")]

    async def test_reap_minds_only_the_models_it_is_given(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.reap([MODELS[1]], DEAD) == []
        assert await broker.reap([MODELS[0]], DEAD) == [job("a")]

    async def test_what_a_leaving_worker_holds_goes_back_at_once(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await leased(broker, "c", max_attempts=1)
        await leased(broker, "d", worker=BOB)
        await broker.cancel([ref("b")], T0)
        await broker.leave(MODEL, ANN, T0 + 1)
        found = await broker.peek([ref(name) for name in "abcd"], T0 + 1)
        ends = [JobStatus.QUEUED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.IN_PROGRESS]
        assert [view.status for view in found if view] == ends
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 1) == [False]
        [lease] = await broker.lease(MODEL, BOB, 9, T0 + 1)
        assert (lease.id, lease.attempt) == (job("a"), 2)
        [view] = await broker.queues([MODEL], T0 + 1)
        assert [worker.worker for worker in view.workers] == [BOB]
        assert await kinds(broker, "a") == ["queued", "started", "retrying", "started"]

    async def test_leaving_twice_does_nothing_more(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.leave(MODEL, ANN, T0)
        await broker.leave(MODEL, ANN, T0)
        assert len(await take_outcomes(broker)) == 1
        assert (await look(broker, "a")).attempt == 1

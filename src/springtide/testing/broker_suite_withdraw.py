"""Broker suite: jobs that are taken out of their queue to go on in another one."""

from __future__ import annotations

import msgspec

from springtide.broker.protocol import EVENTS_KEPT_S, TOMBSTONE_S, Broker
from springtide.domain.job import JobStatus
from springtide.testing.broker_cases import (
    ANN,
    MODEL,
    MODELS,
    OTHER,
    T0,
    done,
    failure,
    job,
    lease_names,
    leased,
    ref,
    take_outcomes,
    ticket,
)


class WithdrawContract:
    """Out of the queue without an end."""

    async def test_a_job_that_waits_is_taken_out_and_leaves_no_outcome(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        [stood] = await broker.withdraw([ref("a")], T0)
        assert stood is not None
        assert (stood.id, stood.status, stood.attempt) == (job("a"), JobStatus.QUEUED, 0)
        assert await broker.peek([ref("a")], T0) == [None]
        [view] = await broker.queues([MODEL], T0)
        assert (view.queued, view.leased) == (1, 0)
        await broker.reap(MODELS, T0 + TOMBSTONE_S)
        assert await take_outcomes(broker) == []
        assert await lease_names(broker, ANN, 9, T0) == [job("b")]

    async def test_what_runs_has_ended_or_was_never_there_stays_as_it_is(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await broker.complete(MODEL, ANN, [done("b")], T0)
        assert await broker.withdraw([ref("a"), ref("b"), ref("c")], T0) == [None, None, None]
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [True]
        assert len(await take_outcomes(broker)) == 2

    async def test_a_job_that_waits_for_its_next_attempt_tells_how_many_it_had(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=30.0)], T0)
        [stood] = await broker.withdraw([ref("a")], T0 + 1)
        assert stood is not None
        assert stood.attempt == 1
        assert await broker.lease(MODEL, ANN, 9, T0 + 31) == []
        assert [one.status for one in await take_outcomes(broker)] == [JobStatus.QUEUED]
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 31) == [False]

    async def test_it_goes_on_in_another_queue_or_comes_back_to_its_own(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b")], T0)
        await broker.withdraw([ref("a"), ref("b")], T0)
        other = msgspec.structs.replace(ticket("a"), model=OTHER, attempt=1)
        assert await broker.enqueue([other, ticket("b")], T0 + 1) == [True, True]
        [lease] = await broker.lease(OTHER, ANN, 9, T0 + 1)
        assert (lease.id, lease.attempt) == (job("a"), 2)
        assert await lease_names(broker, ANN, 9, T0 + 1) == [job("b")]
        await broker.reap(MODELS, T0 + 2 + EVENTS_KEPT_S)  # what was left behind is forgotten, and nothing else

    async def test_a_job_with_a_start_deadline_does_not_expire_where_it_was(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", start_deadline_at_s=T0 + 5)], T0)
        assert await broker.withdraw([ref("a")], T0) != [None]
        await broker.reap(MODELS, T0 + 6)
        assert await take_outcomes(broker) == []

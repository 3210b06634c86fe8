"""Broker suite, part five: a job's newest checkpoint goes with it, whoever runs it next and however it ends."""

from __future__ import annotations

import pytest

from springtide.broker.protocol import Broker
from springtide.domain.job import JobStatus
from springtide.domain.lease import LEASE_TTL_S, Lease
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    T0,
    Rebuild,
    checkpoint,
    done,
    failure,
    held,
    job,
    leased,
    look,
    progress,
    ref,
    take_outcomes,
    ticket,
)

DEAD = T0 + LEASE_TTL_S + 1


class CheckpointContract:
    """Kept by the fence, given to the next attempt, told with every outcome."""

    async def test_the_newest_checkpoint_is_shown_and_other_progress_leaves_it(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        for n in (1, 2):
            assert await self._keep(broker, n) == [True]
        assert await broker.publish(MODEL, ANN, [progress("a", 0.9, stage="render")], T0) == [True]
        found = await look(broker, "a")
        assert (found.checkpoint, found.fraction) == (checkpoint(2), 0.9)
        assert (await look(broker, "b")).checkpoint is None
        running = await broker.held([MODEL], T0, min_age_s=0.0)
        assert {each.id: each.checkpoint for each in running} == {job("a"): checkpoint(2), job("b"): None}

    async def test_only_the_owner_may_leave_a_checkpoint(self, broker: Broker) -> None:
        await leased(broker, "a")
        mine = progress("a", 0.5, checkpoint=checkpoint(1))
        assert await broker.publish(MODEL, BOB, [mine], T0) == [False]
        later = progress("a", 0.5, attempt=2, checkpoint=checkpoint(1))
        assert await broker.publish(MODEL, ANN, [later], T0) == [False]
        assert (await look(broker, "a")).checkpoint is None
        await broker.reap(MODELS, DEAD)
        assert await broker.publish(MODEL, ANN, [mine], DEAD) == [False]
        assert (await self._next(broker, DEAD)).checkpoint is None

    @pytest.mark.parametrize("way", ["lost", "left", "failed", "released"])
    async def test_the_next_attempt_is_given_the_checkpoint(self, broker: Broker, way: str) -> None:
        [first] = await leased(broker, "a")
        assert first.checkpoint is None
        await self._keep(broker, 2)
        match way:
            case "lost":
                await broker.reap(MODELS, DEAD)
            case "left":
                await broker.leave(MODEL, ANN, T0)
            case "failed":
                await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0)
            case _:
                await broker.release(MODEL, ANN, [held("a")], T0)
        assert (await look(broker, "a")).checkpoint == checkpoint(2)
        assert (await self._next(broker, DEAD)).checkpoint == checkpoint(2)
        expected = [] if way == "released" else [(JobStatus.QUEUED, checkpoint(2))]
        assert [(outcome.status, outcome.checkpoint) for outcome in await take_outcomes(broker)] == expected

    @pytest.mark.parametrize("way", ["completed", "failed", "cancelled", "expired"])
    async def test_the_end_tells_which_checkpoint_nobody_needs_any_more(self, broker: Broker, way: str) -> None:
        await leased(broker, "a", start_deadline_at_s=T0 + 1 if way == "expired" else None)
        await self._keep(broker, 3)
        match way:
            case "completed":
                await broker.complete(MODEL, ANN, [done("a")], T0)
            case "failed":
                await broker.fail(MODEL, ANN, [failure("a")], T0)
            case "cancelled":
                await broker.release(MODEL, ANN, [held("a")], T0)
                await broker.cancel([ref("a")], T0)
            case _:
                await broker.release(MODEL, ANN, [held("a")], T0)
                await broker.reap(MODELS, DEAD)
        [outcome] = await take_outcomes(broker)
        assert (outcome.status, outcome.checkpoint) == (JobStatus(way), checkpoint(3))

    async def test_a_job_without_checkpoints_says_none(self, broker: Broker) -> None:
        [lease] = await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        [outcome] = await take_outcomes(broker)
        assert (lease.checkpoint, outcome.checkpoint) == (None, None)

    async def test_a_rebuilt_broker_has_the_checkpoint_of_the_record(self, broker: Broker, rebuild: Rebuild) -> None:
        await leased(broker, "a")
        fresh = await rebuild()
        running = ticket("a", attempt=1, held_by=ANN, checkpoint=checkpoint(2))
        waiting = ticket("b", attempt=1, checkpoint=checkpoint(1))
        spent = ticket("c", attempt=2, checkpoint=checkpoint(3))
        await fresh.enqueue([running, waiting, spent], T0)
        assert (await look(fresh, "a")).checkpoint == checkpoint(2)
        assert (await self._next(fresh, T0, name="b")).checkpoint == checkpoint(1)
        [outcome] = await take_outcomes(fresh)
        assert (outcome.id, outcome.checkpoint) == (job("c"), checkpoint(3))
        await fresh.reap(MODELS, DEAD)
        again = await fresh.lease(MODEL, BOB, 10, DEAD)
        assert {lease.id: lease.checkpoint for lease in again}[job("a")] == checkpoint(2)

    async def _keep(self, broker: Broker, n: int) -> list[bool]:
        return await broker.publish(MODEL, ANN, [progress("a", n / 10, checkpoint=checkpoint(n))], T0)

    async def _next(self, broker: Broker, now_s: float, *, name: str = "a") -> Lease:
        [lease] = await broker.lease(MODEL, BOB, 1, now_s)
        assert lease.id == job(name)
        return lease

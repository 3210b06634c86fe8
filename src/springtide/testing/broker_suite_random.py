"""Broker suite, part four: long random walks, compared step by step with a model that is simple enough to be right
(`broker_model`). Seeds are fixed: a failure comes back.
"""

from __future__ import annotations

import random

import pytest

from springtide.broker.protocol import Broker
from springtide.domain.ids import JobId, WorkerId
from springtide.domain.job import JobRef, JobStatus, Priority
from springtide.domain.lease import LEASE_TTL_S, Completion, Failure, Held, WorkerState
from springtide.domain.tenant import Discipline, Tenant
from springtide.testing.broker_cases import ANN, BOB, MODEL, T0, Rebuild, failure, job, ticket
from springtide.testing.broker_model import TENANTS, Expected, Fact, Model, fact

WORKERS = (ANN, BOB, WorkerId("worker-cleo"))
STEPS = 250
NEWEST = 8  # jobs still talked about; older ones have mostly ended


class Walk:
    """One random walk. Each method is one step: the broker's answer must be the model's."""

    def __init__(self, broker: Broker, seed: int) -> None:
        self.broker = broker
        self.model = Model()
        self.random = random.Random(seed)  # noqa: S311 - not for secrets
        self.now_s = T0
        self.made = 0
        self.claims: list[tuple[WorkerId, Held]] = []  # every grant ever made: reports may come late, twice, or wrong

    async def step(self) -> None:
        self.now_s = round(self.now_s + self.random.choice([0.011, 0.53, 2.07, 7.19]), 3)
        verbs = [self.enqueue] * 4 + [self.lease] * 5 + [self.complete] * 3 + [self.beat] * 4
        verbs += [self.fail, self.fail, self.release, self.cancel, self.reap, self.reap, self.leave, self.record]
        verbs += [self.configure]
        await self.random.choice(verbs)()
        known = self.names()
        found = await self.broker.peek([JobRef(MODEL, one) for one in known], self.now_s)
        for one, seen in zip(known, found, strict=True):
            expected = self.model.jobs.get(one)
            assert (seen is None) == (expected is None), one
            if seen is not None and expected is not None:
                assert (seen.status, seen.attempt) == (expected.status, expected.attempt), one

    def names(self) -> list[JobId]:
        return [job(f"j{number}") for number in range(max(0, self.made - NEWEST), self.made)]

    def reports(self) -> tuple[WorkerId, list[Held]]:
        """Some worker's claims: mostly its own of late, sometimes another's."""
        worker = self.random.choice(WORKERS)
        late = [item for who, item in self.claims[-2 * NEWEST :] if who == worker or self.random.random() < 0.1]
        some = {item.id: item for item in late if self.random.random() < 0.5}
        return worker, list(some.values())

    async def enqueue(self) -> None:
        self.made += self.random.randint(0, 3)
        for name in self.random.sample(self.names(), min(3, len(self.names()))):
            place = round(self.now_s - self.random.uniform(0, 5), 3)
            tenant, priority = self.random.choice(TENANTS), self.random.choice(list(Priority))
            predicted_s = self.random.choice([0.0, 0.25, 1.5, 30.0, 1000.0])
            new = Expected(name, tenant, priority, place, predicted_s, self.random.randint(1, 3))
            wanted = ticket(
                "",
                id=name,
                tenant=tenant,
                priority=priority,
                enqueued_at_s=place,
                predicted_s=predicted_s,
                max_attempts=new.max_attempts,
            )
            assert await self.broker.enqueue([wanted], self.now_s) == [self.model.enqueue(new)]

    async def configure(self) -> None:
        def limit() -> int | None:
            return self.random.choice([None, None, 1, 2, 5])

        tenants = [
            Tenant(id=tenant, weight=self.random.choice([0.5, 1.0, 3.0]), max_running=limit())
            for tenant in TENANTS
            if self.random.random() < 0.7
        ]
        discipline = Discipline(max_running=limit(), tenants=tuple(tenants))
        await self.broker.configure(MODEL, discipline)
        self.model.configure(discipline)

    async def lease(self) -> None:
        worker, count = self.random.choice(WORKERS), self.random.randint(1, 3)
        leases = await self.broker.lease(MODEL, worker, count, self.now_s)
        granted = [Held(lease.id, lease.attempt) for lease in leases]
        assert granted == self.model.lease(worker, count, self.now_s)
        self.claims += [(worker, item) for item in granted]

    async def beat(self) -> None:
        worker, items = self.reports()
        reply = await self.broker.beat(MODEL, worker, items, WorkerState.BUSY, self.now_s)
        assert (set(reply.cancelled), set(reply.lost)) == self.model.beat(worker, items, self.now_s)

    async def complete(self) -> None:
        worker, items = self.reports()
        done = [Completion(id=item.id, attempt=item.attempt, outputs={}) for item in items]
        answers = await self.broker.complete(MODEL, worker, done, self.now_s)
        assert answers == [self.model.complete(worker, item, self.now_s) for item in items]

    async def fail(self) -> None:
        worker, items = self.reports()
        retry_after_s = self.random.choice([None, 0.0, 3.3, 20.7])
        error = failure("").error
        failed = [Failure(id=i.id, attempt=i.attempt, error=error, retry_after_s=retry_after_s) for i in items]
        answers = await self.broker.fail(MODEL, worker, failed, self.now_s)
        assert answers == [self.model.fail(worker, item, retry_after_s, self.now_s) for item in items]

    async def release(self) -> None:
        worker, items = self.reports()
        answers = await self.broker.release(MODEL, worker, items, self.now_s)
        assert answers == [self.model.release(worker, item, self.now_s) for item in items]

    async def cancel(self) -> None:
        some = self.random.sample(self.names(), min(2, self.made))
        answers = await self.broker.cancel([JobRef(MODEL, name) for name in some], self.now_s)
        assert answers == [self.model.cancel(name) for name in some]

    async def reap(self) -> None:
        assert set(await self.broker.reap([MODEL], self.now_s)) == self.model.reap(self.now_s)

    async def leave(self) -> None:
        worker = self.random.choice(WORKERS)
        await self.broker.leave(MODEL, worker, self.now_s)
        self.model.reap(self.now_s, left=worker)

    async def record(self) -> None:
        facts: list[Fact] = []
        while batch := await self.broker.read_outcomes(100):
            facts += map(fact, batch)
            await self.broker.ack_outcomes(batch, self.now_s)
        # What one call ends, it ends in an order of its own.
        assert sorted(facts, key=repr) == sorted(self.model.ack(self.now_s), key=repr)

    async def rebuild(self, lose: Rebuild) -> None:
        """The broker loses everything and is filled again from the ledger, where some of what runs is noted."""
        running = [one for one in self.model.jobs.values() if one.worker is not None and not one.status.is_terminal]
        noted = {one.id for one in running if self.random.random() < 0.4}
        self.broker = await lose()
        tickets = [
            ticket(
                "",
                id=one.id,
                tenant=one.tenant,
                priority=one.priority,
                enqueued_at_s=one.enqueued_at_s,
                predicted_s=one.predicted_s,
                max_attempts=one.max_attempts,
                attempt=one.attempt,
                held_by=one.worker,
            )
            for one in self.model.rebuild(noted, self.now_s)
        ]
        assert await self.broker.enqueue(tickets, self.now_s) == [True] * len(tickets)

    async def finish(self) -> None:
        """Whatever state the walk has led to, all jobs end and each is recorded."""
        await self.broker.configure(MODEL, Discipline())
        self.model.configure(Discipline())
        self.now_s += LEASE_TTL_S + 30
        await self.reap()
        while any(one.status is JobStatus.QUEUED for one in self.model.jobs.values()):
            await self.lease()
            for worker, item in self.claims:
                done = [Completion(id=item.id, attempt=item.attempt, outputs={})]
                answers = await self.broker.complete(MODEL, worker, done, self.now_s)
                assert answers == [self.model.complete(worker, item, self.now_s)]
        await self.record()
        assert all(one.status.is_terminal for one in self.model.jobs.values())


class RandomContract:
    """Part four of the suite."""

    @pytest.mark.parametrize("seed", range(8))
    async def test_a_random_walk_agrees_with_the_model_at_every_step(self, broker: Broker, seed: int) -> None:
        walk = Walk(broker, seed)
        for _ in range(STEPS):
            await walk.step()
        await walk.finish()

    @pytest.mark.parametrize("seed", range(120, 128))
    async def test_a_random_walk_through_losses_of_all_memory_agrees_with_the_model(
        self, broker: Broker, rebuild: Rebuild, seed: int
    ) -> None:
        walk = Walk(broker, seed)
        for step in range(STEPS):
            await walk.step()
            if step % 25 == 24:
                await walk.rebuild(rebuild)
        await walk.finish()

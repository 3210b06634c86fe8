"""Broker suite, part four: long random walks, compared step by step with a model that is simple enough to be right.

The model keeps a list of jobs and looks through all of it each time. Seeds are fixed: a failure comes back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from springtide.broker.protocol import TOMBSTONE_S, Broker
from springtide.domain.ids import JobId, TenantId, WorkerId
from springtide.domain.job import JobEvent, JobRef, JobStatus, Priority, advance
from springtide.domain.lease import LEASE_TTL_S, Completion, Failure, Held, Outcome, WorkerState
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.fairness import LEAST_COST_S, class_order, order_key
from springtide.testing.broker_cases import ANN, BOB, MODEL, T0, Rebuild, failure, job, ticket

WORKERS = (ANN, BOB, WorkerId("worker-cleo"))
STEPS = 250
NEWEST = 8  # jobs still talked about; older ones have mostly ended

TENANTS = tuple(map(TenantId, ("acme", "beta", "crow")))

Fact = tuple[JobId, JobStatus, int, WorkerId | None, str | None]
_S, _E = JobStatus, JobEvent


@dataclass
class Expected:
    """A job as the model sees it."""

    id: JobId
    tenant: TenantId
    priority: Priority
    enqueued_at_s: float
    predicted_s: float
    max_attempts: int
    status: JobStatus = _S.QUEUED
    attempt: int = 0
    worker: WorkerId | None = None
    due_at_s: float = 0.0
    expires_at_s: float = 0.0
    forget_at_s: float | None = None
    given_back: int = 0
    recorded: int = 0  # the last attempt that the ledger knows of


@dataclass
class Model:
    """What a broker should do, said the long way."""

    jobs: dict[JobId, Expected] = field(default_factory=dict[JobId, Expected])
    facts: list[Fact] = field(default_factory=list[Fact])
    discipline: Discipline = field(default_factory=Discipline)
    turn: int = 0
    reaped_at_s: float = float("-inf")
    promoted: set[JobId] = field(default_factory=set[JobId])  # ready; the others wait until a lease or a reap looks
    virtual_s: dict[Priority, float] = field(default_factory=lambda: dict.fromkeys(Priority, 0.0))
    tags: dict[tuple[Priority, TenantId], float] = field(default_factory=dict[tuple[Priority, TenantId], float])
    turns: set[tuple[Priority, TenantId]] = field(default_factory=set[tuple[Priority, TenantId]])

    def enqueue(self, new: Expected) -> bool:
        is_new = self.jobs.setdefault(new.id, new) is new
        self.settle()
        return is_new

    def configure(self, discipline: Discipline) -> None:
        self.discipline = discipline
        self.settle()

    def share(self, tenant: TenantId) -> Tenant:
        return next((one for one in self.discipline.tenants if one.id == tenant), Tenant(id=tenant))

    def running(self, tenant: TenantId | None = None) -> int:
        held = [one for one in self.jobs.values() if one.worker is not None and not one.status.is_terminal]
        return sum(tenant in (None, one.tenant) for one in held)

    def settle(self, now_s: float | None = None) -> None:
        """Who waits and may run has a turn, at the present virtual time if it is new there. A class in which nobody
        waits forgets everything."""
        for one in self.jobs.values():
            if one.status is not _S.QUEUED:
                self.promoted.discard(one.id)
            elif one.due_at_s == 0.0 or (now_s is not None and one.due_at_s <= now_s):
                self.promoted.add(one.id)
        for priority in Priority:
            waiting = {one.tenant for one in self.ready(priority)}
            if not waiting:
                self.virtual_s[priority] = 0.0
                self.tags = {key: tag for key, tag in self.tags.items() if key[0] is not priority}
            for tenant in TENANTS:
                key, most = (priority, tenant), self.share(tenant).max_running
                if tenant not in waiting or (most is not None and self.running(tenant) >= most):
                    self.turns.discard(key)
                elif key not in self.turns:
                    self.turns.add(key)
                    self.tags[key] = max(self.virtual_s[priority], self.tags.get(key, 0.0))

    def ready(self, priority: Priority) -> list[Expected]:
        return [one for one in self.jobs.values() if one.id in self.promoted and one.priority is priority]

    def lease(self, worker: WorkerId, max_jobs: int, now_s: float) -> list[Held]:
        granted: list[Held] = []
        self.settle(now_s)
        while len(granted) < max_jobs and (one := self.next_job()) is not None:
            one.status, one.worker, one.attempt = advance(one.status, _E.LEASED), worker, one.attempt + 1
            one.expires_at_s = now_s + LEASE_TTL_S
            granted.append(Held(one.id, one.attempt))
            self.settle()
        return granted

    def next_job(self) -> Expected | None:
        most = self.discipline.max_running
        if most is not None and self.running() >= most:
            return None
        for priority in class_order(self.turn):
            turns = [(self.tags[key], key[1]) for key in self.turns if key[0] is priority]
            if turns:
                tag, tenant = min(turns)
                lane = [one for one in self.ready(priority) if one.tenant == tenant]
                one = min(lane, key=lambda one: order_key(one.enqueued_at_s, one.predicted_s))
                self.virtual_s[priority] = max(self.virtual_s[priority], tag)
                self.tags[priority, tenant] = tag + max(one.predicted_s, LEAST_COST_S) / self.share(tenant).weight
                self.turn += 1
                return one
        return None

    def beat(self, worker: WorkerId, held: list[Held], now_s: float) -> tuple[set[JobId], set[JobId]]:
        mine = [one for item in held if (one := self.owned(worker, item, now_s)) is not None]
        for one in mine:
            one.expires_at_s = now_s + LEASE_TTL_S
        lost = {item.id for item in held} - {one.id for one in mine}
        return {one.id for one in mine if one.status is _S.CANCELLING}, lost

    def complete(self, worker: WorkerId, item: Held, now_s: float) -> bool:
        if (one := self.owned(worker, item, now_s)) is not None:
            return self._ends(one, _E.COMPLETED)
        won = self.jobs.get(item.id)
        return won is not None and (won.status, won.worker, won.attempt) == (_S.COMPLETED, worker, item.attempt)

    def fail(self, worker: WorkerId, item: Held, retry_after_s: float | None, now_s: float) -> bool:
        one = self.owned(worker, item, now_s)
        if one is None:
            return False
        retried = retry_after_s is not None and one.attempt < one.max_attempts
        due_at_s = now_s + retry_after_s if retry_after_s else 0.0
        return self._ends(one, _E.RETRIED if retried else _E.FAILED, "crashed", due_at_s)

    def release(self, worker: WorkerId, item: Held, now_s: float) -> bool:
        one = self.owned(worker, item, now_s)
        if one is None:
            return False
        if one.status is _S.CANCELLING:
            return self._ends(one, _E.RELEASED)
        one.status, one.worker, one.due_at_s = advance(one.status, _E.RELEASED), None, 0.0
        one.given_back, one.attempt = one.attempt, one.attempt - 1
        self.settle()
        return True

    def cancel(self, job: JobId) -> JobStatus | None:
        one = self.jobs.get(job)
        if one is None or one.status.is_terminal:
            return None if one is None else one.status
        if one.status is _S.QUEUED:
            self._ends(one, _E.CANCEL_REQUESTED)
        else:
            one.status = advance(one.status, _E.CANCEL_REQUESTED)
        return one.status

    def reap(self, now_s: float, *, left: WorkerId | None = None) -> set[JobId]:
        held = [one for one in self.jobs.values() if one.worker is not None and not one.status.is_terminal]
        if left is None:
            self.follow_clock(held, now_s)
        gone = [one for one in held if (one.worker == left if left else one.expires_at_s <= now_s)]
        for one in gone:
            self._ends(one, _E.LOST if one.attempt < one.max_attempts else _E.FAILED, "worker_lost")
        if left is None:
            self.settle(now_s)
            over = [one.id for one in self.jobs.values() if one.forget_at_s is not None and one.forget_at_s <= now_s]
            for job_id in over:
                del self.jobs[job_id]
        return {one.id for one in gone}

    def follow_clock(self, held: list[Expected], now_s: float) -> None:
        """Where the clock was set back, nobody waits for the old time to come round."""
        for one in held:
            one.expires_at_s = min(one.expires_at_s, now_s + LEASE_TTL_S)
        back_s = self.reaped_at_s - now_s
        for one in self.jobs.values():
            if back_s > LEASE_TTL_S / 2 and one.status is _S.QUEUED and one.due_at_s > self.reaped_at_s:
                one.due_at_s -= back_s
        self.reaped_at_s = now_s

    def ack(self, now_s: float) -> list[Fact]:
        facts, self.facts = self.facts, []
        for job_id, status, attempt, *_ in facts:
            self.jobs[job_id].recorded = attempt
            if status.is_terminal:
                self.jobs[job_id].forget_at_s = now_s + TOMBSTONE_S
        return facts

    def rebuild(self, noted: set[JobId], now_s: float) -> list[Expected]:
        """All is forgotten but what the ledger has: gives the jobs that are put back, those in `noted` as held."""
        old = [one for one in self.jobs.values() if one.forget_at_s is None]
        vars(self).update(vars(Model()))
        for one in old:
            new = Expected(one.id, one.tenant, one.priority, one.enqueued_at_s, one.predicted_s, one.max_attempts)
            new.attempt = new.recorded = one.recorded
            if one.id in noted:
                new.status, new.attempt, new.worker = _S.IN_PROGRESS, one.attempt, one.worker
                new.expires_at_s = now_s + LEASE_TTL_S
            self.enqueue(new)
        return list(self.jobs.values())

    def owned(self, worker: WorkerId, item: Held, now_s: float) -> Expected | None:
        one = self.jobs.get(item.id)
        if one is None or one.status.is_terminal:
            return None
        if (one.worker, one.attempt) == (worker, item.attempt):
            return one
        if one.status is _S.QUEUED and item.attempt == one.attempt + 1 and item.attempt != one.given_back:
            one.status, one.worker, one.attempt = advance(one.status, _E.LEASED), worker, item.attempt
            one.expires_at_s = now_s + LEASE_TTL_S
            self.settle()
            return one
        return None

    def _ends(self, one: Expected, event: JobEvent, code: str | None = None, due_at_s: float = 0.0) -> bool:
        """The attempt is over, and the job with it unless it goes back to the queue."""
        one.status, one.due_at_s = advance(one.status, event), due_at_s
        told = code if one.status in (_S.QUEUED, _S.FAILED) else None
        self.facts.append((one.id, one.status, one.attempt, one.worker, told))
        if one.status is _S.QUEUED:
            one.worker = None
        self.settle()
        return True


def fact(outcome: Outcome) -> Fact:
    code = None if outcome.error is None or outcome.status is _S.CANCELLED else outcome.error.code
    return outcome.id, outcome.status, outcome.attempt, outcome.worker, code


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
        while any(one.status is _S.QUEUED for one in self.model.jobs.values()):
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

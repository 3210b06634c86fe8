"""Broker suite: one job, two or three parties, and every order in which their calls can arrive.

Each scenario is a few short programs (a worker leases, then completes; a client cancels; the clock moves, then the
reaper looks). All interleavings of them are run, each on a job of its own, and after every call the broker must agree
with the random walk's model: the answer, the job's state, and in the end the outcomes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from springtide.broker.protocol import Broker
from springtide.domain.ids import JobId, WorkerId
from springtide.domain.job import JobRef, JobStatus
from springtide.domain.lease import LEASE_TTL_S, Completion, Failure, Held, WorkerState
from springtide.testing.broker_cases import ANN, BOB, MODEL, T0, done, failure, held, job, leased, ref, ticket
from springtide.testing.broker_model import TENANTS, Expected, Fact, Model, fact

Step = tuple[str, str]  # who, what
PASS_S = LEASE_TTL_S + 1  # long enough for a lease to run out
BACK_S = 3600.0

# Who does what. A worker names the attempt that it was granted last; before any grant it claims the first one.
SCENARIOS: dict[str, Sequence[str]] = {
    "a result comes late": ("ann: lease complete", "clock: pass reap", "bob: lease complete"),
    "a result comes twice": ("ann: lease complete complete", "bob: lease complete complete"),
    "a cancel races a result": ("ann: lease beat complete", "client: cancel cancel", "clock: reap"),
    "a cancel races a failure": ("ann: lease fail", "client: cancel", "bob: lease complete"),
    "a beat comes after expiry": ("ann: lease beat complete", "clock: pass reap", "bob: lease"),
    "a failure follows a result": ("ann: lease complete fail", "ann: fail", "clock: pass reap"),
    "a release follows a reap": ("ann: lease release", "clock: pass reap", "bob: lease complete"),
    "a release races a cancel": ("ann: lease release", "client: cancel", "bob: lease release"),
    "two claim one attempt": ("ann: complete beat", "bob: lease complete", "clock: reap"),
    "a claim without a lease": ("ann: beat release beat", "bob: fail lease", "client: cancel"),
    "a reap races a beat": ("ann: lease beat", "clock: pass reap", "bob: beat complete"),
    "a worker leaves and is heard again": ("ann: lease leave complete", "bob: lease", "clock: pass reap"),
    "the clock is set ahead": ("ann: lease beat complete", "clock: ahead reap", "bob: lease"),
    "the clock is set back": ("ann: lease retry", "clock: reap back reap pass reap", "bob: lease"),
}


def orders(programs: Sequence[Sequence[Step]]) -> Iterator[list[Step]]:
    """Every interleaving that keeps each program's own order."""
    if not any(programs):
        yield []
    for at, program in enumerate(programs):
        if program:
            rest = [*programs[:at], program[1:], *programs[at + 1 :]]
            for order in orders(rest):
                yield [program[0], *order]


def steps(program: str) -> list[Step]:
    who, _, whats = program.partition(": ")
    return [(who, what) for what in whats.split()]


@dataclass
class Stage:
    """One job on a broker, and the model beside it."""

    broker: Broker
    model: Model
    now_s: float
    id: JobId
    granted: dict[WorkerId, int]

    async def play(self, step: Step) -> None:
        """One call: the broker's answer must be the model's, and so must the job."""
        who, what = step
        worker = BOB if who == "bob" else ANN
        item = Held(self.id, self.granted.get(worker, 1))
        match what:
            case "pass":
                self.now_s += PASS_S
            case "ahead":
                self.now_s += BACK_S
            case "back":
                self.now_s -= BACK_S
            case "reap":
                taken = await self.broker.reap([MODEL], self.now_s)
                assert set(taken) == self.model.reap(self.now_s)
            case "cancel":
                assert await self.broker.cancel([JobRef(MODEL, self.id)], self.now_s) == [self.model.cancel(self.id)]
            case "leave":
                await self.broker.leave(MODEL, worker, self.now_s)
                self.model.reap(self.now_s, left=worker)
            case _:
                await self._work(what, worker, item)
        await self._look()

    async def _work(self, what: str, worker: WorkerId, item: Held) -> None:
        broker, model, now_s = self.broker, self.model, self.now_s
        match what:
            case "lease":
                leases = [Held(one.id, one.attempt) for one in await broker.lease(MODEL, worker, 1, now_s)]
                assert leases == model.lease(worker, 1, now_s)
                if leases:
                    self.granted[worker] = leases[0].attempt
            case "beat":
                reply = await broker.beat(MODEL, worker, [item], WorkerState.BUSY, now_s)
                assert (set(reply.cancelled), set(reply.lost)) == model.beat(worker, [item], now_s)
            case "complete":
                result = Completion(id=item.id, attempt=item.attempt, outputs={})
                assert await broker.complete(MODEL, worker, [result], now_s) == [model.complete(worker, item, now_s)]
            case "fail" | "retry":
                after_s = 3.0 if what == "retry" else None
                failed = Failure(id=item.id, attempt=item.attempt, error=failure("").error, retry_after_s=after_s)
                assert await broker.fail(MODEL, worker, [failed], now_s) == [model.fail(worker, item, after_s, now_s)]
            case _:
                assert what == "release"
                assert await broker.release(MODEL, worker, [item], now_s) == [model.release(worker, item, now_s)]

    async def end(self) -> None:
        """Whatever was left open ends, and what is on record is what the model says."""
        await self.play(("client", "cancel"))
        self.now_s += PASS_S
        await self.play(("clock", "reap"))
        assert self.model.jobs[self.id].status.is_terminal
        outcomes = await self.broker.read_outcomes(20)
        facts: list[Fact] = [fact(outcome) for outcome in outcomes]
        assert facts == self.model.facts
        assert sum(status.is_terminal for _, status, *_ in facts) == 1
        await self.broker.ack_outcomes(outcomes, self.now_s)

    async def _look(self) -> None:
        [seen] = await self.broker.peek([JobRef(MODEL, self.id)], self.now_s)
        expected = self.model.jobs[self.id]
        is_delayed = expected.status is JobStatus.QUEUED and self.id not in self.model.promoted
        assert seen is not None
        assert (seen.status, seen.attempt) == (expected.status, expected.attempt)
        assert seen.retry_at_s == (expected.due_at_s if is_delayed else None)


class OrdersContract:
    """Every order of a few calls on one job."""

    @pytest.mark.parametrize("scenario", SCENARIOS)
    async def test_every_order_of_these_calls_ends_the_job_once(self, broker: Broker, scenario: str) -> None:
        now_s = T0
        for number, order in enumerate(orders([steps(program) for program in SCENARIOS[scenario]])):
            name, model = job(f"o{number}"), Model(reaped_at_s=now_s if number else float("-inf"))
            tried = ticket("", id=name, tenant=TENANTS[0], enqueued_at_s=now_s, max_attempts=2)
            new = Expected(name, tried.tenant, tried.priority, now_s, tried.predicted_s, tried.max_attempts)
            assert await broker.enqueue([tried], now_s) == [model.enqueue(new)]
            stage = Stage(broker, model, now_s, name, {})
            try:
                for step in order:
                    await stage.play(step)
                await stage.end()
            except AssertionError as error:
                error.add_note(" → ".join(f"{who} {what}" for who, what in order))
                raise
            now_s = max(now_s, stage.now_s) + PASS_S
            await broker.reap([MODEL], now_s)  # so that the next one begins where no clock has just been set

    async def test_reports_that_arrive_together_are_decided_once(self, broker: Broker) -> None:
        for number in range(30):
            name = f"r{number}"
            await leased(broker, name)
            answers = await asyncio.gather(
                broker.complete(MODEL, ANN, [done(name)], T0),
                broker.fail(MODEL, ANN, [failure(name)], T0),
                broker.release(MODEL, ANN, [held(name)], T0),
                broker.complete(MODEL, BOB, [done(name)], T0),
                broker.cancel([ref(name)], T0),
                broker.reap([MODEL], T0 + LEASE_TTL_S + 1),
            )
            taken = [answers[0], answers[1], answers[2]].count([True]) + (job(name) in answers[5])
            assert taken <= 1 and answers[3] == [False]
            await broker.cancel([ref(name)], T0)
            await broker.reap([MODEL], T0 + LEASE_TTL_S + 1)
            outcomes = await broker.read_outcomes(20)
            assert sum(outcome.status.is_terminal for outcome in outcomes) == 1
            await broker.ack_outcomes(outcomes, T0)

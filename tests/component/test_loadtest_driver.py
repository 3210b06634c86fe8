"""The driver against a server of one dictionary, in virtual time: what it sends, sends again, and finds lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec

from springtide.client import Job, NotFound, Refused, Unreachable
from springtide.client.models import LiveFigures, Scaling, WorkerFigures
from springtide.loadtest.driving import AGAIN_FOR_S, Driver
from springtide.loadtest.record import Run
from springtide.loadtest.scenarios import Lane, Plan, Scenario, arrivals
from springtide.testing.clock import ManualClock

PLAN = Plan(scenario=Scenario.SUSTAINED, lanes=(Lane(model="synthetic", job_s=1.0),), rate=2.0, seconds=10.0)


class FakeServer:
    """Takes jobs, by idempotency key; each ends after `takes_s`. It can be away, refuse, and forget."""

    def __init__(self, clock: ManualClock, takes_s: float = 1.0) -> None:
        self.clock, self.takes_s = clock, takes_s
        self.taken: dict[str, Job] = {}
        self.calls = 0
        self.away_until_s = 0.0
        self.loses_answers = self.refuses = False
        self.forgets: set[str] = set()
        self.jobs = self
        self.models = SimpleNamespace(get=self.model, scaling=self.scaling)

    async def submit(self, model: str, inputs: Mapping[str, Any], *, idempotency_key: str) -> Job:
        self.calls += 1
        now_s = self.clock.now_s()
        if now_s < self.away_until_s:
            raise Unreachable("nobody there")
        if self.refuses:
            raise Refused("full", status=429, code="queue_full")
        urls = dict.fromkeys(("status_url", "result_url", "events_url", "cancel_url"), "")
        job = Job(
            id=f"job_{len(self.taken)}",
            status="queued",
            model=model,
            model_version="1",
            created_at="",
            created_at_s=now_s,
            **urls,
        )
        is_new = idempotency_key not in self.taken
        found = self.taken.setdefault(idempotency_key, job)
        if self.loses_answers and is_new:
            raise Unreachable("the answer is lost")
        return found

    async def list(self, *, status: tuple[str, ...] = (), created_after: float = 0.0) -> AsyncIterator[Job]:
        for job in map(self._now, self.taken.values()):
            if job.id not in self.forgets and (not status or job.status in status):
                yield job

    async def get(self, job: str) -> Job:
        if job in self.forgets:
            raise NotFound("no such job", status=404, code="not_found")
        return next(self._now(one) for one in self.taken.values() if one.id == job)

    async def model(self, name: str) -> Any:
        live = LiveFigures(
            queued=0, running=1, predicted_s=0, oldest_wait_s=None, workers=WorkerFigures(ready=2), taken_at_s=0
        )
        return SimpleNamespace(name=name, live=live)

    async def scaling(self, name: str, *, limit: int) -> Scaling:
        return Scaling(model=name, pool=None, decisions=[], samples=[])

    def _now(self, job: Job) -> Job:
        ends_s = job.created_at_s + self.takes_s
        if self.clock.now_s() < ends_s:
            return job
        return msgspec.structs.replace(
            job, status="completed", attempt=1, started_at_s=job.created_at_s, finished_at_s=ends_s
        )


class Victims:
    def __init__(self) -> None:
        self.killed = 0

    def count(self) -> int:
        return 2

    def kill(self) -> str:
        self.killed += 1
        return "worker"


async def driven(server: FakeServer, plan: Plan = PLAN, *, stop_after_s: float | None = None, **more: Any) -> Run:
    driver = Driver(plan, {"": server}, clock=server.clock, **more)  # pyright: ignore[reportArgumentType] - a double
    task = asyncio.create_task(driver.run())
    for second in range(1000):
        if stop_after_s is not None and second >= stop_after_s:
            driver.stop()
        if task.done():
            break
        await server.clock.advance(1.0)
    return await task


async def test_every_job_of_the_plan_is_sent_once_when_it_is_due_and_found_on_record() -> None:
    server = FakeServer(ManualClock())
    told: list[int] = []
    run = await driven(server, told=lambda tally: told.append(tally.accepted))
    planned = arrivals(PLAN)
    assert server.calls == len(planned) == len(run.submits) == len(run.entries)
    assert all(abs(one.sent_s - one.due_s) < 0.01 for one in run.submits)
    assert {one.status for one in run.entries} == {"completed"}
    assert run.missing == ()
    assert len(run.looks) >= 10
    assert told[-1] == len(planned)


async def test_a_slow_server_gets_its_jobs_no_later() -> None:
    run = await driven(FakeServer(ManualClock(), takes_s=120.0))
    assert max(one.sent_s for one in run.submits) <= PLAN.seconds


async def test_a_lost_answer_is_asked_for_again_and_makes_no_second_job() -> None:
    server = FakeServer(ManualClock())
    server.loses_answers = True
    run = await driven(server)
    assert len(server.taken) == len(run.entries) == len(arrivals(PLAN))
    assert all(one.failures[0].again for one in run.submits)


async def test_a_server_that_stays_away_is_given_up_after_a_while() -> None:
    server = FakeServer(ManualClock())
    server.away_until_s = server.clock.now_s() + AGAIN_FOR_S * 10
    run = await driven(server)
    assert all(one.job is None and not one.failures[-1].again for one in run.submits)
    assert max(one.answered_s - one.sent_s for one in run.submits) < AGAIN_FOR_S + 2


async def test_what_is_refused_is_not_sent_again() -> None:
    server = FakeServer(ManualClock())
    server.refuses = True
    run = await driven(server)
    assert server.calls == len(run.submits)
    assert not any(one.job for one in run.submits)


async def test_a_job_that_the_server_forgot_is_missing_by_name() -> None:
    server = FakeServer(ManualClock())
    server.forgets = {"job_3"}
    assert (await driven(server)).missing == ("job_3",)


async def test_jobs_that_never_end_are_waited_for_no_longer_than_patience() -> None:
    server = FakeServer(ManualClock(), takes_s=1e9)
    run = await driven(server, msgspec.structs.replace(PLAN, drain_s=30.0))
    assert run.span_s < PLAN.seconds + 35
    assert {one.status for one in run.entries} == {"queued"}


async def test_an_interrupt_submits_nothing_more_and_still_tells() -> None:
    run = await driven(FakeServer(ManualClock()), stop_after_s=3)
    assert run.interrupted
    assert 0 < len(run.submits) < len(arrivals(PLAN))
    assert len(run.entries) == len(run.submits)


async def test_workers_are_killed_when_the_plan_says_so() -> None:
    victims = Victims()
    run = await driven(FakeServer(ManualClock()), msgspec.structs.replace(PLAN, kills=2), victims=victims)
    assert victims.killed == 2
    assert [round(one.at_s, 1) for one in run.kills] == [3.3, 6.7]

"""A broker that has lost its memory: what a worker holds goes on, and what it has finished counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_world import MODEL, World, until

from springtide.domain.ids import WorkerId
from springtide.domain.job import JobStatus
from springtide.domain.lease import Lease
from springtide.worker import heartbeat, reporter


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeat, "UNKNOWN_BEAT_S", 0.02)
    monkeypatch.setattr(reporter, "UNKNOWN_AGAIN_S", 0.02)


async def test_what_runs_goes_on_when_the_broker_has_forgotten_it_and_is_filled_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        world.forget_all()
        await until(lambda: world.watched.count("peek") >= 2)
        await world.put_back(job)
        await until(lambda: not world.worker._heartbeat._unknown)
        assert await world.status(job) is JobStatus.IN_PROGRESS
        (tmp_path / "gate").touch()
        outcome = await world.outcome(job)
        assert (outcome.status, outcome.attempt, outcome.outputs["number"]) == (JobStatus.COMPLETED, 1, 1)


async def test_a_result_is_kept_until_the_broker_knows_its_job_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        world.forget_all()
        (tmp_path / "gate").touch()
        await until(lambda: world.watched.count("complete") >= 3)
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED  # others are not held up
        await world.put_back(job)
        outcome = await world.outcome(job)
        assert (outcome.status, outcome.attempt, outcome.outputs["number"]) == (JobStatus.COMPLETED, 1, 1)
        await until(lambda: not world.worker._attempts.held())


async def test_what_nobody_puts_back_is_dropped_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "UNKNOWN_PATIENCE_S", 0.2)
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        world.forget_all()
        await until(lambda: not world.worker._attempts.held())
        await until(lambda: world.worker._supervisor.is_idle)
        assert world.watched.count("complete") == 0


async def test_after_an_outage_a_worker_says_what_it_holds_before_it_asks_for_work(tmp_path: Path) -> None:
    async with World(tmp_path, slots=2) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        world.watched.down.add("all")
        await until(lambda: not world.worker._heartbeat.in_touch.is_set())
        world.watched.calls.clear()
        world.forget_all()
        await world.put_back(job)
        world.watched.down.clear()
        await until(lambda: world.watched.count("lease") > 0)
        answered = [verb for verb, *_, answer in world.watched.calls if not isinstance(answer, type)]
        assert next(verb for verb in answered if verb in {"beat", "lease"}) == "beat"
        assert await world.status(job) is JobStatus.IN_PROGRESS
        (tmp_path / "gate").touch()
        assert (await world.outcome(job)).attempt == 1


async def test_an_attempt_that_is_granted_again_under_its_own_number_goes_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        ticket = world.tickets[job]
        again = Lease(
            id=job,
            model=MODEL,
            tenant=ticket.tenant,
            worker=WorkerId("worker-1"),
            attempt=1,
            max_attempts=ticket.max_attempts,
            payload=ticket.payload,
            timeout_s=ticket.timeout_s,
            enqueued_at_s=ticket.enqueued_at_s,
        )
        world.worker._attempts.accept([again])
        (tmp_path / "gate").touch()
        outcome = await world.outcome(job)
        assert (outcome.status, outcome.outputs["number"]) == (JobStatus.COMPLETED, 1)

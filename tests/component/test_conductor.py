"""The conductor against a real broker and ledger, with time in hand: whoever dies in the middle can be followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from springtide.blobs.files import FileBlobs
from springtide.broker.memory import MemoryBroker
from springtide.controller.conductor import Conductor
from springtide.controller.recorder import Recorder
from springtide.controller.sweeper import Sweeper
from springtide.domain.errors import Unavailable
from springtide.domain.ids import DEFAULT_TENANT, JobId, ModelName, WorkerId, pipeline_id, step_id
from springtide.domain.job import Job, JobError, JobStatus, Plan, PlanStep, Priority
from springtide.domain.lease import Completion, Failure, Lease
from springtide.ledger.protocol import JobFilter
from springtide.ledger.sql import SqlLedger
from springtide.policy.pipelines import events_ref
from springtide.runtime.ids import new_job_id
from springtide.testing.clock import ManualClock

MODELS = [ModelName("a"), ModelName("b"), ModelName("c")]
WORKER = WorkerId("w-1")


class World:
    def __init__(self, ledger: SqlLedger, folder: Path) -> None:
        self.blobs = FileBlobs(folder)
        self.clock = ManualClock()
        self.ledger = ledger
        self.come_back()

    def come_back(self) -> None:
        """A new life of everything but the ledger."""
        ledger = self.ledger
        self.broker = MemoryBroker()
        self.conductor = Conductor(self.broker, ledger, self.clock)
        self.recorder = Recorder(
            self.broker, ledger, MODELS, self.clock, blobs=self.blobs, on_steps=self.conductor.nudge
        )

    async def submit(self, *models: ModelName) -> Job:
        """A pipeline on record, and nothing else of it."""
        steps = [
            PlanStep(name=model, model=model, model_version="1", inputs={}, max_attempts=1, timeout_s=9, predicted_s=1)
            for model in models or MODELS
        ]
        whole = Job(
            id=pipeline_id(new_job_id()),
            tenant=DEFAULT_TENANT,
            model=ModelName("a > b > c"),
            model_version="1",
            status=JobStatus.QUEUED,
            inputs={},
            input_files=(),
            priority=Priority.STANDARD,
            max_attempts=1,
            timeout_s=1,
            predicted_s=1,
            created_at_s=self.clock.now_s(),
            plan=Plan(steps=tuple(steps)),
        )
        await self.ledger.insert([whole])
        return whole

    async def lease(self, model: str) -> list[Lease]:
        return await self.broker.lease(ModelName(model), WORKER, 9, self.clock.now_s())

    async def complete(self, lease: Lease) -> None:
        done = Completion(id=lease.id, attempt=lease.attempt, outputs={"x": lease.model})
        assert await self.broker.complete(lease.model, WORKER, [done], self.clock.now_s()) == [True]

    async def get(self, job: JobId) -> Job:
        [found] = await self.ledger.get([job])
        assert found is not None
        return found

    async def steps(self, whole: Job) -> list[tuple[int | None, JobStatus]]:
        where = JobFilter(tenant=DEFAULT_TENANT, parent=whole.id)
        return [(job.step, job.status) for job in await self.ledger.list(where, after=None, limit=99)][::-1]

    async def run(self, whole: Job) -> None:
        """To its end, whatever state it is in."""
        while not (await self.get(whole.id)).status.is_terminal:
            await self.conductor.conduct_all()
            await Sweeper(self.broker, self.ledger, MODELS, self.clock).sweep(settle_s=-1)
            for model in MODELS:
                for lease in await self.lease(model):
                    await self.complete(lease)
            await self.recorder.record_once(wait_s=0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield World(ledger, tmp_path)
    await ledger.stop()


async def test_the_end_of_a_step_wakes_the_conductor_and_the_next_is_queued_at_once(world: World) -> None:
    whole = await world.submit()
    await world.conductor.conduct([whole.id])
    waiting = asyncio.create_task(world.conductor.conduct_due())
    [lease] = await world.lease("a")
    await world.complete(lease)
    await world.recorder.record_once(wait_s=0)
    await waiting  # no time has passed
    assert [one.id for one in await world.lease("b")] == [step_id(whole.id, 1)]
    noted = await world.get(whole.id)
    assert (noted.status, noted.started_at_s) == (JobStatus.IN_PROGRESS, world.clock.now_s())


async def test_a_pipeline_ends_once_with_the_result_of_its_last_step_and_says_so(world: World) -> None:
    whole = await world.submit()
    await world.run(whole)
    ended = await world.get(whole.id)
    assert (ended.status, ended.outputs) == (JobStatus.COMPLETED, {"x": "c"})
    assert await world.steps(whole) == [(number, JobStatus.COMPLETED) for number in range(3)]
    kinds = [event.kind for event in await world.broker.read_events(events_ref(whole), None)]
    assert kinds == ["progress", "progress", "progress", "completed"]
    await world.conductor.conduct([whole.id])
    assert await world.get(whole.id) == ended


async def test_two_conductors_at_once_submit_each_step_once(world: World) -> None:
    whole = await world.submit()
    other = Conductor(world.broker, world.ledger, world.clock)
    for model in MODELS:
        await asyncio.gather(*(each.conduct_all() for each in (world.conductor, other, world.conductor)))
        leases = await world.lease(model)
        assert len(leases) == 1
        await world.complete(leases[0])
        await world.recorder.record_once(wait_s=0)
    await asyncio.gather(world.conductor.conduct_all(), other.conduct_all())
    assert await world.steps(whole) == [(number, JobStatus.COMPLETED) for number in range(3)]
    assert (await world.get(whole.id)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("verb", ["insert", "record", "record_running", "enqueue", "announce"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
async def test_a_death_before_or_after_any_act_is_made_good(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: str, nth: int, after: bool
) -> None:
    whole = await world.submit()
    seam = MemoryBroker if hasattr(MemoryBroker, verb) else SqlLedger
    real, calls = getattr(seam, verb), 0

    async def dies(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != nth:
            return await real(self, *args)
        if after:
            await real(self, *args)
        raise asyncio.CancelledError

    monkeypatch.setattr(seam, verb, dies)
    deaths = 0
    while True:
        try:
            await world.run(whole)
            break
        except asyncio.CancelledError:  # all that was in memory is gone with the embedded gateway
            deaths += 1
            world.come_back()
    assert deaths == (calls >= nth)
    assert await world.steps(whole) == [(number, JobStatus.COMPLETED) for number in range(3)]
    assert (await world.get(whole.id)).status is JobStatus.COMPLETED


async def test_the_sweep_never_puts_a_pipeline_into_the_broker(world: World) -> None:
    whole = await world.submit()
    assert await Sweeper(world.broker, world.ledger, MODELS, world.clock).sweep(settle_s=-1) == 0
    await world.conductor.conduct_all()
    world.broker = MemoryBroker()
    assert await Sweeper(world.broker, world.ledger, MODELS, world.clock).sweep(settle_s=-1) == 1
    assert [lease.id for lease in await world.lease("a")] == [step_id(whole.id, 0)]


async def test_a_wish_to_cancel_that_comes_with_the_next_step_stops_that_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await world.submit()
    await world.conductor.conduct([whole.id])
    [lease] = await world.lease("a")
    await world.complete(lease)
    await world.recorder.record_once(wait_s=0)
    insert = world.ledger.insert

    async def wished_meanwhile(jobs: Any) -> Any:
        await world.ledger.ask_cancel(whole.id, world.clock.now_s())  # and no step is there to be told
        return await insert(jobs)

    monkeypatch.setattr(world.ledger, "insert", wished_meanwhile)
    await world.conductor.conduct_due()  # submits step 1, sees the wish
    await world.conductor.conduct_due()  # stops it
    await world.recorder.record_once(wait_s=0)
    await world.conductor.conduct_due()
    assert (await world.get(whole.id)).status is JobStatus.CANCELLED
    assert await world.steps(whole) == [(0, JobStatus.COMPLETED), (1, JobStatus.CANCELLED)]


async def test_what_could_not_be_done_stays_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await world.submit()
    world.conductor.nudge([whole.id])

    async def down(*_: Any) -> Any:
        raise Unavailable("the ledger is down")

    monkeypatch.setattr(world.ledger, "insert", down)
    with pytest.raises(Unavailable):
        await world.conductor.conduct_due()
    monkeypatch.undo()
    await world.conductor.conduct_due()
    assert await world.steps(whole) == [(0, JobStatus.QUEUED)]


async def test_one_broken_plan_does_not_hold_up_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    whole = await world.submit()
    broken = msgspec.structs.replace(await world.submit(), id=pipeline_id(new_job_id()))
    assert broken.plan is not None
    bad = msgspec.structs.replace(broken.plan.steps[0], inputs={"x": {"$from": "nonsense"}})
    await world.ledger.insert([msgspec.structs.replace(broken, plan=Plan(steps=(bad,)))])
    await world.conductor.conduct_all()
    assert await world.steps(whole) == [(0, JobStatus.QUEUED)]
    assert "cannot be led on" in caplog.text


async def test_a_failed_step_ends_the_pipeline_and_nothing_follows(world: World) -> None:
    whole = await world.submit()
    await world.conductor.conduct([whole.id])
    [lease] = await world.lease("a")
    failure = Failure(id=lease.id, attempt=1, error=JobError(code="crashed", message="SIGSEGV"))
    await world.broker.fail(lease.model, WORKER, [failure], world.clock.now_s())
    await world.recorder.record_once(wait_s=0)
    await world.conductor.conduct_due()
    ended = await world.get(whole.id)
    assert ended.status is JobStatus.FAILED and ended.error is not None
    assert ended.error.message == "step 0 (a): SIGSEGV"
    assert await world.steps(whole) == [(0, JobStatus.FAILED)]
    assert await world.ledger.attempts(whole.id) == []


async def test_more_pipelines_than_one_page_are_led_on_in_one_round(world: World) -> None:
    wholes = [await world.submit() for _ in range(230)]
    await world.conductor.conduct_all()
    assert len(await world.broker.lease(MODELS[0], WORKER, 999, world.clock.now_s())) == len(wholes)


async def test_a_step_on_its_way_to_the_record_is_not_overtaken_by_the_end_of_the_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await world.submit()
    await world.conductor.conduct([whole.id])
    [lease] = await world.lease("a")
    await world.complete(lease)
    await world.recorder.record_once(wait_s=0)
    under_way, may_go_on = asyncio.Event(), asyncio.Event()
    insert = world.ledger.insert

    async def late(jobs: Any) -> Any:
        under_way.set()
        await may_go_on.wait()
        return await insert(jobs)

    monkeypatch.setattr(world.ledger, "insert", late)
    going_on = asyncio.create_task(world.conductor.conduct([whole.id]))
    await under_way.wait()
    await world.ledger.ask_cancel(whole.id, world.clock.now_s())
    ending = asyncio.create_task(world.conductor.conduct_all())
    await asyncio.wait([ending], timeout=0.1)  # what must not happen has time to
    assert not (await world.get(whole.id)).status.is_terminal
    may_go_on.set()
    await asyncio.gather(going_on, ending)
    assert await world.steps(whole) == [(0, JobStatus.COMPLETED), (1, JobStatus.QUEUED)]

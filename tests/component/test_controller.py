"""Recorder, reaper and sweep against the real broker and ledger, with time in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from springtide.blobs.files import FileBlobs
from springtide.broker.memory import MemoryBroker
from springtide.controller.reaper import Reaper
from springtide.controller.recorder import Recorder
from springtide.controller.sweeper import Sweeper
from springtide.domain.errors import NotFound, Unavailable
from springtide.domain.ids import DEFAULT_TENANT, JobId, ModelName, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, Job, JobError, JobRef, JobStatus, Priority
from springtide.domain.lease import LEASE_TTL_S, Completion, Failure, Held, Lease, Payload, Progress, WorkerState
from springtide.domain.tenant import Discipline, Tenant
from springtide.domain.tickets import ticket_of
from springtide.ledger.sql import SqlLedger
from springtide.policy.waiting import REMOVED_AFTER_S
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.runtime.loops import Loop
from springtide.testing.clock import ManualClock

MODEL = ModelName("m")
GONE = ModelName("gone")
WORKER = WorkerId("w-1")


class World:
    """One broker, one ledger, one clock."""

    def __init__(self, ledger: SqlLedger, blobs: FileBlobs) -> None:
        self.clock = ManualClock()
        self.blobs = blobs
        self.broker = MemoryBroker()
        self.ledger = ledger
        self.recorder = Recorder(self.broker, ledger, [MODEL], self.clock, blobs=self.blobs)
        self.sweeper = Sweeper(self.broker, ledger, [MODEL], self.clock)

    def job(self, model: ModelName = MODEL) -> Job:
        return Job(
            id=new_job_id(),
            tenant=DEFAULT_TENANT,
            model=model,
            model_version="1",
            status=JobStatus.QUEUED,
            inputs={"seconds": 0},
            input_files=(),
            priority=Priority.STANDARD,
            max_attempts=3,
            timeout_s=10,
            predicted_s=1,
            created_at_s=self.clock.now_s(),
        )

    async def submit(self, count: int = 1, *, enqueue: bool = True, model: ModelName = MODEL) -> list[Job]:
        jobs = [self.job(model) for _ in range(count)]
        await self.ledger.insert(jobs)
        if enqueue:
            await self.broker.enqueue([ticket_of(job) for job in jobs], self.clock.now_s())
        return jobs

    async def lease(self, count: int = 1, worker: WorkerId = WORKER) -> list[Lease]:
        return await self.broker.lease(MODEL, worker, count, self.clock.now_s())

    async def status(self, job: JobId) -> JobStatus:
        found = (await self.ledger.get([job]))[0]
        assert found is not None
        return found.status


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    blobs = FileBlobs(tmp_path / "blobs")
    await blobs.start()
    yield World(ledger, blobs)
    await ledger.stop()


async def _keep(world: World, lease: Lease, checkpoint: Checkpoint) -> None:
    told = Progress(id=lease.id, attempt=lease.attempt, fraction=0.5, checkpoint=checkpoint)
    assert await world.broker.publish(MODEL, lease.worker, [told], world.clock.now_s()) == [True]


async def _blob(world: World) -> BlobRef:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"state"

    blob = new_blob_id()
    written = await world.blobs.put(blob, chunks(), max_bytes=10)
    return BlobRef(id=blob, media_type="application/octet-stream", bytes=written.bytes, sha256=written.sha256)


async def test_the_checkpoint_of_a_running_job_survives_the_broker(world: World) -> None:
    await world.submit()
    (lease,) = await world.lease()
    await world.clock.advance(5.0)
    for _ in range(2):
        checkpoint = Checkpoint(file=await _blob(world), older=(new_blob_id(),))
        await _keep(world, lease, checkpoint)
        await world.recorder.note_running()
        (job,) = await world.ledger.get([lease.id])
        assert job is not None
        assert job.checkpoint == checkpoint
    fresh = MemoryBroker()
    assert await Sweeper(fresh, world.ledger, [MODEL], world.clock).sweep(settle_s=-1.0) == 1
    await fresh.reap([MODEL], world.clock.now_s() + LEASE_TTL_S + 1)
    (again,) = await fresh.lease(MODEL, WorkerId("w-2"), 1, world.clock.now_s())
    assert (again.attempt, again.checkpoint) == (2, checkpoint)


async def test_the_checkpoints_of_a_job_are_deleted_when_it_has_ended_and_not_before(world: World) -> None:
    await world.submit()
    (lease,) = await world.lease()
    older, newest = await _blob(world), await _blob(world)
    await _keep(world, lease, Checkpoint(file=newest, older=(older.id,)))
    crashed = JobError(code="crashed", message="", retryable=True)
    failure = Failure(id=lease.id, attempt=1, error=crashed, retry_after_s=0.0)
    await world.broker.fail(MODEL, WORKER, [failure], world.clock.now_s())
    await world.recorder.record_once()
    assert [await world.blobs.size(each.id) for each in (older, newest)] == [5, 5]
    (again,) = await world.lease()
    done = Completion(id=again.id, attempt=2, outputs={})
    await world.broker.complete(MODEL, WORKER, [done], world.clock.now_s())
    await world.recorder.record_once()
    for each in (older, newest):
        with pytest.raises(NotFound):
            await world.blobs.size(each.id)


async def test_a_completion_is_recorded_before_anybody_hears_of_it(world: World) -> None:
    job = (await world.submit())[0]
    lease = (await world.lease())[0]
    done = Completion(id=job.id, attempt=lease.attempt, outputs={"x": 1})
    assert await world.broker.complete(MODEL, WORKER, [done], world.clock.now_s()) == [True]
    kinds = [event.kind for event in await world.broker.read_events(JobRef(MODEL, job.id), None)]
    assert "completed" not in kinds
    assert await world.recorder.record_once(wait_s=0) == 1
    found = (await world.ledger.get([job.id]))[0]
    assert found is not None
    assert (found.status, found.outputs) == (JobStatus.COMPLETED, {"x": 1})
    kinds = [event.kind for event in await world.broker.read_events(JobRef(MODEL, job.id), None)]
    assert kinds[-1] == "completed"
    assert await world.recorder.record_once(wait_s=0) == 0


async def test_a_crash_between_commit_and_ack_repeats_without_harm(world: World) -> None:
    job = (await world.submit())[0]
    lease = (await world.lease())[0]
    await world.broker.complete(
        MODEL, WORKER, [Completion(id=job.id, attempt=lease.attempt, outputs={})], world.clock.now_s()
    )
    outcomes = await world.broker.read_outcomes(10)
    assert await world.ledger.record(outcomes) == [True]  # and then the recorder dies
    assert await world.recorder.record_once(wait_s=0) == 1
    events = await world.broker.read_events(JobRef(MODEL, job.id), None)
    assert [event.kind for event in events].count("completed") == 1


async def test_a_failed_attempt_is_on_record_while_the_job_goes_on(world: World) -> None:
    job = (await world.submit())[0]
    lease = (await world.lease())[0]
    failure = Failure(
        id=job.id, attempt=lease.attempt, error=JobError(code="crashed", message="SIGSEGV"), retry_after_s=0.0
    )
    await world.broker.fail(MODEL, WORKER, [failure], world.clock.now_s())
    await world.recorder.record_once(wait_s=0)
    assert await world.status(job.id) is JobStatus.QUEUED
    attempts = await world.ledger.attempts(job.id)
    assert [(one.attempt, one.error and one.error.code) for one in attempts] == [(1, "crashed")]


async def test_a_long_run_is_noted_so_that_a_rebuilt_broker_leaves_it_with_its_worker(world: World) -> None:
    job = (await world.submit())[0]
    await world.lease()
    await world.recorder.note_running()
    assert await world.status(job.id) is JobStatus.QUEUED  # too short to be worth a row version
    await world.clock.advance(3)
    await world.recorder.note_running()
    assert await world.status(job.id) is JobStatus.IN_PROGRESS

    world.broker = rebuilt = MemoryBroker()
    assert await Sweeper(rebuilt, world.ledger, [MODEL], world.clock).sweep(settle_s=-1) == 1
    assert await world.lease(worker=WorkerId("w-2")) == []
    reply = await rebuilt.beat(MODEL, WORKER, [Held(job.id, 1)], WorkerState.BUSY, world.clock.now_s())
    assert reply.lost == ()
    done = Completion(id=job.id, attempt=1, outputs={})
    assert await rebuilt.complete(MODEL, WORKER, [done], world.clock.now_s()) == [True]


async def test_a_recorder_that_ends_with_its_broker_writes_all_it_has_and_who_runs_what(world: World) -> None:
    done, running = await world.submit(2)
    await world.lease(2)
    await world.broker.complete(MODEL, WORKER, [Completion(id=done.id, attempt=1, outputs={})], world.clock.now_s())
    await world.recorder.stop(5.0)
    assert await world.status(done.id) is JobStatus.COMPLETED
    assert await world.status(running.id) is JobStatus.IN_PROGRESS  # though it has only begun


async def test_a_lost_enqueue_is_put_back_once_it_has_settled(world: World) -> None:
    await world.submit(3, enqueue=False)
    assert await world.sweeper.sweep(settle_s=5) == 0
    await world.clock.advance(6)
    assert await world.sweeper.sweep(settle_s=5) == 3
    assert await world.sweeper.sweep(settle_s=5) == 0
    assert len(await world.lease(10)) == 3


async def test_a_job_that_is_put_back_keeps_its_trace(world: World) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await world.ledger.insert([msgspec.structs.replace(world.job(), traceparent=trace)])
    assert await world.sweeper.sweep(settle_s=-1) == 1
    [lease] = await world.lease()
    assert msgspec.msgpack.decode(lease.payload, type=Payload).traceparent == trace


async def test_jobs_from_before_the_clock_was_set_back_are_put_back_as_well(world: World) -> None:
    await world.submit(2, enqueue=False)
    world.clock.step(-3600)
    assert await world.sweeper.sweep(settle_s=5) == 2
    assert await Sweeper(MemoryBroker(), world.ledger, [MODEL], world.clock).sweep(settle_s=-1) == 2


async def test_each_sweep_says_how_the_queues_are_shared_also_to_an_emptied_broker(world: World) -> None:
    await world.submit(3)
    one = Discipline(tenants=(Tenant(id=DEFAULT_TENANT, max_running=1),))
    for broker in (world.broker, MemoryBroker()):
        await Sweeper(broker, world.ledger, [MODEL], world.clock, disciplines={MODEL: one}).sweep(settle_s=-1.0)
        assert len(await broker.lease(MODEL, WORKER, 3, world.clock.now_s())) == 1


async def test_the_sweep_leaves_alone_what_ends_while_it_looks(world: World) -> None:
    """The broker forgets an ended job after its tombstone; the page read before that must not bring it back."""
    job = (await world.submit())[0]
    stale = await world.ledger.live(after=None, limit=10, created_before_s=world.clock.now_s() + 1)
    lease = (await world.lease())[0]
    done = Completion(id=job.id, attempt=lease.attempt, outputs={})
    await world.broker.complete(MODEL, WORKER, [done], world.clock.now_s())
    await world.recorder.record_once(wait_s=0)
    emptied = Sweeper(MemoryBroker(), world.ledger, [MODEL], world.clock)
    assert [one.id for one in stale] == [job.id]
    assert await emptied._put_back(stale) == 0


async def test_the_sweep_pages_through_more_jobs_than_one_page(world: World) -> None:
    await world.submit(1203, enqueue=False)
    assert await world.sweeper.sweep(settle_s=-1) == 1203


async def test_jobs_of_a_removed_model_fail_after_a_while_and_are_never_queued(world: World) -> None:
    [removed] = await world.submit(enqueue=False, model=GONE)
    [served] = await world.submit(enqueue=False)
    assert await world.sweeper.sweep(settle_s=-1) == 1
    assert [lease.id for lease in await world.broker.lease(GONE, WORKER, 9, world.clock.now_s())] == []
    await world.clock.advance(REMOVED_AFTER_S - 1)
    await world.sweeper.sweep()
    assert await world.status(removed.id) is JobStatus.QUEUED
    await world.clock.advance(1)
    await world.sweeper.sweep()
    [ended] = await world.ledger.get([removed.id])
    assert ended is not None
    assert ended.error is not None
    assert (ended.status, ended.error.code, ended.error.retryable) == (JobStatus.FAILED, "model_removed", True)
    assert ended.finished_at_s == world.clock.now_s()
    assert await world.status(served.id) is JobStatus.QUEUED


async def test_a_job_of_a_model_that_is_not_known_yet_gets_its_time(world: World) -> None:
    """A controller that has run for long meets the job of a model that a newer gateway serves already."""
    await world.clock.advance(REMOVED_AFTER_S * 10)
    [job] = await world.submit(model=GONE)
    await world.clock.advance(REMOVED_AFTER_S / 2)
    await world.sweeper.sweep()
    assert await world.status(job.id) is JobStatus.QUEUED
    restarted = Sweeper(MemoryBroker(), world.ledger, [MODEL, GONE], world.clock)
    assert await restarted.sweep() == 1


async def test_a_removed_models_job_leaves_the_queue_that_outlived_the_model(world: World) -> None:
    [job] = await world.submit(model=GONE)
    await world.clock.advance(REMOVED_AFTER_S)
    await world.sweeper.sweep()
    assert await world.status(job.id) is JobStatus.FAILED
    assert await world.broker.lease(GONE, WORKER, 9, world.clock.now_s()) == []
    await world.recorder.record_once(wait_s=0)
    assert await world.status(job.id) is JobStatus.FAILED  # the first end stands


async def test_the_reaper_takes_back_what_a_silent_worker_held(world: World) -> None:
    await world.submit()
    await world.lease()
    reaper = Reaper(world.broker, [MODEL], world.clock)
    for _ in range(int(LEASE_TTL_S) + 1):
        await world.clock.advance(1)
        await reaper.reap_once()
    assert [lease.attempt for lease in await world.lease(worker=WorkerId("w-2"))] == [2]


async def test_after_a_suspend_workers_get_time_to_beat_before_they_are_called_dead(world: World) -> None:
    job = (await world.submit())[0]
    await world.lease()
    reaper = Reaper(world.broker, [MODEL], world.clock)
    await reaper.reap_once()
    world.clock.step(3600)
    await reaper.reap_once()
    held = [Held(job.id, 1)]
    reply = await world.broker.beat(MODEL, WORKER, held, WorkerState.BUSY, world.clock.now_s())
    assert reply.lost == ()
    for _ in range(int(LEASE_TTL_S) + 2):
        await world.clock.advance(1)
        await reaper.reap_once()
    assert (await world.broker.peek([JobRef(MODEL, job.id)], world.clock.now_s()))[0].status is JobStatus.QUEUED  # type: ignore[union-attr]


async def test_after_an_outage_of_the_broker_workers_get_time_to_beat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (await world.submit())[0]
    await world.lease()
    reaper = Reaper(world.broker, [MODEL], world.clock)
    await reaper.reap_once()

    async def away(*_: object) -> None:
        raise Unavailable("the broker is away")

    with monkeypatch.context() as outage:
        outage.setattr(world.broker, "reap", away)
        outage.setattr(world.broker, "queues", away)
        for _ in range(9):  # far longer than a lease and the patience after a gap
            await world.clock.advance(5)
            with pytest.raises(Unavailable):
                await reaper.reap_once()
    await reaper.reap_once()
    reply = await world.broker.beat(MODEL, WORKER, [Held(job.id, 1)], WorkerState.BUSY, world.clock.now_s())
    assert reply.lost == ()


async def test_a_loop_outlives_its_errors_and_waits_longer_after_each() -> None:
    clock, calls = ManualClock(), []

    async def body() -> None:
        calls.append(clock.now_s())
        if len(calls) < 4:
            raise Unavailable("down") if len(calls) % 2 else ValueError("bug")

    loop = Loop("x", body, every_s=1.0, clock=clock)
    await loop.start()
    await clock.advance(30)
    await loop.stop()
    gaps = [later - earlier for earlier, later in pairwise(calls[:4])]
    assert gaps == sorted(gaps)
    assert len(calls) > 20


async def test_a_stopped_loop_runs_no_more() -> None:
    clock, calls = ManualClock(), []

    async def body() -> None:
        calls.append(1)

    loop = Loop("x", body, every_s=1.0, clock=clock)
    await loop.start()
    await clock.advance(0)
    await loop.stop()
    await clock.advance(100)
    assert len(calls) == 1

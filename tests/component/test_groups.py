"""The worker of a distributed model on a virtual clock: a broker in memory, gangs that do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from springtide.blobs.files import FileBlobs
from springtide.broker.memory import MemoryBroker
from springtide.domain.errors import ConfigError, Unavailable
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import JobError, JobRef, JobStatus, Priority
from springtide.domain.lease import Completion, Lease, LiveJob, Outcome, Payload, Ticket
from springtide.fleet.gangs import GangPhase, GangShape, GangView, gang_name
from springtide.runtime.ids import new_job_id
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import BATCH_JOBS
from springtide.testing.clock import ManualClock
from springtide.worker.groups import COLLECT_EVERY_S, FORGOTTEN_AFTER_S
from springtide.worker.service import Worker, WorkerSettings

MODEL = ModelName("film")
LOST = JobError(code="crashed", message="rank 1 of 2 was ended by SIGKILL", retryable=True)


class ScriptedGangs:
    """`Gangs` whose every step the test takes. Notes what was asked for, in order."""

    def __init__(self, worker: WorkerId) -> None:
        self._worker = worker
        self.views: dict[str, GangView] = {}
        self.asked: list[str] = []
        self.opens: list[Exception | None] = []  # what the next ones raise
        self.is_down = False
        self.opened = asyncio.Event()
        self._news = asyncio.Event()

    async def open(self) -> None:
        self.opened.set()
        if self.opens and (error := self.opens.pop(0)) is not None:
            raise error

    async def close(self) -> None:
        self.asked.append("close")

    async def start(self, lease: Lease) -> GangView:
        name = gang_name(lease.id, lease.attempt)
        self.asked.append(f"start {lease.attempt}")
        view = GangView(name=name, job=lease.id, attempt=lease.attempt, worker=self._worker, phase=GangPhase.PENDING)
        return self.views.setdefault(name, view)

    async def change(self, seen: GangView) -> GangView:
        while self.views[seen.name] == seen:
            await self._news.wait()
        return self.views[seen.name]

    async def stop(self, name: str) -> None:
        if self.is_down:
            raise Unavailable("the API server does not answer")
        self.asked.append(f"stop {name.rpartition('-')[2]}")
        self.views.pop(name, None)

    async def list(self) -> list[GangView]:
        return list(self.views.values())

    def become(self, phase: GangPhase, *, only: str | None = None, **news: Any) -> None:
        """All that are there, or one."""
        for name, view in self.views.items():
            if only in (None, name):
                self.views[name] = msgspec.structs.replace(view, phase=phase, **news)
        self._news.set()
        self._news = asyncio.Event()


class World:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker()
        self.id = WorkerId("film-worker-1")
        self.gangs = ScriptedGangs(self.id)
        self.metrics = Metrics()
        shape = GangShape(processes=2, start_timeout_s=settings.pop("start_timeout_s", 600.0))
        self.worker = Worker(
            WorkerSettings(
                model=MODEL,
                engine_reference="not.loaded:Here",
                weights_folder=folder,
                scratch_folder=folder / "scratch",
                gang=shape,
                **{"slots": 1, "grace_s": 60.0, **settings},
            ),
            worker_id=self.id,
            broker=self.broker,
            blobs=FileBlobs(folder / "blobs"),
            clock=self.clock,
            rand=lambda: 0.5,
            gangs=self.gangs,
            metrics=self.metrics,
        )
        self.outcomes: list[Outcome] = []
        self.running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        await self.broker.start()
        self.running = asyncio.create_task(self.worker.run())
        await self.gangs.opened.wait()  # it makes its folder in a thread, which takes real time
        await self.clock.advance(0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.running is not None
        self.gangs.is_down = False
        if not self.running.done():
            self.worker.drain()
            self.running.cancel()
        await asyncio.wait([self.running])
        await self.broker.stop()

    async def submit(self, *, max_attempts: int = 3, timeout_s: float = 100.0) -> JobId:
        ticket = Ticket(
            id=new_job_id(),
            model=MODEL,
            tenant=TenantId("t"),
            priority=Priority.STANDARD,
            payload=msgspec.msgpack.encode(Payload(inputs={})),
            enqueued_at_s=self.clock.now_s(),
            timeout_s=timeout_s,
            max_attempts=max_attempts,
        )
        await self.broker.enqueue([ticket], self.clock.now_s())
        return ticket.id

    async def until(self, is_so: Callable[[], bool], *, most_s: float = 5.0) -> None:
        """Let virtual time pass until something is so."""
        for _ in range(int(most_s / 0.1)):
            if is_so():
                return
            await self.clock.advance(0.1)
            await self.broker.reap([MODEL], self.clock.now_s())  # as a controller does, for what is due again
            self.outcomes += await self._new_outcomes()
        assert is_so(), self.gangs.asked

    async def left(self, most_s: float) -> None:
        """Let virtual time pass, and wait until the worker has left."""
        assert self.running is not None
        await self.clock.advance(most_s)
        await asyncio.wait([self.running])  # its folder is removed in a thread, which takes real time

    async def _new_outcomes(self) -> list[Outcome]:
        found = await self.broker.read_outcomes(100)
        await self.broker.ack_outcomes(found, self.clock.now_s())
        return found

    async def seen(self, job: JobId) -> LiveJob:
        [live] = await self.broker.peek([JobRef(MODEL, job)], self.clock.now_s())
        assert live is not None
        return live

    async def started(self, attempt: int) -> None:
        await self.until(lambda: f"start {attempt}" in self.gangs.asked, most_s=10)

    async def report(self, job: JobId, attempt: int) -> bool:
        """What rank 0 does by itself, in the worker's name."""
        done = Completion(id=job, attempt=attempt, outputs={"total": 6})
        [is_taken] = await self.broker.complete(MODEL, self.id, [done], self.clock.now_s())
        return is_taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_lease_becomes_one_gang_and_rank_0_reports_the_result(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        await world.clock.advance(1)
        assert await world.report(job, 1)
        world.gangs.become(GangPhase.SUCCEEDED)
        await world.until(lambda: "stop 1" in world.gangs.asked)
        assert [(one.status, one.outputs) for one in world.outcomes] == [(JobStatus.COMPLETED, {"total": 6})]
        assert world.gangs.asked == ["start 1", "stop 1"]
        await world.until(lambda: (MODEL,) in world.metrics.cells(BATCH_JOBS))
        assert world.metrics.cells(BATCH_JOBS)[(MODEL,)][0] == 1, "one run of one job"


async def test_while_a_gang_runs_its_worker_s_beats_keep_the_lease(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        for _ in range(12):
            await world.clock.advance(5)
            assert await world.broker.reap([MODEL], world.clock.now_s()) == []
        assert (await world.seen(job)).attempt == 1


async def test_a_lost_rank_ends_the_whole_gang_and_the_next_attempt_has_a_new_one(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        await world.clock.advance(1)
        world.gangs.become(GangPhase.FAILED, error=LOST)
        await world.started(2)
        assert world.gangs.asked == ["start 1", "stop 1", "start 2"]
        assert not await world.report(job, 1), "what the lost gang still says is refused"
        assert await world.report(job, 2)
        [first, *_] = world.outcomes
        assert (first.status, first.error) == (JobStatus.QUEUED, LOST)


async def test_a_cancel_is_reported_only_when_no_process_is_left(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.is_down = True
        await world.broker.cancel([JobRef(MODEL, job)], world.clock.now_s())
        await world.clock.advance(8)
        assert (await world.seen(job)).status is JobStatus.CANCELLING
        world.gangs.is_down = False
        await world.until(lambda: bool(world.outcomes), most_s=20)
        assert [one.status for one in world.outcomes] == [JobStatus.CANCELLED]


async def test_a_gang_that_does_not_start_in_time_is_stopped_and_tried_again(folder: Path) -> None:
    async with World(folder, start_timeout_s=30.0) as world:
        job = await world.submit()
        await world.started(1)
        why = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu"
        world.gangs.become(GangPhase.PENDING, message=why)
        await world.clock.advance(10)
        assert (await world.seen(job)).stage == f"starting: {why}"
        await world.clock.advance(20)
        await world.started(2)
        [first, *_] = world.outcomes
        assert first.error is not None
        assert (first.error.code, first.status) == ("group_not_started", JobStatus.QUEUED)
        assert why in first.error.message


async def test_the_time_limit_counts_from_the_moment_all_ranks_run(folder: Path) -> None:
    async with World(folder) as world:
        await world.submit(timeout_s=100.0)
        await world.started(1)
        await world.clock.advance(300)  # pulling images
        assert world.gangs.asked == ["start 1"]
        world.gangs.become(GangPhase.RUNNING)
        await world.clock.advance(98)
        assert world.gangs.asked == ["start 1"]
        await world.until(lambda: bool(world.outcomes))
        [ended] = world.outcomes
        assert ended.error is not None
        assert (ended.status, ended.error.code) == (JobStatus.FAILED, "timed_out")
        assert world.gangs.asked == ["start 1", "stop 1"]


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_is_leased_than_there_is_room_for(folder: Path, slots: int) -> None:
    async with World(folder, slots=slots) as world:
        jobs = [await world.submit() for _ in range(slots + 2)]
        await world.until(lambda: len(world.gangs.views) == slots)
        await world.clock.advance(20)
        assert len(world.gangs.views) == slots
        waiting = [job for job in jobs if (await world.seen(job)).status is JobStatus.QUEUED]
        assert len(waiting) == 2, "nothing is read ahead: its GPUs are not there"
        first = next(iter(world.gangs.views.values()))
        assert await world.report(first.job, 1)
        world.gangs.become(GangPhase.SUCCEEDED, only=first.name)
        await world.until(lambda: world.gangs.asked.count("start 1") == slots + 1)


async def test_an_attempt_that_is_somebody_elses_loses_its_gang_and_nothing_is_reported(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        await world.broker.leave(MODEL, world.id, world.clock.now_s())  # somebody thinks that it is dead
        await world.clock.advance(0.5)
        other = WorkerId("film-other")
        await world.broker.reap([MODEL], world.clock.now_s() + 60)
        [lease] = await world.broker.lease(MODEL, other, 1, world.clock.now_s() + 60)
        assert (lease.id, lease.attempt) == (job, 2)
        await world.until(lambda: "stop 1" in world.gangs.asked, most_s=10)
        assert (await world.seen(job)).worker == other


async def test_a_drained_worker_lets_its_gang_finish_and_then_leaves(folder: Path) -> None:
    async with World(folder) as world:
        job = await world.submit()
        await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        world.worker.drain()
        await world.clock.advance(30)
        assert world.gangs.asked == ["start 1"]
        assert await world.report(job, 1)
        world.gangs.become(GangPhase.SUCCEEDED)
        await world.left(5)
        assert world.gangs.asked[:2] == ["start 1", "stop 1"]


@pytest.mark.parametrize(("is_down", "number"), [(False, 1), (True, 2)])
async def test_a_worker_out_of_grace_gives_back_only_what_is_certainly_gone(
    folder: Path, is_down: bool, number: int
) -> None:
    """A number is used again only where nobody can report under it any more."""
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        world.gangs.is_down = is_down
        world.worker.drain()
        await world.left(120)
        now_s = world.clock.now_s() + 60
        [lease] = await world.broker.lease(MODEL, WorkerId("film-next"), 1, now_s)
        assert (lease.id, lease.attempt) == (job, number)


async def test_a_worker_leaves_though_the_group_of_a_cancelled_job_cannot_be_stopped(folder: Path) -> None:
    """Others will stop its processes; the job has ended with its worker."""
    async with World(folder) as world:
        job = await world.submit()
        await world.started(1)
        world.gangs.become(GangPhase.RUNNING)
        world.gangs.is_down = True
        await world.broker.cancel([JobRef(MODEL, job)], world.clock.now_s())
        await world.clock.advance(8)
        world.worker.drain()
        await world.left(120)
        assert [one.status for one in await world._new_outcomes()] == [JobStatus.CANCELLED]


async def test_gangs_of_dead_workers_are_stopped_and_those_of_living_ones_are_left_alone(folder: Path) -> None:
    async with World(folder) as world:
        held = await world.submit()
        await world.started(1)
        other = WorkerId("film-other")
        mine = await world.submit()
        [lease] = await world.broker.lease(MODEL, other, 1, world.clock.now_s())
        assert lease.id == mine

        def left(job: JobId, attempt: int, **more: Any) -> str:
            view = GangView(
                name=gang_name(job, attempt), job=job, attempt=attempt, worker=other, phase=GangPhase.RUNNING, **more
            )
            world.gangs.views[view.name] = view
            return view.name

        living = left(mine, 1)
        left(mine, 7)  # not the attempt that its worker holds
        left(held, 8)  # of a worker that does not hold it
        left(new_job_id(), 9, is_orphan=True)
        left(new_job_id(), 10)  # a job that the broker does not know: ended, or the broker was emptied a moment ago
        await world.clock.advance(COLLECT_EVERY_S + 1)
        assert set(world.gangs.asked[1:]) == {"stop 7", "stop 8", "stop 9"}
        await world.clock.advance(FORGOTTEN_AFTER_S + COLLECT_EVERY_S)
        assert "stop 10" in world.gangs.asked
        assert living in world.gangs.views


async def test_where_no_gang_can_be_started_the_worker_says_why_and_waiting_jobs_end(folder: Path) -> None:
    world = World(folder, load_attempts=2)
    world.gangs.opens = [ConfigError("the cluster has no PyTorchJob")] * 50
    async with world:
        await world.submit()
        await world.until(lambda: bool(world.outcomes), most_s=60)
        [view] = await world.broker.queues([MODEL], world.clock.now_s())
        assert view.workers[0].problem is not None
        assert "no PyTorchJob" in view.workers[0].problem.message
        [ended] = world.outcomes
        assert ended.error is not None
        assert (ended.status, ended.error.code) == (JobStatus.FAILED, "load_failed")

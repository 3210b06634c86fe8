"""Several models in one worker: loaded when there is work, unloaded when another needs the room, none left waiting."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from worker_world import WatchedBroker, until

from springtide.blobs.files import FileBlobs
from springtide.broker.memory import MemoryBroker
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import JobRef, JobStatus, Priority
from springtide.domain.lease import Outcome, Payload, Ticket, WorkerState
from springtide.policy import residency
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_job_id
from springtide.worker.host import Host
from springtide.worker.settings import WorkerSettings

A, B, C = (ModelName(name) for name in "abc")
MB = 150  # of each model: far above what an empty process takes, which is about 40


class World:
    """A host of three models in a real process each."""

    def __init__(
        self, folder: Path, *, memory_mb: int, settings: dict[ModelName, dict[str, Any]] | None = None
    ) -> None:
        self.folder = folder
        self.broker = MemoryBroker()
        self.watched = WatchedBroker(self.broker)
        self.blobs = FileBlobs(folder / "blobs")
        models = [
            WorkerSettings(
                model=model,
                engine_reference="worker_engines:Weighty",
                settings={
                    "memory_mb": MB,
                    "name": model,
                    "loads": str(folder / "loads"),
                    **(settings or {}).get(model, {}),
                },
                weights_folder=folder / "weights",
                scratch_folder=folder / "scratch",
                load_attempts=2,
                memory_mb=MB + 40,
                grace_s=20.0,
            )
            for model in (A, B, C)
        ]
        self.host = Host(
            models,
            memory_mb,
            worker_id=WorkerId("host-1"),
            broker=self.watched,  # type: ignore[arg-type]
            blobs=self.blobs,
            clock=SystemClock(),
            rand=lambda: 0.0,
        )
        self.outcomes: dict[JobId, Outcome] = {}

    async def __aenter__(self) -> World:
        await self.broker.start()
        await self.blobs.start()
        self.running = asyncio.create_task(self.host.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.host.drain()
        await asyncio.wait([self.running], timeout=60)
        self.running.cancel()
        await asyncio.wait([self.running])
        if not self.running.cancelled():
            self.running.result()
        assert [path.name for path in (self.folder / "scratch").iterdir()] == [".lock"]

    async def submit(self, model: ModelName, do: str = "ok", **inputs: Any) -> JobId:
        now_s = time.time()
        ticket = Ticket(
            id=new_job_id(),
            model=model,
            tenant=TenantId("t"),
            priority=Priority.STANDARD,
            payload=msgspec.msgpack.encode(Payload({"do": do, **inputs})),
            enqueued_at_s=now_s,
            timeout_s=60.0,
            max_attempts=3,
        )
        await self.broker.enqueue([ticket], now_s)
        return ticket.id

    async def outcome(self, job: JobId) -> Outcome:
        while job not in self.outcomes:
            found = await self.broker.read_outcomes(1000, wait_s=5.0)
            await self.broker.ack_outcomes(found, time.time())
            self.outcomes.update((outcome.id, outcome) for outcome in found)
        return self.outcomes[job]

    async def until_running(self, model: ModelName, job: JobId) -> None:
        after = None
        while True:
            for event in await self.broker.read_events(JobRef(model, job), after, wait_s=5.0):
                after = event.seq
                if event.kind == "progress":
                    return

    async def states(self) -> dict[ModelName, WorkerState]:
        views = await self.broker.queues([A, B, C], time.time())
        return {view.model: worker.state for view in views for worker in view.workers}

    @property
    def loads(self) -> str:
        path = self.folder / "loads"
        return "".join(path.read_text().split()) if path.exists() else ""

    @property
    def loaded(self) -> set[ModelName]:
        return {model for model, worker in self.host.workers.items() if worker.engine_pid is not None}


async def test_a_model_that_took_work_while_another_was_unloaded_stays(tmp_path: Path) -> None:
    """What was planned rests on what was so before: it is planned anew."""
    done: list[str] = []

    class Hosted:
        def __init__(self, model: ModelName) -> None:
            self.model = model
            self.is_occupied = False

        async def unload(self) -> None:
            done.append(f"unload {self.model}")
            hosted[B].is_occupied = True

        async def load(self) -> None:
            done.append(f"load {self.model}")

    hosted = {model: Hosted(model) for model in (A, B, C)}
    host = World(tmp_path, memory_mb=1000).host
    host.workers = hosted  # type: ignore[assignment]
    await host._carry_out(residency.Plan(unload=(A, B), load=(C,)))
    assert done == ["unload a"]


async def test_models_are_loaded_when_there_is_work_and_stay_where_there_is_room(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=2 * (MB + 100)) as world:
        while set(await world.states()) != {A, B, C}:
            await world.broker.read_outcomes(1, wait_s=0.02)
        assert set((await world.states()).values()) == {WorkerState.UNLOADED}
        for model in (A, B, A, B):
            assert (await world.outcome(await world.submit(model))).status is JobStatus.COMPLETED
        assert world.loads == "ab"
        assert world.loaded == {A, B}
        assert (await world.states())[C] is WorkerState.UNLOADED
        measured = world.host.workers[A].memory_mb
        assert measured is not None
        assert MB < measured < MB + 100


async def test_the_model_used_longest_ago_makes_room_for_the_next(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=2 * (MB + 100)) as world:
        for model in (A, B, A, C):
            assert (await world.outcome(await world.submit(model))).status is JobStatus.COMPLETED
        assert world.loads == "abc"
        assert world.loaded == {A, C}


async def test_a_model_that_runs_is_not_unloaded_and_the_other_waits_for_its_end(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=MB + 100) as world:
        gate = tmp_path / "gate"
        long = await world.submit(A, "gate", path=str(gate))
        await world.until_running(A, long)
        other = await world.submit(B)
        await until(lambda: world.host._places[B].wanted_since_s is not None)
        assert world.loaded == {A}
        gate.touch()
        assert (await world.outcome(long)).status is JobStatus.COMPLETED
        assert (await world.outcome(other)).status is JobStatus.COMPLETED
        assert world.loaded == {B}
        assert world.loads == "ab"


async def test_a_stream_of_jobs_for_a_loaded_model_does_not_starve_another(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(residency, "PATIENCE_S", 0.3)
    async with World(tmp_path, memory_mb=MB + 100) as world:
        stream = [await world.submit(A, "steps", number=3000) for _ in range(400)]
        await world.outcome(stream[0])
        other = await world.submit(B)
        assert (await world.outcome(other)).status is JobStatus.COMPLETED
        assert sum(job in world.outcomes for job in stream) < len(stream)  # it did not have to wait for all of them
        for job in stream:
            assert (await world.outcome(job)).status is JobStatus.COMPLETED
        assert all(outcome.attempt == 1 for outcome in world.outcomes.values())
        assert world.loads.startswith("aba")


async def test_an_idle_host_asks_the_broker_for_nothing_but_what_is_rung(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=MB + 100) as world:
        await world.outcome(await world.submit(A))
        await until(lambda: not world.host.workers[A].is_occupied)
        calls = len([verb for verb, *_ in world.watched.calls if verb in ("lease", "queues")])
        await asyncio.wait([world.running], timeout=1.0)
        more = len([verb for verb, *_ in world.watched.calls if verb in ("lease", "queues")]) - calls
        assert more <= 2


async def test_a_model_that_does_not_load_gives_way_to_the_others_and_its_jobs_end_with_the_reason(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, memory_mb=MB + 100, settings={A: {"breaks": True}}) as world:
        broken = await world.submit(A)
        await until(lambda: "a" in world.loads)
        assert (await world.outcome(await world.submit(B))).status is JobStatus.COMPLETED
        outcome = await world.outcome(broken)
        assert outcome.status is JobStatus.FAILED
        assert outcome.error is not None
        assert outcome.error.code == "load_failed"
        assert (await world.outcome(await world.submit(B))).status is JobStatus.COMPLETED


async def test_a_cancelled_job_is_no_reason_to_load_its_model(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=MB + 100) as world:
        gate = tmp_path / "gate"
        long = await world.submit(A, "gate", path=str(gate))
        await world.until_running(A, long)
        other = await world.submit(B)
        await until(lambda: world.host._places[B].wanted_since_s is not None)
        await world.broker.cancel([JobRef(B, other)], time.time())
        assert (await world.outcome(other)).status is JobStatus.CANCELLED
        world.host.workers[B]._changed.set()
        await until(lambda: world.host._places[B].wanted_since_s is None)
        gate.touch()
        await world.outcome(long)
        assert world.loads == "a"


async def test_a_drain_finishes_what_runs_in_every_model(tmp_path: Path) -> None:
    async with World(tmp_path, memory_mb=2 * (MB + 100)) as world:
        gate = tmp_path / "gate"
        jobs = {model: await world.submit(model, "gate", path=str(gate)) for model in (A, B)}
        for model, job in jobs.items():
            await world.until_running(model, job)
        world.host.drain()
        gate.touch()
        await asyncio.wait([world.running], timeout=120)
        assert world.running.done()
        for job in jobs.values():
            assert (await world.outcome(job)).status is JobStatus.COMPLETED
        assert world.loaded == set()

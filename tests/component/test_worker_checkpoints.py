"""From the engine's checkpoint to the next attempt: stored, told, paced, replaced, and never in the way of the job."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from worker_world import MODEL, World, until

from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import BlobId, JobId, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, JobRef, JobStatus, Priority
from springtide.domain.lease import Payload, Ticket
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.worker import checkpoints

COUNTING = "worker_engines:Counting"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "STORING_SHARE", 0.0)


def _open(tmp_path: Path, *steps: int) -> str:
    """The gate's path, open for these steps."""
    for step in steps:
        (tmp_path / f"gate{step}").touch()
    return str(tmp_path / "gate")


async def _kept(world: World, job: JobId) -> Checkpoint | None:
    live = (await world.broker.peek([JobRef(MODEL, job)], time.time()))[0]
    return None if live is None else live.checkpoint


async def _until_kept(world: World, job: JobId, text: bytes) -> Checkpoint:
    while True:
        kept = await _kept(world, job)
        if kept is not None and await world.get(kept.file) == text:
            return kept
        await world.broker.read_outcomes(1, wait_s=0.01)


def _stored(world: World, tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "blobs").rglob("blob_*")}


@pytest.mark.parametrize("do", ["ok", "files"])
async def test_a_killed_run_goes_on_from_its_last_checkpoint_not_from_zero(tmp_path: Path, do: str) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        job = await world.submit(do, number=10, path=_open(tmp_path, *range(1, 8)))
        await _until_kept(world, job, b"7")
        os.kill(world.worker.engine_pid or 0, signal.SIGKILL)
        _open(tmp_path, 8, 9, 10)
        outcome = await world.end_of(job)
        assert (outcome.status, outcome.attempt) == (JobStatus.COMPLETED, 2)
        assert outcome.outputs is not None
        assert outcome.outputs["text"] == "8 9 10"
        assert outcome.checkpoint is not None


async def test_a_checkpoint_that_is_being_stored_when_the_run_crashes_is_the_next_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        whole, is_storing, may_store = world.blobs.put_file, asyncio.Event(), asyncio.Event()

        async def slow(blob: BlobId, path: Path) -> Any:
            is_storing.set()
            await may_store.wait()
            return await whole(blob, path)

        monkeypatch.setattr(world.blobs, "put_file", slow)
        job = await world.submit("ok", number=3, path=_open(tmp_path, 1))
        await is_storing.wait()
        dead = world.worker.engine_pid or 0
        os.kill(dead, signal.SIGKILL)
        await until(lambda: world.worker.engine_pid not in (None, dead))
        assert await world.status(job) is JobStatus.IN_PROGRESS
        may_store.set()
        _open(tmp_path, 2, 3)
        outcome = await world.end_of(job)
        assert outcome.attempt == 2
        assert outcome.outputs is not None
        assert outcome.outputs["text"] == "2 3"


async def test_a_replaced_checkpoint_stays_for_a_while_and_is_then_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        job = await world.submit("ok", number=4, path=_open(tmp_path, 1))
        first = await _until_kept(world, job, b"1")
        _open(tmp_path, 2)
        second = await _until_kept(world, job, b"2")
        assert second.older == (first.file.id,)
        assert _stored(world, tmp_path) == {first.file.id, second.file.id}
        monkeypatch.setattr(checkpoints, "OLDER_KEPT_S", 0.0)
        _open(tmp_path, 3)
        third = await _until_kept(world, job, b"3")
        assert third.older == (second.file.id,)
        assert _stored(world, tmp_path) == {second.file.id, third.file.id}
        _open(tmp_path, 4)
        end = await world.outcome(job)
        assert end.checkpoint is not None
        assert {end.checkpoint.file.id, *end.checkpoint.older} == _stored(world, tmp_path)  # what is left to delete


async def test_the_next_attempt_answers_for_the_files_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        older = (await world.put(b"5")).id
        newest = await world.put(b"6")
        job = await _enqueue(world, Checkpoint(file=newest, older=(older,)), path=_open(tmp_path, 7))
        kept = await _until_kept(world, job, b"7")
        assert kept.older == (older, newest.id)
        monkeypatch.setattr(checkpoints, "OLDER_KEPT_S", 0.0)
        _open(tmp_path, 8)
        kept = await _until_kept(world, job, b"8")
        assert older not in _stored(world, tmp_path)
        _open(tmp_path, 9, 10)
        assert (await world.outcome(job)).outputs == {
            "text": "7 8 9 10",
            "number": 0,
            "file": None,
            "files": [],
        }


async def test_a_checkpoint_that_is_gone_costs_the_work_but_not_the_job(tmp_path: Path) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        gone = BlobRef(id=new_blob_id(), media_type="application/octet-stream", bytes=1, sha256="")
        outcome = await world.outcome(await _enqueue(world, Checkpoint(file=gone), number=3))
        assert outcome.status is JobStatus.COMPLETED
        assert outcome.outputs is not None
        assert outcome.outputs["text"] == "1 2 3"


async def test_checkpoints_are_stored_one_at_a_time_and_only_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_S", 3600.0)
    async with World(tmp_path, engine=COUNTING) as world:
        job = await world.submit("ok", number=2000)
        assert (await world.outcome(job)).status is JobStatus.COMPLETED
        assert len(_stored(world, tmp_path)) <= 1  # of 2,000


async def test_a_store_that_is_down_costs_the_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        tries: list[BlobId] = []

        async def down(blob: BlobId, path: Path) -> Any:
            tries.append(blob)
            raise Unavailable("the store is down")

        monkeypatch.setattr(world.blobs, "put_file", down)
        job = await world.submit("ok", number=2, path=_open(tmp_path, 1))
        await until(lambda: bool(tries))
        _open(tmp_path, 2)
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_a_checkpoint_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        world.watched.down.add("publish")
        job = await world.submit("ok", number=2, path=_open(tmp_path, 1))
        await until(lambda: bool(_stored(world, tmp_path)))
        assert await _kept(world, job) is None
        world.watched.down.clear()
        await _until_kept(world, job, b"1")
        _open(tmp_path, 2)
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_a_worker_that_lost_its_lease_leaves_no_checkpoint(tmp_path: Path) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        job = await world.submit("ok", number=2, path=_open(tmp_path))
        await world.until_running(job)
        await world.broker.leave(MODEL, world.worker.id, time.time())
        stranger = WorkerId("worker-2")
        assert [lease.id for lease in await world.broker.lease(MODEL, stranger, 1, time.time())] == [job]
        publishes = world.watched.count("publish")
        _open(tmp_path, 1)
        await until(lambda: world.watched.count("publish") > publishes)
        _open(tmp_path, 2)
        await until(lambda: not world.worker._checkpoints._tasks)
        assert await _kept(world, job) is None
        await until(lambda: not _stored(world, tmp_path))
        await world.broker.release(MODEL, stranger, [], time.time())


async def test_a_checkpoint_whose_fate_is_unknown_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        whole = world.broker.publish
        lost: list[object] = []

        async def lossy(model: Any, worker: Any, progress: Any, now_s: float) -> list[bool]:
            answer = await whole(model, worker, progress, now_s)
            if progress[0].checkpoint is not None and not lost:
                lost.append(answer)
                raise OutcomeUnknown("the connection broke")
            return answer

        monkeypatch.setattr(world.broker, "publish", lossy)
        job = await world.submit("ok", number=2, path=_open(tmp_path, 1))
        await until(lambda: bool(lost))
        kept = await _kept(world, job)
        assert kept is not None
        await until(lambda: [line.newest for line in world.worker._checkpoints._lines.values()] == [kept.file])
        assert kept.file.id in _stored(world, tmp_path)
        _open(tmp_path, 2)
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_a_file_that_is_not_the_engines_cannot_be_a_checkpoint(tmp_path: Path) -> None:
    async with World(tmp_path, engine=COUNTING) as world:
        foreign = tmp_path / "gate1"
        foreign.touch()
        outcome = await world.outcome(await world.submit("steals", number=1, path=str(tmp_path / "gate")))
        assert outcome.error is not None
        assert "not under progress.folder" in outcome.error.message
        assert foreign.exists()


async def test_a_drain_that_runs_out_of_grace_gives_back_with_the_last_checkpoint(tmp_path: Path) -> None:
    async with World(tmp_path, engine=COUNTING, grace_s=0.1) as world:
        job = await world.submit("ok", number=10, path=_open(tmp_path, 1, 2, 3))
        await _until_kept(world, job, b"3")
        world.worker.drain()
        assert world.running is not None
        await world.running
        [lease] = await world.broker.lease(MODEL, WorkerId("next"), 1, time.time())
        assert (lease.id, lease.attempt) == (job, 1)
        assert lease.checkpoint is not None
        assert await world.get(lease.checkpoint.file) == b"3"


async def _enqueue(world: World, checkpoint: Checkpoint, *, number: int = 10, path: str = "") -> JobId:
    now_s = time.time()
    ticket = Ticket(
        id=new_job_id(),
        model=MODEL,
        tenant=TenantId("t"),
        priority=Priority.STANDARD,
        payload=msgspec.msgpack.encode(Payload({"do": "ok", "number": number, "path": path})),
        enqueued_at_s=now_s,
        timeout_s=60.0,
        max_attempts=3,
        attempt=1,
        checkpoint=checkpoint,
    )
    await world.broker.enqueue([ticket], now_s)
    return ticket.id

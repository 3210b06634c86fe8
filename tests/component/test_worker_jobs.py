"""What becomes of jobs in a worker that is well: results, progress, files, errors of the engine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from worker_world import MODEL, World

from springtide.blobs.files import FileBlobs
from springtide.domain.errors import Unavailable
from springtide.domain.ids import TenantId, WorkerId
from springtide.domain.job import BlobRef, JobStatus, Priority
from springtide.domain.lease import Ticket
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.worker import transfer


async def test_a_job_is_run_and_its_outputs_are_on_record(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("talks", number=3))
        assert outcome.status is JobStatus.COMPLETED
        assert outcome.outputs == {"text": "xxx", "number": 0, "file": None, "files": []}
        assert outcome.attempt == 1
        assert outcome.worker == "worker-1"
        assert outcome.run_s is not None


async def test_the_built_in_synthetic_engine_runs(tmp_path: Path) -> None:
    async with World(tmp_path, engine="synthetic", slots=8, batch=4) as world:
        jobs = await world.submit_many([{"seconds": 0.02, "steps": 2} for _ in range(4)])
        assert [(await world.outcome(job)).status for job in jobs] == [JobStatus.COMPLETED] * 4


async def test_every_job_of_five_hundred_completes_once(tmp_path: Path) -> None:
    async with World(tmp_path, slots=128, batch=64) as world:
        jobs = await world.submit_many([{"do": "ok"} for _ in range(500)])
        numbers = set()
        for job in jobs:
            outcome = await world.outcome(job)
            assert outcome.status is JobStatus.COMPLETED
            assert outcome.outputs is not None
            numbers.add(outcome.outputs["number"])
        assert numbers == set(range(1, 501))
        assert all(len(outcomes) == 1 for outcomes in world.outcomes.values())


async def test_progress_arrives_in_order_with_the_first_and_the_last_but_not_all_of_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("steps", number=20_000)
        await world.outcome(job)
        progress = [event for event in await world.events(job) if event.kind == "progress"]
        fractions = [event.fraction for event in progress]
        assert len(progress) < 200  # of 20,001
        assert fractions[-1] == 1.0
        assert progress[-1].stage == "done"
        assert fractions == sorted(fractions, key=lambda fraction: fraction or 0.0)


async def test_a_single_word_of_progress_arrives_while_the_engine_computes(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        (tmp_path / "gate").touch()
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_a_file_goes_in_and_files_come_out(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        ref = await world.put(b"abc")
        outcome = await world.outcome(await world.submit("copies", file=ref))
        assert outcome.outputs is not None
        assert outcome.outputs["text"] == "text/plain in.txt 3"
        copy, twice, again = outcome.output_files
        assert outcome.outputs["file"] == copy.id
        assert outcome.outputs["files"] == [twice.id, again.id]
        assert (copy.media_type, copy.name, copy.bytes) == ("application/x-copy", "copy.bin", 3)
        assert (twice.media_type, twice.name) == ("application/x-twice", "two.bin")
        assert await world.get(copy) == b"abc"
        assert await world.get(twice) == b"abcabc"
        assert await world.get(ref) == b"abc"


async def test_an_input_that_is_gone_fails_the_job_for_good(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gone = BlobRef(id=new_blob_id(), media_type="text/plain", bytes=1, sha256="")
        outcome = await world.outcome(await world.submit("copies", file=gone))
        assert outcome.status is JobStatus.FAILED
        assert outcome.error is not None
        assert outcome.error.code == "input_missing"


@pytest.mark.parametrize("verb", ["fetch", "put_file"])
async def test_a_blob_store_that_is_down_for_a_moment_costs_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.001)
    _break(monkeypatch, verb, times=2)
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("copies", file=await world.put(b"abc")))
        assert outcome.status is JobStatus.COMPLETED


@pytest.mark.parametrize("verb", ["fetch", "put_file"])
async def test_a_blob_store_that_stays_down_makes_the_job_wait_for_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(transfer, "MOST_WAIT_S", 0.001)
    _break(monkeypatch, verb, times=1000)
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("copies", file=await world.put(b"abc")))
        assert outcome.status is JobStatus.QUEUED
        assert outcome.error is not None
        assert outcome.error.code == "storage_unavailable"


def _break(monkeypatch: pytest.MonkeyPatch, verb: str, *, times: int) -> None:
    whole = getattr(FileBlobs, verb)
    left = iter(range(times))

    async def broken(*args: object, **kwargs: object) -> object:
        if next(left, None) is not None:
            raise Unavailable("the store is down")
        return await whole(*args, **kwargs)

    monkeypatch.setattr(FileBlobs, verb, broken)


@pytest.mark.parametrize(
    ("inputs", "code", "status"),
    [
        ({"do": "raises"}, "engine_failed", JobStatus.FAILED),
        ({"do": "bad_input"}, "invalid_input", JobStatus.FAILED),
        ({"do": "odd_details"}, "invalid_input", JobStatus.FAILED),
        ({"do": "retryable"}, "engine_failed", JobStatus.QUEUED),
        ({"do": "memory_error"}, "out_of_memory", JobStatus.QUEUED),
        ({"do": "sys_exits", "number": 3}, "crashed", JobStatus.QUEUED),
        ({"do": "talks", "number": 2 << 20}, "output_too_large", JobStatus.FAILED),
        ({"do": "wrong"}, "engine_failed", JobStatus.FAILED),
        ({"do": "forgets"}, "engine_failed", JobStatus.FAILED),
        ({"do": "ok", "number": -1}, "invalid_input", JobStatus.FAILED),
        ({"do": "ok", "unknown": 1}, "invalid_input", JobStatus.FAILED),
    ],
)
async def test_each_error_of_the_engine_is_told_apart_and_the_process_lives_on(
    tmp_path: Path, inputs: dict[str, object], code: str, status: JobStatus
) -> None:
    async with World(tmp_path) as world:
        before = await world.outcome(await world.submit("pid"))
        outcome = await world.outcome((await world.submit_many([inputs]))[0])
        assert outcome.error is not None
        assert (outcome.error.code, outcome.status) == (code, status)
        after = await world.outcome(await world.submit("pid"))
        assert before.outputs == after.outputs


async def test_an_engine_hears_of_the_trace_that_its_job_came_with(tmp_path: Path) -> None:
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    async with World(tmp_path) as world:
        with_one = await world.outcome((await world.submit_many([{"do": "trace"}], traceparent=caller))[0])
        without = await world.outcome(await world.submit("trace"))
        assert with_one.outputs is not None and with_one.outputs["text"] == caller
        assert without.outputs is not None and without.outputs["text"] == ""


async def test_the_message_of_too_large_outputs_says_what_to_do(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("talks", number=2 << 20))
        assert outcome.error is not None
        assert "OutputFile" in outcome.error.message


async def test_an_engine_cannot_give_away_a_file_outside_its_folder(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        ref = await world.put(b"the input of somebody")
        outcome = await world.outcome(await world.submit("steals", file=ref))
        assert outcome.status is JobStatus.FAILED
        assert await world.get(ref) == b"the input of somebody"


async def test_a_payload_that_cannot_be_read_fails_its_job_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        broken = Ticket(
            id=new_job_id(),
            model=MODEL,
            tenant=TenantId("t"),
            priority=Priority.STANDARD,
            payload=b"\xc1 not msgpack",
            enqueued_at_s=time.time(),
            timeout_s=1.0,
            max_attempts=3,
        )
        await world.broker.enqueue([broken], time.time())
        outcome = await world.outcome(broken.id)
        assert outcome.status is JobStatus.FAILED
        assert outcome.error is not None
        assert outcome.error.code == "invalid_input"
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


async def test_jobs_run_together_where_the_engine_can(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Batched", slots=16, batch=8) as world:
        gate = tmp_path / "gate"
        first = await world.submit("gate", path=str(gate))
        await world.until_running(first)
        rest = await world.submit_many(
            [{"do": "ok"}, {"do": "raises"}, {"do": "ok", "number": -1}, {"do": "ok"}], age_s=5.0
        )
        await _until_held(world, 5)
        gate.touch()
        good, bad, unbound, last = [await world.outcome(job) for job in rest]
        assert good.status is last.status is JobStatus.COMPLETED
        assert good.outputs is not None
        assert good.outputs["number"] == 3  # the one that could not be bound was left out
        assert bad.error is not None
        assert bad.error.code == "engine_failed"
        assert unbound.error is not None
        assert unbound.error.code == "invalid_input"


async def test_work_read_ahead_is_old_work_only(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        running = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(running)
        (fresh,) = await world.submit_many([{"do": "ok"}], age_s=-60.0)  # stays fresh, however slow this machine is
        leases = world.watched.count("lease")
        while world.watched.count("lease") == leases:
            await world.broker.read_outcomes(1, wait_s=0.05)
        # The worker has asked while the fresh job was there, and has left it to this idle colleague.
        taken = await world.broker.lease(MODEL, WorkerId("colleague"), 1, time.time())
        assert [lease.id for lease in taken] == [fresh]
        (old,) = await world.submit_many([{"do": "ok"}], age_s=5.0)
        await _until_held(world, 3)  # the colleague's one included
        assert await world.status(old) is JobStatus.IN_PROGRESS
        (tmp_path / "gate").touch()
        assert (await world.outcome(old)).status is JobStatus.COMPLETED


@pytest.mark.parametrize(("took_s", "left"), [(0.0, 1), (1.0, 2)])
async def test_who_is_quick_reads_young_work_ahead(tmp_path: Path, took_s: float, left: int) -> None:
    clock = _SetClock()
    async with World(tmp_path, clock=clock, slots=3) as world:
        before = await world.submit("gate", path=str(tmp_path / "before"))
        await world.until_running(before)
        clock.at_s += took_s
        (tmp_path / "before").touch()
        await world.outcome(before)
        gate = {"do": "gate", "path": str(tmp_path / "gate")}
        seen = len(world.watched.calls)
        await world.submit_many([gate, {"do": "ok"}, {"do": "ok"}], age_s=-60.0)

        def has_asked_ahead() -> bool:
            """A second time in a row, or for old work only."""
            leases = [
                (kwargs["min_wait_s"], answer)
                for verb, _, kwargs, answer in world.watched.calls[seen:]
                if verb == "lease"
            ]
            return sum(bool(answer) for _, answer in leases) == 2 or any(min_wait_s > 0 for min_wait_s, _ in leases)

        while not has_asked_ahead():
            clock.at_s += 0.1  # it may have asked in vain while the first one ended, and asks again after a time
            await world.broker.read_outcomes(1, wait_s=0.02)
        assert len(await world.broker.lease(MODEL, WorkerId("colleague"), 9, time.time())) == left
        (tmp_path / "gate").touch()


class _SetClock(SystemClock):
    """Stands still unless it is moved."""

    at_s = 1000.0

    def monotonic_s(self) -> float:
        return self.at_s


async def _until_held(world: World, count: int) -> None:
    while len(await world.broker.held([MODEL], time.time() + 1.0, min_age_s=0.0)) < count:
        await world.broker.read_outcomes(1, wait_s=0.02)

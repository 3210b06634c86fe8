"""Which jobs share a run, how long they wait for each other, and what becomes of them when the run ends badly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from worker_world import MODEL, World, until

from springtide.domain.ids import JobId
from springtide.domain.job import JobStatus
from springtide.telemetry.metrics_catalogue import BATCH_JOBS, ENGINE_STARTS
from springtide.testing.clock import ManualClock
from springtide.worker.batch_size import GROW_AFTER, BatchSize


async def _numbers(world: World, jobs: list[JobId]) -> list[int]:
    ends = [await world.outcome(job) for job in jobs]
    return [0 if end.outputs is None else end.outputs["number"] for end in ends]


async def _behind_a_gate(world: World, tmp_path: Path, inputs: list[dict[str, object]]) -> list[JobId]:
    """Submit while another job runs, so that all are there when the next batch is formed."""
    gate = tmp_path / "gate"
    first = await world.submit("gate", path=str(gate))
    await world.until_running(first)
    jobs = await world.submit_many(inputs, age_s=5.0)
    await until(lambda: world.worker._attempts.waiting == len(jobs))
    gate.touch()
    await world.outcome(first)
    return jobs


# --- who shares a run -------------------------------------------------------------------------------------------------


async def test_only_jobs_of_one_shape_share_a_run_and_all_of_it_that_are_there_do(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Shaped", slots=32, batch=4) as world:
        shapes = [1, 2, 1, 3, 2, 1, 1, 2]
        jobs = await _behind_a_gate(world, tmp_path, [{"number": shape} for shape in shapes])
        ends = [await world.outcome(job) for job in jobs]
        together = {1: 4, 2: 3, 3: 1}
        outputs = [end.outputs or {} for end in ends]
        assert [each["number"] for each in outputs] == [together[shape] for shape in shapes]
        assert [each["text"] for each in outputs] == [str({shape}) for shape in shapes]
        [batches] = world.metrics.cells(BATCH_JOBS).values()
        assert (sum(batches[:-1]), batches[-1]) == (4, 9), "four runs, the first of the gate's job alone, of nine jobs"
        assert sum(world.metrics.cells(ENGINE_STARTS)[(MODEL,)][:-1]) == 1


async def test_a_job_whose_shape_cannot_be_told_fails_alone(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Shaped", slots=32, batch=8) as world:
        inputs = [{"do": "ok"}, {"do": "bad_shape"}, {"do": "ok", "unknown": 1}, {"do": "ok"}]
        first, bad, unbound, last = await _behind_a_gate(world, tmp_path, inputs)
        assert await _numbers(world, [first, last]) == [2, 2]
        for job in (bad, unbound):
            end = await world.outcome(job)
            assert end.error is not None
            assert (end.status, end.error.code) == (JobStatus.FAILED, "invalid_input")


async def test_a_crash_while_shapes_are_told_is_blamed_on_its_job(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Shaped", slots=32, batch=8) as world:
        inputs = [{"do": "ok"}, {"do": "crash_in_shape", "max_attempts": 1}, {"do": "ok"}]
        first, bad, last = await _behind_a_gate(world, tmp_path, inputs)
        end = await world.outcome(bad)
        assert end.error is not None
        assert end.error.code == "crashed"
        assert await _numbers(world, [first, last]) == [2, 2]


# --- waiting for others -----------------------------------------------------------------------------------------------


async def test_jobs_wait_for_each_other_until_the_batch_is_full(tmp_path: Path) -> None:
    settings = {"slots": 8, "batch": 3, "batch_wait_s": 3600.0}
    async with World(tmp_path, engine="worker_engines:Breakable", **settings) as world:
        jobs = await world.submit_many([{"do": "ok"}])
        await until(lambda: world.worker._attempts.waiting == 1)
        jobs += await world.submit_many([{"do": "ok"}])
        await until(lambda: world.worker._attempts.waiting == 2)
        jobs += await world.submit_many([{"do": "ok"}])
        assert await _numbers(world, jobs) == [3, 3, 3]


async def test_a_single_job_runs_when_its_wait_for_others_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = {"slots": 8, "batch": 8, "batch_wait_s": 0.5}
    async with World(tmp_path, engine="worker_engines:Breakable", clock=clock, **settings) as world:
        await until(lambda: world.worker._supervisor.is_idle)
        (job,) = await world.submit_many([{"do": "ok"}])
        await until(lambda: world.worker._attempts.waiting == 1)
        began_s = clock.monotonic_s()
        while world.worker._attempts.waiting:
            await clock.advance(0.05)
            await asyncio.sleep(0)
        assert clock.monotonic_s() - began_s == pytest.approx(0.5)
        assert await _numbers(world, [job]) == [1]


async def test_a_job_that_was_cancelled_while_it_waited_for_others_leaves_them_waiting(tmp_path: Path) -> None:
    settings = {"slots": 8, "batch": 3, "batch_wait_s": 3600.0}
    async with World(tmp_path, engine="worker_engines:Breakable", **settings) as world:
        first, second = await world.submit_many([{"do": "ok"}, {"do": "ok"}])
        await until(lambda: world.worker._attempts.waiting == 2)
        await world.cancel(first)
        assert (await world.outcome(first)).status is JobStatus.CANCELLED
        assert world.worker._attempts.waiting == 1
        jobs = [second, *await world.submit_many([{"do": "ok"}, {"do": "ok"}])]
        assert await _numbers(world, jobs) == [3, 3, 3]


async def test_an_engine_that_runs_one_job_at_a_time_makes_none_wait(tmp_path: Path) -> None:
    async with World(tmp_path, slots=8, batch=8, batch_wait_s=3600.0) as world:
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


# --- runs that end badly ----------------------------------------------------------------------------------------------


async def test_one_job_that_breaks_its_batch_fails_alone_and_its_attempt_only(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Breakable", slots=16, batch=8) as world:
        inputs = [{"do": "raises" if n == 5 else "ok", "max_attempts": 1} for n in range(8)]
        jobs = await _behind_a_gate(world, tmp_path, inputs)
        # In halves: 0 to 3, then 4 to 7 once more, which leaves 4 and 5 alone and 6 with 7.
        assert await _numbers(world, jobs) == [4, 4, 4, 4, 1, 0, 2, 2]
        ends = [await world.outcome(job) for job in jobs]
        assert [end.status for end in ends if end.id != jobs[5]] == [JobStatus.COMPLETED] * 7
        assert all(end.attempt == 1 for end in ends)
        assert ends[5].error is not None
        assert "no good" in ends[5].error.message


@pytest.mark.parametrize("dies", [False, True])
async def test_memory_that_runs_out_halves_this_batch_and_later_ones_and_costs_no_attempt(
    tmp_path: Path, dies: bool
) -> None:
    settings = {"capacity": 2, "dies": dies}
    limit = 250 if dies else None
    async with World(
        tmp_path,
        engine="worker_engines:Breakable",
        slots=16,
        batch=8,
        settings=settings,
        memory_limit_mb=limit,
    ) as world:
        jobs = await _behind_a_gate(world, tmp_path, [{"number": 1, "max_attempts": 1} for _ in range(8)])
        assert await _numbers(world, jobs) == [2] * 8
        assert [(await world.outcome(job)).attempt for job in jobs] == [1] * 8
        assert world.worker._supervisor.most_together == 2
        (tmp_path / "gate").unlink()
        later = await _behind_a_gate(world, tmp_path, [{"number": 1}] * 4)
        assert await _numbers(world, later) == [2] * 4
        assert world.worker._supervisor.most_together == 2
        told = await world.outcome(await world.submit("sizes"))
        assert told.outputs is not None
        sizes = [int(size) for size in told.outputs["text"].strip("[]").split(",")]
        assert [size for size in sizes if size > 2] == ([] if dies else [8, 4])  # of this process; the lesson was kept


async def test_a_job_too_large_by_itself_fails_and_the_batches_after_it_are_full_again(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Breakable", slots=16, batch=4, settings={"capacity": 9}) as world:
        inputs = [{"number": 10 if n == 2 else 1, "max_attempts": 1} for n in range(4)]
        jobs = await _behind_a_gate(world, tmp_path, inputs)
        assert await _numbers(world, jobs) == [2, 2, 0, 1]
        end = await world.outcome(jobs[2])
        assert end.error is not None
        assert end.error.code == "out_of_memory"
        assert world.worker._supervisor.most_together == 4


# --- how many may run together ----------------------------------------------------------------------------------------


def _went_well(size: BatchSize, batches: int) -> None:
    for _ in range(batches * size.now):
        size.went_well(size.now)


def test_the_size_is_halved_from_what_ran_and_never_below_one() -> None:
    size = BatchSize(16)
    size.ran_out(10)
    assert size.now == 5
    size.ran_out(10)  # another batch of the old size: nothing new
    assert size.now == 5
    size.ran_out(5)
    size.ran_out(2)
    assert size.now == 1


def test_the_size_grows_back_by_one_after_full_batches_ever_more_slowly_and_not_past_its_most() -> None:
    size = BatchSize(4)
    size.ran_out(4)
    size.went_well(1)  # not a full batch
    _went_well(size, 2 * GROW_AFTER - 1)
    assert size.now == 2
    _went_well(size, 1)
    assert size.now == 3
    size.ran_out(3)
    assert size.now == 1
    _went_well(size, 4 * GROW_AFTER - 1)
    assert size.now == 1
    _went_well(size, 1 + 10 * 4 * GROW_AFTER)
    assert size.now == 4


def test_one_greedy_job_does_not_make_the_batches_of_others_small() -> None:
    size = BatchSize(8)
    for together in (8, 4, 2, 1):
        size.ran_out(together)
    assert size.now == 8


def test_an_engine_that_takes_fewer_is_given_fewer() -> None:
    size = BatchSize(64)
    size.fit(8)
    size.ran_out(8)
    assert size.now == 4

"""Jobs side by side in one process: nobody waits for the slowest, and each ends by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_world import MODEL, World, until

from springtide.domain.job import JobStatus
from springtide.telemetry.metrics_catalogue import BATCH_JOBS
from springtide.worker import supervisor


def world_of(tmp_path: Path, engine: str = "Laned", **settings: object) -> World:
    return World(tmp_path, engine=f"worker_engines:{engine}", **{"slots": 8, "batch": 2, **settings})


async def test_jobs_pass_one_that_takes_long(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        slow = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(slow)
        jobs = await world.submit_many([{"do": "ok"}] * 5, age_s=5.0)
        for job in jobs:
            assert (await world.outcome(job)).status is JobStatus.COMPLETED
        assert slow not in world.outcomes
        (tmp_path / "gate").touch()
        end = await world.outcome(slow)
        assert end.status is JobStatus.COMPLETED
        shares = [one.run_s or 0.0 for job in (slow, *jobs) for one in world.outcomes[job]]
        assert all(share > 0 for share in shares)
        cells = world.metrics.cells(BATCH_JOBS)[(MODEL,)]
        assert cells[-1] > 6, "each told that it ran beside another"


async def test_no_more_run_than_there_are_lanes_or_the_configuration_allows(tmp_path: Path) -> None:
    for batch in (1, 2, 8):
        async with world_of(tmp_path, batch=batch) as world:
            gate = tmp_path / f"gate{batch}"
            jobs = await world.submit_many([{"do": "gate", "path": str(gate)}] * 4, age_s=5.0)
            await until(lambda: world.worker._attempts.running == min(batch, 2))  # noqa: B023 - awaited here
            await until(lambda: world.worker._attempts.waiting == 4 - min(batch, 2))  # noqa: B023 - awaited here
            gate.touch()
            for job in jobs:
                await world.outcome(job)


async def test_a_cancel_stops_its_own_lane_only(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        gate = tmp_path / "gate"
        stays, goes = await world.submit_many([{"do": "gate", "path": str(gate)}, {"do": "waits"}], age_s=5.0)
        await world.until_running(goes)
        await world.cancel(goes)
        assert (await world.outcome(goes)).status is JobStatus.CANCELLED
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED
        gate.touch()
        assert (await world.outcome(stays)).status is JobStatus.COMPLETED


async def test_a_time_limit_counts_from_a_runs_own_beginning_whatever_runs_beside_it(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        (slow,) = await world.submit_many([{"do": "waits"}], timeout_s=1.2)
        await world.until_running(slow)
        while slow not in world.outcomes:  # were the limit to count anew with each, this would not end
            await world.outcome((await world.submit_many([{"do": "ok"}], age_s=5.0))[0])
        end = await world.outcome(slow)
        assert end.error is not None
        assert end.error.code == "timed_out"


async def test_a_crash_beside_another_job_is_blamed_on_nobody_until_each_has_run_alone(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        gate = tmp_path / "gate"
        good, bad = await world.submit_many(
            [{"do": "gate", "path": str(gate)}, {"do": "segfault"}], age_s=5.0, max_attempts=1
        )
        await until(lambda: world.worker._attempts.running == 1)  # after the crash: the first of them, alone
        gate.touch()
        error = (await world.outcome(bad)).error
        assert error is not None
        assert error.code == "crashed"
        end = await world.outcome(good)
        assert (end.status, end.attempt) == (JobStatus.COMPLETED, 1)


async def test_who_overstays_without_a_word_is_killed_and_its_neighbour_runs_again(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        gate = tmp_path / "gate"
        (slow,) = await world.submit_many(
            [{"do": "gate", "path": str(tmp_path / "never")}], timeout_s=0.2, max_attempts=1
        )
        (good,) = await world.submit_many([{"do": "gate", "path": str(gate)}], age_s=5.0, max_attempts=1)
        error = (await world.outcome(slow)).error
        assert error is not None
        assert error.code == "timed_out"
        gate.touch()
        assert (await world.outcome(good)).status is JobStatus.COMPLETED


async def test_one_that_heeds_no_cancel_is_left_alone_until_its_neighbour_has_ended_then_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_GRACE_S", 0.05)
    async with world_of(tmp_path) as world:
        gate = tmp_path / "gate"
        deaf, good = await world.submit_many(
            [{"do": "gate", "path": str(tmp_path / "never")}, {"do": "gate", "path": str(gate)}], age_s=5.0
        )
        await world.until_running(deaf)
        await world.until_running(good)
        pid = world.worker.engine_pid
        await world.cancel(deaf)
        assert (await world.outcome(deaf)).status is JobStatus.CANCELLED
        (later,) = await world.submit_many([{"do": "pid"}], age_s=5.0)
        await until(lambda: world.worker._attempts.waiting == 1)
        assert world.worker._attempts.running == 1, "nothing begins beside what cannot be stopped"
        gate.touch()
        assert (await world.outcome(good)).attempt == 1
        end = await world.outcome(later)
        assert end.outputs is not None
        assert end.outputs["number"] not in (pid, 0)


async def test_memory_that_runs_out_side_by_side_costs_no_attempt_and_leaves_one_lane(tmp_path: Path) -> None:
    async with world_of(tmp_path, engine="Greedy") as world:
        jobs = await world.submit_many([{"do": "ok", "number": 100}] * 3, age_s=5.0, max_attempts=1)
        ends = [await world.outcome(job) for job in jobs]
        assert [(end.status, end.attempt) for end in ends] == [(JobStatus.COMPLETED, 1)] * 3
        assert world.worker._supervisor.most_together == 1


async def test_an_engine_with_lanes_and_batches_does_not_load(tmp_path: Path) -> None:
    async with world_of(tmp_path, engine="LanedAndBatched", load_attempts=1) as world:
        error = (await world.outcome(await world.submit("ok"))).error
        assert error is not None
        assert "lanes and max_batch" in error.message

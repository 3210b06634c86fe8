"""What becomes of jobs when the child dies, hangs, is cancelled, or the broker goes away."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from worker_world import MODEL, World, until

from springtide.blobs.protocol import Written
from springtide.domain.errors import OutcomeUnknown
from springtide.domain.ids import BlobId, TenantId, WorkerId
from springtide.domain.job import JobStatus
from springtide.domain.lease import LEASE_TTL_S, Lease, Outcome, Payload, WorkerState
from springtide.policy.retry import RetrySettings
from springtide.runtime.ids import new_job_id
from springtide.worker import heartbeat, limits, supervisor


def _code(outcome: Outcome) -> str:
    assert outcome.error is not None
    return outcome.error.code


async def _pid(world: World) -> Any:
    outcome = await world.outcome(await world.submit("pid"))
    assert outcome.outputs is not None
    return outcome.outputs["number"]


# --- deaths -----------------------------------------------------------------------------------------------------------


async def test_a_segfault_is_a_crash_with_its_signal_and_last_words_and_the_next_job_runs(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("segfault"))
        assert _code(outcome) == "crashed"
        assert outcome.status is JobStatus.QUEUED  # another attempt is due
        assert outcome.error is not None
        assert outcome.error.details["signal"] == "SIGSEGV"
        assert "last words" in outcome.error.details["stderr"]
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


async def test_a_crash_report_does_not_show_what_an_earlier_job_printed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.outcome(await world.submit("raises"))  # its traceback is printed
        outcome = await world.outcome(await world.submit("segfault"))
        assert outcome.error is not None
        assert "no good" not in outcome.error.details["stderr"]


async def test_what_a_failed_run_held_is_let_go_before_the_next(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.outcome(await world.submit("fails_with_data"))
        outcome = await world.outcome(await world.submit("data_left"))
        assert outcome.outputs is not None
        assert outcome.outputs["number"] == 0


async def test_a_job_whose_first_attempt_crashed_completes_at_its_second(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        outcome = await world.end_of(await world.submit("once", path=str(tmp_path / "note")))
        assert (outcome.status, outcome.attempt) == (JobStatus.COMPLETED, 2)


async def test_a_crash_in_the_last_attempt_fails_the_job(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        (job,) = await world.submit_many([{"do": "segfault"}], max_attempts=1)
        assert (await world.outcome(job)).status is JobStatus.FAILED


async def test_the_models_own_settings_decide_which_failures_are_tried_again(tmp_path: Path) -> None:
    retry = RetrySettings(first_s=0.01, on=("engine_failed",), never=("crashed",))
    async with World(tmp_path, retry=retry) as world:
        raised = await world.end_of(await world.submit("raises"))
        assert (raised.status, raised.attempt) == (JobStatus.FAILED, 3)
        crashed = await world.end_of(await world.submit("segfault"))
        assert (crashed.status, crashed.attempt) == (JobStatus.FAILED, 1)


async def test_a_failure_says_which_engine_failed_and_with_how_much_memory_and_bad_input_does_not(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        for do in ("segfault", "raises", "memory_error"):
            outcome = await world.outcome(await world.submit(do))
            assert outcome.error is not None
            details = outcome.error.details
            assert (details["engine"], details["engine_version"]) == ("worker_engines:Scripted", "1")
            assert details["peak_mb"] > 1
        outcome = await world.outcome(await world.submit("bad_input"))
        assert outcome.error is not None
        assert set(outcome.error.details) == {"errors"}


async def test_an_exit_code_is_told(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        outcome = await world.outcome(await world.submit("exits", number=7))
        assert _code(outcome) == "crashed"
        assert outcome.error is not None
        assert outcome.error.details["exit_code"] == 7


async def test_a_process_over_its_memory_limit_is_killed_for_that(tmp_path: Path) -> None:
    async with World(tmp_path, memory_limit_mb=200) as world:
        outcome = await world.outcome(await world.submit("eats", number=320))
        assert _code(outcome) == "out_of_memory"
        assert outcome.error is not None
        assert outcome.error.details["limit_mb"] == 200
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


async def test_a_kill_by_the_kernels_memory_killer_is_told_from_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([5, 6])
    monkeypatch.setattr(supervisor, "oom_kills", lambda: next(counts, 6))
    async with World(tmp_path) as world:
        job = await world.submit("sleeps", number=60)
        await world.until_running(job)
        os.kill(world.worker.engine_pid or 0, signal.SIGKILL)
        assert _code(await world.outcome(job)) == "out_of_memory"


async def test_a_child_killed_from_outside_is_a_crash_and_is_replaced(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("sleeps", number=60)
        await world.until_running(job)
        before = world.worker.engine_pid or 0
        os.kill(before, signal.SIGKILL)
        outcome = await world.outcome(job)
        assert _code(outcome) == "crashed"
        assert outcome.error is not None
        assert outcome.error.details["signal"] == "SIGKILL"
        assert await _pid(world) != before


async def test_a_child_killed_while_idle_is_replaced_and_nobody_is_blamed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        before = await _pid(world)
        os.kill(before, signal.SIGKILL)
        await until(lambda: world.worker.engine_pid not in (None, before))
        assert await _pid(world) != before


async def test_a_batch_that_runs_one_by_one_blames_only_the_one_that_ran(tmp_path: Path) -> None:
    async with World(tmp_path, slots=16, batch=8) as world:
        jobs = await world.submit_many([{"do": "segfault" if n == 3 else "ok", "max_attempts": 1} for n in range(8)])
        ends = [await world.outcome(job) for job in jobs]
        statuses = [end.status for end in ends]
        assert statuses == [JobStatus.FAILED if n == 3 else JobStatus.COMPLETED for n in range(8)]
        assert all(end.attempt == 1 for end in ends)


async def test_a_batch_that_died_together_is_tried_one_by_one_to_find_who_did_it(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Batched", slots=16, batch=8) as world:
        jobs = await world.submit_many([{"do": "crash" if n == 3 else "ok", "max_attempts": 1} for n in range(8)])
        ends = [await world.outcome(job) for job in jobs]
        statuses = [end.status for end in ends]
        assert statuses == [JobStatus.FAILED if n == 3 else JobStatus.COMPLETED for n in range(8)]
        assert all(end.attempt == 1 for end in ends)


async def test_what_a_crashed_job_left_in_its_folder_is_removed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.outcome(await world.submit("litters"))
        await world.outcome(await world.submit("litters", number=3))
        await until(lambda: not any("litter" in files for _, _, files in os.walk(world.scratch)))


# --- time limits ------------------------------------------------------------------------------------------------------


async def test_a_run_past_its_limit_is_killed_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TIMEOUT_GRACE_S", 0.05)
    async with World(tmp_path) as world:
        (job,) = await world.submit_many([{"do": "sleeps", "number": 60}], timeout_s=0.2)
        outcome = await world.outcome(job)
        assert (_code(outcome), outcome.status) == ("timed_out", JobStatus.FAILED)
        assert outcome.error is not None
        assert outcome.error.details["timeout_s"] == 0.2
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


async def test_a_run_past_its_limit_that_heeds_the_stop_keeps_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TIMEOUT_GRACE_S", 60.0)  # on a busy machine too
    async with World(tmp_path) as world:
        before = await _pid(world)
        (job,) = await world.submit_many([{"do": "waits"}], timeout_s=0.1)
        assert _code(await world.outcome(job)) == "timed_out"
        assert await _pid(world) == before


async def test_an_engine_that_never_gives_up_the_interpreter_lock_is_killed_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TIMEOUT_GRACE_S", 0.05)
    async with World(tmp_path) as world:
        job_inputs = [{"do": "holds_the_lock", "path": str(tmp_path / "note")}]
        (job,) = await world.submit_many(job_inputs, timeout_s=0.2)
        assert _code(await world.outcome(job)) == "timed_out"


async def test_the_slow_one_of_a_batch_is_found_and_the_others_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TIMEOUT_GRACE_S", 0.05)
    async with World(tmp_path, engine="worker_engines:Batched", slots=4, batch=4) as world:
        gate = tmp_path / "never"
        # Time enough for the quick ones, which are tried again alone, on any machine.
        jobs = await world.submit_many([{"do": "ok"}, {"do": "gate", "path": str(gate)}, {"do": "ok"}], timeout_s=1.5)
        first, slow, last = [await world.outcome(job) for job in jobs]
        assert first.status is last.status is JobStatus.COMPLETED
        assert _code(slow) == "timed_out"


# --- cancels ----------------------------------------------------------------------------------------------------------


async def test_a_cancel_is_heeded_at_the_next_progress_and_the_model_stays_loaded(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        before = await _pid(world)
        job = await world.submit("waits")
        await world.until_running(job)
        await world.cancel(job)
        assert (await world.outcome(job)).status is JobStatus.CANCELLED
        assert await _pid(world) == before


async def test_an_engine_that_does_not_heed_a_cancel_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_GRACE_S", 0.05)
    async with World(tmp_path) as world:
        job = await world.submit("sleeps", number=60)
        await world.until_running(job)
        before = world.worker.engine_pid
        await world.cancel(job)
        assert (await world.outcome(job)).status is JobStatus.CANCELLED
        assert await _pid(world) != before


async def test_a_job_cancelled_before_it_began_never_runs(tmp_path: Path) -> None:
    async with World(tmp_path, slots=8) as world:
        gate = tmp_path / "gate"
        first = await world.submit("gate", path=str(gate))
        await world.until_running(first)
        (second,) = await world.submit_many([{"do": "litters"}], age_s=5.0)
        await until(lambda: world.worker._attempts.waiting == 1)
        await world.cancel(second)
        assert (await world.outcome(second)).status is JobStatus.CANCELLED
        gate.touch()
        await world.outcome(first)
        after = await world.outcome(await world.submit("ok"))
        assert after.outputs is not None
        assert after.outputs["number"] == 2  # the second run of this engine


async def test_a_job_cancelled_in_the_child_before_it_began_never_runs(tmp_path: Path) -> None:
    async with World(tmp_path, slots=8, batch=8) as world:
        gate = tmp_path / "gate"
        first, second, third = await world.submit_many([{"do": "gate", "path": str(gate)}, {"do": "ok"}, {"do": "ok"}])
        await world.until_running(first)
        await world.cancel(second)
        assert (await world.outcome(second)).status is JobStatus.CANCELLED
        gate.touch()
        outcome = await world.outcome(third)
        assert outcome.outputs is not None
        assert outcome.outputs["number"] == 2


async def test_a_cancelled_job_of_a_batch_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_GRACE_S", 0.05)
    async with World(tmp_path, engine="worker_engines:Batched", slots=4, batch=4) as world:
        gate = tmp_path / "gate"
        first, second = await world.submit_many([{"do": "gate", "path": str(gate)}, {"do": "ok"}])
        await world.until_running(first)
        before = world.worker.engine_pid
        await world.cancel(second)
        assert (await world.outcome(second)).status is JobStatus.CANCELLED
        gate.touch()
        assert (await world.outcome(first)).status is JobStatus.COMPLETED
        assert world.worker.engine_pid == before


async def test_a_cancel_while_inputs_are_fetched_stops_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path) as world:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def endless(*_: object, **__: object) -> Path:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        monkeypatch.setattr(world.blobs, "fetch", endless)
        job = await world.submit("copies", file=await world.put(b"abc"))
        await begun.wait()
        await world.cancel(job)
        assert (await world.outcome(job)).status is JobStatus.CANCELLED
        await ended.wait()
        assert (await world.outcome(await world.submit("ok"))).outputs == _of_run(1)


async def test_a_cancel_while_outputs_are_stored_leaves_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path) as world:
        file = await world.put(b"abc")
        whole, begun = world.blobs.put_file, asyncio.Event()
        made: list[BlobId] = []

        async def one_then_none(blob: BlobId, path: Path) -> Written:
            made.append(blob)
            if len(made) == 1:
                return await whole(blob, path)
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(world.blobs, "put_file", one_then_none)
        job = await world.submit("copies", file=file)
        await begun.wait()
        await world.cancel(job)
        assert (await world.outcome(job)).status is JobStatus.CANCELLED
        await until(lambda: {path.name for path in (tmp_path / "blobs").rglob("blob_*")} == {file.id})


async def test_a_second_cancel_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        before = await _pid(world)
        job = await world.submit("waits")
        await world.until_running(job)
        await world.cancel(job)
        await world.cancel(job)
        assert (await world.outcome(job)).status is JobStatus.CANCELLED
        await world.cancel(job)
        assert await world.status(job) is JobStatus.CANCELLED
        assert len(world.outcomes[job]) == 1
        assert await _pid(world) == before


async def test_a_cancel_that_comes_when_the_result_is_on_its_way_says_completed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.watched.down.add("complete")
        job = await world.submit("ok")
        await until(lambda: world.watched.count("complete") > 0)
        await world.cancel(job)
        assert await world.status(job) is JobStatus.CANCELLING
        world.watched.down.clear()
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_a_cancelled_job_whose_batch_broke_is_not_run_again(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Breakable", slots=4, batch=4) as world:
        gate = tmp_path / "gate"
        inputs = [{"do": "gate", "path": str(gate)}, {"do": "raises"}, {"do": "ok"}]
        first, broken, third = await world.submit_many(inputs)
        await world.until_running(first)
        await world.cancel(third)
        await until(lambda: any(attempt.is_cancelled for attempt in world.worker._attempts._books))
        gate.touch()
        assert (await world.outcome(third)).status is JobStatus.CANCELLED
        assert (await world.outcome(first)).status is JobStatus.COMPLETED
        assert _code(await world.outcome(broken)) == "engine_failed"
        assert len(world.outcomes[third]) == 1


def _of_run(number: int) -> dict[str, Any]:
    return {"text": "ok", "number": number, "file": None, "files": []}


# --- leases and the broker ------------------------------------------------------------------------------------------


async def test_a_lost_lease_stops_the_run_and_drops_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.02)
    async with World(tmp_path) as world:
        job = await world.submit("waits")
        await world.until_running(job)
        world.watched.down.add("beat")
        world.watched.down.add("lease")
        await world.broker.reap([MODEL], time.time() + LEASE_TTL_S + 1)
        lost = await world.outcome(job)
        assert (lost.status, _code(lost)) == (JobStatus.QUEUED, "worker_lost")
        world.watched.down.discard("beat")
        await until(lambda: not world.worker._attempts.held())
        await until(lambda: world.worker._supervisor.is_idle)
        assert world.watched.count("complete") == world.watched.count("fail") == 0


async def test_a_result_survives_an_outage_of_the_broker(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        job = await world.submit("gate", path=str(tmp_path / "gate"))
        await world.until_running(job)
        world.watched.down.add("all")
        (tmp_path / "gate").touch()
        await until(lambda: world.watched.count("complete") >= 2)
        world.watched.down.clear()
        outcome = await world.outcome(job)
        assert (outcome.status, outcome.attempt) == (JobStatus.COMPLETED, 1)
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED


async def test_a_report_whose_answer_was_lost_is_repeated_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path) as world:
        whole = world.broker.complete
        calls: list[object] = []

        async def lossy(*args: Any) -> list[bool]:
            answer = await whole(*args)
            calls.append(answer)
            if len(calls) == 1:
                raise OutcomeUnknown("the connection broke")
            return answer

        monkeypatch.setattr(world.broker, "complete", lossy)
        job = await world.submit("ok")
        assert (await world.outcome(job)).status is JobStatus.COMPLETED
        await until(lambda: len(calls) == 2 and not world.worker._attempts.held())
        assert await world.broker.read_outcomes(10) == []


async def test_one_report_the_broker_cannot_take_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, slots=8, batch=8) as world:
        jobs = await world.submit_many([{"do": "ok"}, {"do": "ok"}, {"do": "ok"}])
        whole = world.broker.complete

        async def picky(model: Any, worker: Any, done: Any, now_s: float) -> list[bool]:
            if any(completion.id == jobs[1] for completion in done):
                raise TypeError("not this one")
            return await whole(model, worker, done, now_s)

        monkeypatch.setattr(world.broker, "complete", picky)
        for job in (jobs[0], jobs[2]):
            assert (await world.outcome(job)).status is JobStatus.COMPLETED
        await until(lambda: not world.worker._attempts.held())


# --- drain ------------------------------------------------------------------------------------------------------------


async def test_a_drain_finishes_what_runs_and_gives_back_the_rest(tmp_path: Path) -> None:
    async with World(tmp_path, slots=8, batch=2) as world:
        gate = tmp_path / "gate"
        running, in_child = await world.submit_many([{"do": "gate", "path": str(gate)}, {"do": "ok"}])
        await world.until_running(running)
        ahead, with_file = await world.submit_many([{"do": "ok"}, {"do": "ok"}], age_s=5.0)
        await until(lambda: world.worker._attempts.waiting == 2)
        world.worker.drain()
        while {await world.status(job) for job in (in_child, ahead, with_file)} != {JobStatus.QUEUED}:
            await world.broker.read_outcomes(1, wait_s=0.01)
        assert await world.status(running) is JobStatus.IN_PROGRESS
        assert world.worker.state is WorkerState.DRAINING
        gate.touch()
        assert (await world.outcome(running)).status is JobStatus.COMPLETED
        assert world.running is not None
        await world.running
        (view,) = await world.broker.queues([MODEL], time.time())
        assert view.workers == ()
        # Given back unspent: the next worker's attempt has the same number.
        again = await world.broker.lease(MODEL, world.worker.id, 1, time.time())
        assert again[0].attempt == 1


async def test_a_drain_that_runs_out_of_grace_gives_back_what_runs(tmp_path: Path) -> None:
    async with World(tmp_path, grace_s=0.1) as world:
        job = await world.submit("sleeps", number=60)
        await world.until_running(job)
        world.worker.drain()
        assert world.running is not None
        await world.running
        assert await world.status(job) is JobStatus.QUEUED
        assert world.worker.engine_pid is None


async def test_a_drain_stores_and_reports_what_has_just_ended(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.watched.down.add("complete")
        job = await world.submit("copies", file=await world.put(b"abc"))
        await until(lambda: world.watched.count("complete") > 0)
        world.worker.drain()
        world.watched.down.clear()
        assert (await world.outcome(job)).status is JobStatus.COMPLETED


async def test_an_idle_worker_drains_at_once_also_while_it_loads(tmp_path: Path) -> None:
    settings = {"count": str(tmp_path / "count"), "seconds": 60}
    async with World(tmp_path, engine="worker_engines:Loading", settings=settings) as world:
        await until(lambda: (tmp_path / "count").exists())
        assert world.worker.state is WorkerState.STARTING
        world.worker.drain()
        assert world.running is not None
        await world.running


# --- loading ----------------------------------------------------------------------------------------------------------


async def test_an_engine_that_does_not_load_is_failing_after_three_times_and_recovers(tmp_path: Path) -> None:
    settings = {"count": str(tmp_path / "count"), "failures": 3}
    async with World(tmp_path, engine="worker_engines:Loading", settings=settings) as world:
        await until(lambda: world.worker.state is WorkerState.FAILING)
        assert (tmp_path / "count").read_text() == "3"
        assert "the weights are broken" in str(world.worker.problem)
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED
        assert world.worker.state is not WorkerState.FAILING


@pytest.mark.parametrize(("warm_up", "runs"), [(False, 1), (True, 2)])
async def test_a_worker_that_shall_warm_up_is_ready_only_after_a_run_of_the_engines_example(
    tmp_path: Path, warm_up: bool, runs: int
) -> None:
    async with World(tmp_path, warm_up=warm_up) as world:
        outcome = await world.outcome(await world.submit("ok"))
        assert outcome.outputs is not None
        assert outcome.outputs["number"] == runs


async def test_an_engine_that_cannot_run_its_example_does_not_serve_where_it_shall_warm_up(tmp_path: Path) -> None:
    async with World(tmp_path, engine="worker_engines:Unfit", warm_up=True, load_attempts=1) as world:
        outcome = await world.outcome(await world.submit("ok"))
        assert outcome.error is not None
        assert (outcome.error.code, "no good" in outcome.error.message) == ("load_failed", True)


async def test_a_wrong_engine_reference_is_failing_and_says_why(tmp_path: Path) -> None:
    async with World(tmp_path, engine="no.such.module:Engine") as world:
        await until(lambda: world.worker.state is WorkerState.FAILING)
        assert "no.such.module" in str(world.worker.problem)


async def test_a_load_past_its_limit_is_ended(tmp_path: Path) -> None:
    settings = {"count": str(tmp_path / "count"), "seconds": 60}
    async with World(tmp_path, engine="worker_engines:Loading", settings=settings, load_timeout_s=0.2) as world:
        await until(lambda: world.worker.problem is not None)
        assert "limit of 0.2 s" in str(world.worker.problem)


@pytest.mark.parametrize(
    ("engine", "code", "told"),
    [
        ("worker_engines:Raising", "load_failed", "RuntimeError: no such device"),
        ("worker_engines:Exiting", "load_failed", "exit code 3 while it loaded"),
        ("worker_engines:Weightless", "weights_missing", "m/weights.bin. Run `springtide models pull`"),
        ("engine_that_exits:Engine", "load_failed", "the engine's process"),
    ],
)
async def test_jobs_that_wait_for_an_engine_that_never_loads_are_failed_with_the_reason(
    tmp_path: Path, engine: str, code: str, told: str
) -> None:
    async with World(tmp_path, engine=engine, load_attempts=2) as world:
        first, second = await world.submit_many([{"do": "ok"}, {"do": "ok"}])
        for job in (first, second):
            outcome = await world.outcome(job)
            assert outcome.status is JobStatus.FAILED
            assert outcome.error is not None
            assert (outcome.error.code, outcome.error.retryable) == (code, True)
            assert told in outcome.error.message
            assert outcome.error.details["load_attempts"] == 2
        assert world.worker.state is WorkerState.FAILING
        [view] = await world.broker.queues([MODEL], time.time())
        assert [worker.problem and worker.problem.code for worker in view.workers] == [code]


async def test_a_mistake_of_the_engine_is_logged_once_with_its_job_and_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with World(tmp_path) as world:
        bad, wrong = await world.submit("raises"), await world.submit("bad_input")
        assert _code(await world.outcome(bad)) == "engine_failed"
        assert _code(await world.outcome(wrong)) == "invalid_input"
    [told] = [record for record in caplog.records if "Traceback" in record.getMessage()]
    assert told.levelname == "WARNING"
    assert f"job {bad}, attempt 1" in told.getMessage() and "ValueError: no good" in told.getMessage()


async def test_a_mistake_in_a_shared_run_is_logged_once_with_all_its_jobs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(tmp_path, engine="worker_engines:Breakable", slots=8, batch=8) as world:
        gate = str(tmp_path / "gate")
        await world.submit("gate", path=gate)
        jobs = await world.submit_many([{"do": "ok"}, {"do": "raises"}])
        await until(lambda: len(world.worker._attempts.held()) == 3)
        (tmp_path / "gate").touch()
        assert _code(await world.outcome(jobs[1])) == "engine_failed"
        assert (await world.outcome(jobs[0])).status is JobStatus.COMPLETED
    told = [record.getMessage() for record in caplog.records if "Traceback" in record.getMessage()]
    assert all(f"job {jobs[0]}" in text and f"job {jobs[1]}" in text for text in told[:-1])
    assert f"({'job ' + jobs[1]}, attempt 1)" in told[-1]


async def test_the_traceback_of_a_load_that_fails_the_same_way_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    async with World(tmp_path, engine="worker_engines:Raising", load_attempts=3) as world:
        assert _code(await world.outcome(await world.submit("ok"))) == "load_failed"
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "Traceback" in text]) == 1
    assert len([text for text in told if "the engine is not up" in text and "no such device" in text]) >= 3
    assert not [text for text in told if "the engine is not up" in text and "\n" in text]


async def test_a_load_past_its_limit_fails_what_waits(tmp_path: Path) -> None:
    settings = {"count": str(tmp_path / "count"), "seconds": 60}
    limits = {"load_timeout_s": 0.2, "load_attempts": 1}
    async with World(tmp_path, engine="worker_engines:Loading", settings=settings, **limits) as world:
        assert _code(await world.outcome(await world.submit("ok"))) == "load_timed_out"


async def test_what_comes_later_has_the_verdict_at_once_and_a_load_that_works_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"count": str(tmp_path / "count"), "failures": 2, "gate": str(tmp_path / "gate")}
    async with World(tmp_path, engine="worker_engines:Loading", settings=settings, load_attempts=2) as world:
        assert _code(await world.outcome(await world.submit("ok"))) == "load_failed"
        await until(lambda: (tmp_path / "count").read_text() == "3")  # the third load is under way, and waits
        assert _code(await world.outcome(await world.submit("ok"))) == "load_failed"
        (tmp_path / "gate").touch()
        await until(lambda: world.worker.state is WorkerState.READY)
        assert world.worker.problem is None
        assert (await world.outcome(await world.submit("ok"))).status is JobStatus.COMPLETED
        # What went wrong before counts no more: one load that fails after a crash is the first of two.
        (tmp_path / "count").write_text("1")
        (tmp_path / "gate").unlink()
        crashing = await world.submit("once", path=str(tmp_path / "note"))
        assert _code(await world.outcome(crashing)) == "crashed"
        later = await world.submit("ok")
        await until(lambda: (tmp_path / "count").read_text() == "3")
        (tmp_path / "gate").touch()
        assert (await world.end_of(later)).status is (await world.end_of(crashing)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("state", [WorkerState.READY, WorkerState.BUSY, WorkerState.STARTING])
async def test_jobs_are_left_to_a_colleague_who_may_run_them(tmp_path: Path, state: WorkerState) -> None:
    async with World(tmp_path, engine="worker_engines:Raising", load_attempts=1) as world:
        colleague = WorkerId("colleague")
        await world.broker.beat(MODEL, colleague, [], state, time.time())
        job = await world.submit("ok")
        await until(lambda: world.watched.count("queues") > 0)
        assert world.watched.count("lease") == 0
        assert await world.status(job) is JobStatus.QUEUED
        await world.broker.leave(MODEL, colleague, time.time())
        assert _code(await world.outcome(job)) == "load_failed"


async def test_a_ready_worker_knows_what_its_start_cost(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await until(lambda: world.worker.state is WorkerState.READY)
        assert world.worker.load_s is not None
        assert world.worker.ready_after_s is not None
        assert world.worker.ready_after_s >= world.worker.load_s


# --- nothing is left behind -------------------------------------------------------------------------------------------


async def test_programs_an_engine_started_end_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIMEOUT_GRACE_S", 0.05)
    async with World(tmp_path) as world:
        note = tmp_path / "program"
        inputs = [{"do": "starts_a_program", "path": str(note)}]
        (job,) = await world.submit_many(inputs, timeout_s=1.0)
        assert _code(await world.outcome(job)) == "timed_out"
        await until(lambda: not _is_alive(int(note.read_text())))


@pytest.mark.parametrize("do", ["sleeps", "holds_the_lock"])
async def test_the_child_dies_with_its_worker_even_in_the_middle_of_a_run(tmp_path: Path, do: str) -> None:
    note = tmp_path / "note"
    inputs = {"do": do, "number": 60, "path": str(note)}
    code = _A_WORKER_OF_ITS_OWN.format(folder=str(tmp_path), inputs=inputs)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE, env=environment)
    try:
        assert worker.stdout is not None
        child = int(await worker.stdout.readline())
    finally:
        worker.kill()
        await worker.wait()
    await until(lambda: not _is_alive(child))


_A_WORKER_OF_ITS_OWN = """
import asyncio, pathlib
from worker_world import World
async def main():
    async with World(pathlib.Path({folder!r})) as world:
        (job,) = await world.submit_many([{inputs!r}])
        await world.until_running(job)
        print(world.worker.engine_pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_lease_that_is_lost_before_its_files_are_fetched_leaves_nothing_behind(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        ref = await world.put(b"abc")
        payload = msgspec.msgpack.encode(Payload({"do": "copies", "file": ref.id}, (ref,)))
        lease = Lease(
            id=new_job_id(),
            model=MODEL,
            tenant=TenantId("t"),
            worker=world.worker.id,
            attempt=1,
            max_attempts=3,
            payload=payload,
            timeout_s=60.0,
            enqueued_at_s=0.0,
        )
        attempts = world.worker._attempts
        attempts.accept([lease])
        attempts.drop(lease.id)
        await until(lambda: not attempts._errands._tasks)
        assert (attempts.occupied, attempts.held()) == (0, [])
        gc.collect()  # a coroutine that nobody awaited complains here

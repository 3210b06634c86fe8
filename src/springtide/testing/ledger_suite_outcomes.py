"""Ledger suite: how jobs run and end on record."""

from __future__ import annotations

import asyncio

from springtide.domain.ids import WorkerId
from springtide.domain.job import Checkpoint, JobError, JobStatus
from springtide.ledger.protocol import Attempt, Ledger
from springtide.testing.ledger_cases import (
    NOW_S,
    Reopen,
    blob_ref,
    job,
    only,
    outcome,
    running,
)


class OutcomeContract:
    """How jobs go on and end."""

    async def test_a_completed_job_carries_its_result(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([job(1)])
        end = outcome(job(1), JobStatus.COMPLETED)
        assert await ledger.record([end]) == [True]
        found = await only(await reopen(), job(1))
        assert found == job(
            1,
            status=JobStatus.COMPLETED,
            attempt=1,
            worker=end.worker,
            started_at_s=end.started_at_s,
            finished_at_s=end.finished_at_s,
            outputs=end.outputs,
            output_files=end.output_files,
            used_s=50.0,
        )

    async def test_the_first_terminal_outcome_wins(self, ledger: Ledger) -> None:
        for number, first in enumerate(sorted({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})):
            given = job(number)
            await ledger.insert([given])
            assert await ledger.record([outcome(given, first)]) == [True]
            ended, history = await only(ledger, given), await ledger.attempts(given.id)
            for later in (
                JobStatus.COMPLETED,
                JobStatus.FAILED,
                JobStatus.CANCELLED,
                JobStatus.EXPIRED,
                JobStatus.QUEUED,
            ):
                assert await ledger.record([outcome(given, later, finished_at_s=NOW_S + 999)]) == [False]
            assert await only(ledger, given) == ended
            assert await ledger.attempts(given.id) == history

    async def test_the_first_terminal_outcome_wins_also_within_one_batch(self, ledger: Ledger) -> None:
        await ledger.insert([job(1), job(2)])
        batch = [
            outcome(job(1), JobStatus.FAILED),
            outcome(job(2), JobStatus.COMPLETED),
            outcome(job(1), JobStatus.COMPLETED),
            outcome(job(2), JobStatus.COMPLETED),
        ]
        assert await ledger.record(batch) == [True, True, False, False]
        assert [(await only(ledger, job(n))).status for n in (1, 2)] == [JobStatus.FAILED, JobStatus.COMPLETED]

    async def test_outcomes_of_unknown_jobs_are_false_and_harmless(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        batch = [
            outcome(job(9), JobStatus.FAILED),
            outcome(job(8), JobStatus.QUEUED),
            outcome(job(1), JobStatus.FAILED),
        ]
        assert await ledger.record(batch) == [False, False, True]
        assert await ledger.attempts(job(9).id) == []
        assert await ledger.attempts(job(8).id) == []

    async def test_an_attempt_that_failed_is_kept_and_the_job_goes_on(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([job(1)])
        await ledger.record_running([running(job(1), 1)])
        assert await ledger.record([outcome(job(1), JobStatus.QUEUED)]) == [False]
        found = await only(ledger, job(1))
        assert (found.status, found.attempt, found.finished_at_s, found.error) == (JobStatus.QUEUED, 1, None, None)
        assert await ledger.record([outcome(job(1), JobStatus.FAILED, attempt=2)]) == [True]
        ledger = await reopen()
        assert await ledger.attempts(job(1).id) == [
            Attempt(
                job=job(1).id,
                attempt=attempt,
                worker=f"w{attempt}",
                started_at_s=NOW_S + 50 + attempt,
                finished_at_s=NOW_S + 100 + attempt,
                error=JobError(code="crashed", message=f"attempt {attempt}", details={"signal": 11}),
            )
            for attempt in (1, 2)
        ]
        found = await only(ledger, job(1))
        assert (found.status, found.attempt) == (JobStatus.FAILED, 2)
        assert found.error == JobError(code="crashed", message="attempt 2", details={"signal": 11})

    async def test_a_retry_and_its_success_in_one_batch_keep_their_order(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        batch = [
            outcome(job(1), JobStatus.QUEUED, 1),
            outcome(job(1), JobStatus.QUEUED, 2),
            outcome(job(1), JobStatus.COMPLETED, 3),
        ]
        assert await ledger.record(batch) == [False, False, True]
        assert await ledger.record(batch) == [False, False, False]
        assert [each.attempt for each in await ledger.attempts(job(1).id)] == [1, 2]
        found = await only(ledger, job(1))
        assert (found.status, found.attempt, found.worker) == (JobStatus.COMPLETED, 3, "w3")

    async def test_a_success_or_an_expiry_adds_no_attempt(self, ledger: Ledger) -> None:
        await ledger.insert([job(1), job(2)])
        await ledger.record([outcome(job(1), JobStatus.COMPLETED), outcome(job(2), JobStatus.EXPIRED, 0)])
        assert await ledger.attempts(job(1).id) == []
        assert await ledger.attempts(job(2).id) == []

    async def test_a_job_cancelled_while_queued_never_had_an_attempt(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        assert await ledger.record([outcome(job(1), JobStatus.CANCELLED, 0)]) == [True]
        found = await only(ledger, job(1))
        assert (found.status, found.attempt, found.worker, found.started_at_s) == (JobStatus.CANCELLED, 0, None, None)
        assert await ledger.attempts(job(1).id) == []

    async def test_a_cancelled_attempt_is_on_record(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record([outcome(job(1), JobStatus.CANCELLED, 1)])
        assert [each.attempt for each in await ledger.attempts(job(1).id)] == [1]

    async def test_a_late_retry_does_not_undo_a_newer_attempt(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record_running([running(job(1), 2, "second")])
        assert await ledger.record([outcome(job(1), JobStatus.QUEUED, 1)]) == [False]
        found = await only(ledger, job(1))
        assert (found.status, found.attempt, found.worker) == (JobStatus.IN_PROGRESS, 2, "second")
        assert [each.attempt for each in await ledger.attempts(job(1).id)] == [1], "that it was lost is still true"

    async def test_concurrent_outcomes_of_one_job_have_one_winner(self, ledger: Ledger) -> None:
        await ledger.insert([job(n) for n in range(10)])
        ends = [outcome(job(n % 10), (JobStatus.COMPLETED, JobStatus.FAILED)[n % 2]) for n in range(40)]
        results = await asyncio.gather(*(ledger.record([end]) for end in ends))
        assert sum(won for (won,) in results) == 10


class RunningContract:
    """Notes of who runs what."""

    async def test_a_running_job_shows_attempt_worker_and_start(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([job(1)])
        await ledger.record_running([running(job(1), 1)])
        found = await only(await reopen(), job(1))
        assert found == job(1, status=JobStatus.IN_PROGRESS, attempt=1, worker=WorkerId("w"), started_at_s=NOW_S + 51)

    async def test_a_job_keeps_its_newest_checkpoint_until_it_ends(self, ledger: Ledger) -> None:
        async def kept() -> Checkpoint | None:
            found = (await ledger.get([job(1).id]))[0]
            assert found is not None
            return found.checkpoint

        first = Checkpoint(file=blob_ref(50))
        second = Checkpoint(file=blob_ref(51), older=(blob_ref(50).id,))
        third = Checkpoint(file=blob_ref(52))
        await ledger.insert([job(1)])
        assert await kept() is None
        await ledger.record_running([running(job(1), 1, checkpoint=first)])
        assert await kept() == first
        await ledger.record_running([running(job(1), 1, checkpoint=second)])
        await ledger.record_running([running(job(1), 1)])
        assert await kept() == second
        await ledger.record([outcome(job(1), JobStatus.QUEUED)])
        assert await kept() == second
        await ledger.record([outcome(job(1), JobStatus.QUEUED, attempt=2, checkpoint=third)])
        assert await kept() == third
        await ledger.record([outcome(job(1), JobStatus.COMPLETED, attempt=3, checkpoint=third)])
        assert await kept() is None

    async def test_a_note_never_touches_a_job_that_ended(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record([outcome(job(1), JobStatus.COMPLETED)])
        ended = await only(ledger, job(1))
        await ledger.record_running([running(job(1), 1), running(job(1), 2)])
        assert await only(ledger, job(1)) == ended

    async def test_an_older_note_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record_running([running(job(1), 3, "third"), running(job(1), 2, "second")])
        await ledger.record_running([running(job(1), 1, "first")])
        found = await only(ledger, job(1))
        assert (found.attempt, found.worker) == (3, "third")

    async def test_a_late_note_of_an_attempt_that_ended_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record([outcome(job(1), JobStatus.QUEUED, 1)])
        await ledger.record_running([running(job(1), 1)])
        assert (await only(ledger, job(1))).status is JobStatus.QUEUED

    async def test_an_attempt_given_back_and_taken_anew_shows_its_new_worker(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        await ledger.record_running([running(job(1), 1, "drained")])
        await ledger.record_running([running(job(1), 1, "next")])
        assert (await only(ledger, job(1))).worker == "next"

    async def test_unknown_jobs_are_passed_over(self, ledger: Ledger) -> None:
        await ledger.record_running([running(job(1), 1)])
        await ledger.record_running([])
        assert await ledger.get([job(1).id]) == [None]

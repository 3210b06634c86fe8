"""Ledger suite, part five: what tenants used. A ledger under test has it as its attribute `usage`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from springtide.domain.ids import ModelName
from springtide.domain.job import Job, JobError, JobStatus
from springtide.ledger.sql import SqlLedger
from springtide.ledger.usage import DAY_S, Spent, Used, day_of
from springtide.testing.ledger_cases import ACME, GLOBEX, MATTING, NOW_S, SPEECH, Reopen, job, only, outcome, pipeline

DAY = day_of(NOW_S)
NOTHING: dict[str, Any] = {"outputs": {}, "output_files": ()}


async def used(ledger: SqlLedger) -> list[Used]:
    return await ledger.usage.used(None, since_day=0, until_day=DAY + 1000)


def completed(of: Job, run_s: float, attempt: int = 1, **changed: Any) -> Any:
    return outcome(of, JobStatus.COMPLETED, attempt, run_s=run_s, **(NOTHING | changed))


class UsageContract:
    """Ends and attempts are counted once, by tenant, day and model."""

    async def test_ends_are_counted_by_tenant_and_model_whichever_way_they_come(self, ledger: SqlLedger) -> None:
        jobs = [job(n) for n in range(6)] + [job(6, model=SPEECH), job(7, tenant=GLOBEX)]
        await ledger.insert(jobs)
        await ledger.record([completed(one, 2.0) for one in jobs[:2]])  # all of one kind
        await ledger.record(
            [
                outcome(jobs[2], JobStatus.COMPLETED, run_s=3.0),  # with files
                outcome(jobs[3], JobStatus.FAILED, started_at_s=NOW_S, finished_at_s=NOW_S + 4.0),
                outcome(jobs[4], JobStatus.CANCELLED, 0),
                outcome(jobs[5], JobStatus.EXPIRED, 0),
                completed(jobs[6], 1.5),
                completed(jobs[7], 0.5),
            ]
        )
        assert await used(ledger) == [
            Used(tenant=ACME, day=DAY, model=MATTING, completed=3, failed=1, cancelled=1, expired=1, seconds=11.0),
            Used(tenant=ACME, day=DAY, model=SPEECH, completed=1, seconds=1.5),
            Used(tenant=GLOBEX, day=DAY, model=MATTING, completed=1, seconds=0.5),
        ]
        assert [(await only(ledger, one)).used_s for one in jobs[:5]] == [2.0, 2.0, 3.0, 4.0, None]
        assert len(await ledger.usage.used(GLOBEX, since_day=DAY, until_day=DAY)) == 1
        assert await ledger.usage.used(GLOBEX, since_day=DAY + 1, until_day=DAY + 2) == []

    async def test_what_is_past_its_time_is_forgotten_by_whole_days(self, ledger: SqlLedger) -> None:
        for day in (DAY - 1, DAY, DAY + 1):
            await ledger.usage.add_uploaded({ACME: 100}, day)
        await ledger.usage.forget_used(before_day=DAY)
        assert [one.day for one in await used(ledger)] == [DAY, DAY + 1]

    async def test_what_is_recorded_again_is_counted_once(self, ledger: SqlLedger, reopen: Reopen) -> None:
        jobs = [job(n) for n in range(3)]
        await ledger.insert(jobs)
        crash = outcome(jobs[2], JobStatus.QUEUED, started_at_s=NOW_S, finished_at_s=NOW_S + 5.0)
        ends = [completed(jobs[0], 2.0), outcome(jobs[1], JobStatus.FAILED, run_s=1.0), crash]
        await ledger.record(ends)
        again = cast("SqlLedger", await reopen())
        await asyncio.gather(again.record(ends), again.record(ends[:1]), again.record([*ends, *ends]))
        await again.record([outcome(jobs[0], JobStatus.FAILED, 1, run_s=7.0), completed(jobs[1], 7.0)])  # too late
        [row] = await used(again)
        assert (row.completed, row.failed, row.seconds) == (1, 1, 8.0)
        assert [(await only(again, one)).used_s for one in jobs] == [2.0, 1.0, 5.0]

    async def test_every_attempt_costs_but_those_lost_with_their_worker(self, ledger: SqlLedger) -> None:
        one = job(1)
        await ledger.insert([one])
        lost = JobError(code="worker_lost", message="It fell silent.")
        times = {"started_at_s": NOW_S, "finished_at_s": NOW_S + 3.0}
        for attempt, error in ((1, JobError(code="crashed", message="x")), (2, lost)):
            await ledger.record([outcome(one, JobStatus.QUEUED, attempt, error=error, **times)])
        assert (await only(ledger, one)).used_s == 3.0
        await ledger.record([completed(one, 2.5, attempt=3)])
        assert (await only(ledger, one)).used_s == 5.5
        assert [(row.completed, row.seconds) for row in await used(ledger)] == [(1, 5.5)]

    async def test_a_job_that_fails_after_a_failed_attempt_in_one_commit_has_both(self, ledger: SqlLedger) -> None:
        one = job(1)
        await ledger.insert([one])
        first = outcome(one, JobStatus.QUEUED, 1, started_at_s=NOW_S, finished_at_s=NOW_S + 1.0)
        last = outcome(one, JobStatus.FAILED, 2, started_at_s=NOW_S + 1, finished_at_s=NOW_S + 3.0)
        await ledger.record([first, last])
        assert (await only(ledger, one)).used_s == 3.0
        assert [(row.failed, row.seconds) for row in await used(ledger)] == [(1, 3.0)]

    async def test_a_pipeline_counts_as_a_job_and_its_steps_have_the_seconds(self, ledger: SqlLedger) -> None:
        whole = pipeline(1, model=ModelName("matting > speech"))
        await ledger.insert([whole, job(2, parent=whole.id, step=0)])
        await ledger.record([completed(job(2), 2.0)])
        await ledger.record([completed(whole, 90.0)])
        assert [(row.model, row.completed, row.seconds) for row in await used(ledger)] == [
            (MATTING, 1, 2.0),
            (whole.model, 1, 0.0),
        ]

    async def test_usage_stays_when_jobs_are_forgotten_and_goes_by_the_day_of_the_end(self, ledger: SqlLedger) -> None:
        jobs = [job(n) for n in range(2)]
        await ledger.insert(jobs)
        await ledger.record([completed(one, 1.0, finished_at_s=(DAY + n) * DAY_S + 1.0) for n, one in enumerate(jobs)])
        before = await used(ledger)
        assert [(row.day, row.completed) for row in before] == [(DAY, 1), (DAY + 1, 1)]
        await ledger.forget([one.id for one in jobs], loose_since_s=NOW_S)
        assert await ledger.get([jobs[0].id]) == [None] and await used(ledger) == before

    async def test_many_ends_at_once_lose_nothing(self, ledger: SqlLedger) -> None:
        jobs = [job(n, tenant=(ACME, GLOBEX)[n % 2]) for n in range(700)]
        await ledger.insert(jobs)
        await asyncio.gather(*(ledger.record([completed(one, 0.25)]) for one in jobs))
        assert [(row.completed, row.seconds) for row in await used(ledger)] == [(350, 87.5)] * 2

    async def test_daily_quotas_see_seconds_uploads_and_what_waits(self, ledger: SqlLedger) -> None:
        assert await ledger.usage.spent([ACME], DAY) == {}
        jobs = [job(n, predicted_s=4.0) for n in range(3)] + [job(3, tenant=GLOBEX, predicted_s=9.0)]
        await ledger.insert(jobs)
        await ledger.record([completed(jobs[0], 2.0)])
        for _ in range(2):
            await ledger.usage.add_uploaded({GLOBEX: 3_000_000_000, ACME: 7}, DAY)
        await ledger.usage.add_uploaded({ACME: 1}, DAY + 1)
        assert await ledger.usage.spent([ACME, GLOBEX], DAY) == {
            ACME: Spent(seconds=2.0, uploaded_bytes=14, waiting_s=8.0),
            GLOBEX: Spent(uploaded_bytes=6_000_000_000, waiting_s=9.0),
        }
        assert set(await ledger.usage.spent([ACME], DAY)) == {ACME}
        uploads = [row for row in await used(ledger) if row.model is None]
        assert [(row.day, row.tenant, row.uploaded_bytes) for row in uploads] == [
            (DAY, ACME, 14),
            (DAY, GLOBEX, 6_000_000_000),
            (DAY + 1, ACME, 1),
        ]

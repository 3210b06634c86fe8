"""Ledger suite, part two: pipelines and their steps."""

from __future__ import annotations

import asyncio

from springtide.domain.job import JobStatus
from springtide.ledger.protocol import JobFilter, Ledger
from springtide.testing.ledger_cases import (
    ACME,
    GLOBEX,
    NOW_S,
    Reopen,
    blob_ref,
    ids,
    job,
    outcome,
    pipeline,
    running,
)


class PipelineContract:
    """Jobs that are plans, and jobs that are steps."""

    async def test_a_pipeline_is_live_beside_the_jobs_of_the_broker(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([job(1), pipeline(2), pipeline(3), pipeline(4)])
        await ledger.record_running([running(job(2), 1)])
        await ledger.record([outcome(job(3), JobStatus.FAILED, 0)])
        ledger = await reopen()
        assert ids(await ledger.live(after=None, limit=9, created_before_s=NOW_S + 100)) == [1]
        first = await ledger.live_pipelines(after=None, limit=1)
        assert ids(first) == [2]
        assert first[0].plan == pipeline(2).plan
        assert ids(await ledger.live_pipelines(after=first[0].id, limit=9)) == [4]

    async def test_a_list_shows_pipelines_or_the_steps_of_one(self, ledger: Ledger) -> None:
        steps = [job(n, parent=job(2).id, step=n - 20) for n in (20, 21, 22)]
        await ledger.insert([job(1), pipeline(2), *steps, job(30, parent=job(3).id, step=0)])
        assert ids(await ledger.list(JobFilter(tenant=ACME), after=None, limit=9)) == [2, 1]
        of_one = JobFilter(tenant=ACME, parent=job(2).id)
        assert ids(await ledger.list(of_one, after=None, limit=2)) == [22, 21]
        assert ids(await ledger.list(of_one, after=job(21).id, limit=2)) == [20]
        assert await ledger.list(JobFilter(tenant=GLOBEX, parent=job(2).id), after=None, limit=9) == []

    async def test_steps_are_kept_as_long_as_their_pipeline_and_go_with_it(self, ledger: Ledger) -> None:
        steps = [job(n, parent=job(1).id, step=n - 20, input_files=(blob_ref(n),)) for n in (20, 21)]
        await ledger.insert([pipeline(1, input_files=()), *steps])
        await ledger.record([outcome(each, JobStatus.COMPLETED, output_files=()) for each in steps])
        far_s = NOW_S + 1e6
        assert await ledger.ended(before_s=far_s, after=None, limit=9) == []
        await ledger.record([outcome(job(1), JobStatus.COMPLETED, 0, output_files=())])
        assert await ledger.ended(before_s=far_s, after=None, limit=9) == [job(1).id]
        await ledger.forget([job(1).id], loose_since_s=NOW_S)
        assert await ledger.get([job(n).id for n in (1, 20, 21)]) == [None] * 3
        assert set(await ledger.loose_blobs(before_s=far_s, limit=9)) == {blob_ref(20).id, blob_ref(21).id}

    async def test_a_wish_to_cancel_is_noted_once_and_only_for_the_living(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([pipeline(1), pipeline(2)])
        await ledger.record([outcome(job(2), JobStatus.COMPLETED, 0)])
        await asyncio.gather(*(ledger.ask_cancel(job(n).id, NOW_S + 5) for n in (1, 2, 3)))
        await ledger.ask_cancel(job(1).id, NOW_S + 6)
        ledger = await reopen()
        found = [each and each.cancel_asked_at_s for each in await ledger.get([job(n).id for n in (1, 2, 3)])]
        assert found == [NOW_S + 5, None, None]

"""Ledger suite, part six: rollouts, and the jobs of a version. A ledger under test has them as its attribute
`rollouts`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from springtide.domain.ids import JobId, ModelName, first_job_id_at
from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.rollout import Compared, Margins, Measured, Retired, Rollout, RolloutState, Sample, Sticky
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import MATTING, NOW_S, SPEECH, Reopen, job, outcome

NEXT = ModelName("matting@2")
RETIRED = Retired(MATTING, NEXT, "1", None)


def rollout(number: int = 1, **changed: Any) -> Rollout:
    fields: dict[str, Any] = {
        "model": MATTING,
        "revision": 1,
        "stable": "1",
        "canary": "2",
        "weight": 12.5,
        "sticky": Sticky.TENANT,
        "margins": Margins(failure_rate=0.1, p95=0.25, min_samples=7),
        "state": RolloutState.RUNNING,
        "started_at_s": NOW_S,
        "changed_at_s": NOW_S,
    }
    return Rollout(number=number, **(fields | changed))


def at(seconds: float, place: int) -> JobId:
    """An id as one made so long after NOW_S has."""
    return JobId(f"{first_job_id_at(NOW_S + seconds)}7{place:019x}")


def next_job(place: int, **changed: Any) -> Job:
    """A job of the second version."""
    return job(place, **{"id": at(1, place), "unit": NEXT, "model_version": "2", "input_files": (), **changed})


class RolloutContract:
    """Rollouts put, changed and followed; samples; jobs that change their version."""

    async def test_a_rollout_comes_back_as_it_was_put_after_a_restart(self, ledger: SqlLedger, reopen: Reopen) -> None:
        told = Compared(at_s=NOW_S, stable=Measured(jobs=9, failed=0, run_s_p95=1.5), canary=Measured(jobs=3, failed=1))
        ended = {"state": RolloutState.ABORTED, "ended_at_s": NOW_S + 1, "reason": "猫", "compared": told}
        first = rollout(1, **ended)
        second, other = rollout(2), rollout(1, model=SPEECH)
        assert [await ledger.rollouts.put_rollout(one) for one in (other, first, second)] == [True] * 3
        again = cast("SqlLedger", await reopen())
        assert await again.rollouts.rollouts() == [first, second, other]

    async def test_of_two_changes_to_the_same_revision_one_is_refused(self, ledger: SqlLedger) -> None:
        first = rollout()
        assert await ledger.rollouts.put_rollout(first)
        assert not await ledger.rollouts.put_rollout(rollout(weight=50))  # another one with that number
        changes = [msgspec.structs.replace(first, revision=2, weight=float(weight)) for weight in (20, 30)]
        won = await asyncio.gather(*(ledger.rollouts.put_rollout(one) for one in changes))
        assert sorted(won) == [False, True]
        assert await ledger.rollouts.rollouts() == [changes[won.index(True)]]
        assert not await ledger.rollouts.put_rollout(msgspec.structs.replace(first, revision=9))

    async def test_every_change_is_seen_from_outside(self, ledger: SqlLedger) -> None:
        seen = [await ledger.rollouts.rollout_changes()]
        for one in (rollout(1), rollout(1, revision=2), rollout(1, model=SPEECH)):
            assert await ledger.rollouts.put_rollout(one)
            seen.append(await ledger.rollouts.rollout_changes())
        assert await ledger.rollouts.put_rollout(rollout(1)) is False
        assert len(set(seen)) == 4
        assert await ledger.rollouts.rollout_changes() == seen[-1]

    async def test_a_job_keeps_its_version_and_that_it_was_asked_for(self, ledger: SqlLedger) -> None:
        given = next_job(1, is_pinned=True)
        await ledger.insert([given])
        assert await ledger.get([given.id]) == [given]
        assert (given.queue, given.model, given.ref.model) == (NEXT, MATTING, NEXT)

    async def test_versions_are_learnt_of_by_themselves(self, ledger: SqlLedger) -> None:
        await ledger.insert([next_job(1), next_job(2), next_job(3, unit=None)])
        came = await ledger.history.arrived(since_s=NOW_S, until_s=NOW_S + 2)
        assert {one.model: one.jobs for one in came} == {NEXT: 2, MATTING: 1}
        times = {"wait_s": 5.0, "since_s": NOW_S, "until_s": NOW_S + 2, "now_s": NOW_S + 100}
        assert (await ledger.history.attained(NEXT, **times)).jobs == 2

    async def test_a_sample_is_what_first_attempts_came_to(self, ledger: SqlLedger) -> None:
        jobs = [next_job(place) for place in range(1, 8)]
        await ledger.insert([*jobs, next_job(8, unit=None), next_job(9, id=at(-60, 9))])
        good: dict[str, Any] = {"started_at_s": NOW_S + 2, "finished_at_s": NOW_S + 3.5}
        crashed, fault = JobError(code="crashed", message="x"), JobError(code="bad_media", message="x")
        ends = [
            outcome(jobs[0], JobStatus.COMPLETED, **good),
            outcome(jobs[1], JobStatus.FAILED, error=crashed),
            outcome(jobs[2], JobStatus.FAILED, error=fault),  # would have failed anywhere
            outcome(jobs[3], JobStatus.QUEUED, error=crashed),
            outcome(jobs[3], JobStatus.COMPLETED, attempt=2, **good),  # its first attempt counts, and once
            outcome(jobs[4], JobStatus.CANCELLED, error=None),
            outcome(jobs[5], JobStatus.QUEUED, error=crashed),
        ]
        await ledger.record(ends)
        sample = await ledger.rollouts.sampled(MATTING, NEXT, since_s=NOW_S, limit=100)
        assert sample == Sample(jobs=4, failed=3, runs_s=(1.5,))
        newest = await ledger.rollouts.sampled(MATTING, NEXT, since_s=NOW_S, limit=1)
        assert newest == Sample(jobs=1, failed=1)
        assert (await ledger.rollouts.sampled(MATTING, None, since_s=NOW_S, limit=100)).jobs == 0

    async def test_what_waits_for_a_retired_version_goes_to_the_other_one(self, ledger: SqlLedger) -> None:
        waits, asked, runs, stable = next_job(1), next_job(2, is_pinned=True), next_job(3), next_job(4, unit=None)
        later = next_job(5)
        ran = msgspec.structs.replace(runs, status=JobStatus.IN_PROGRESS, attempt=1)
        await ledger.insert([waits, asked, ran, stable, later])
        assert await ledger.rollouts.waiting_for(RETIRED, after=None, limit=9) == [waits, later]
        assert await ledger.rollouts.waiting_for(RETIRED, after=waits.id, limit=9) == [later]
        moved = await ledger.rollouts.reroute([later.id, runs.id, waits.id, stable.id], RETIRED)
        there = [msgspec.structs.replace(one, unit=None, model_version="1") for one in (waits, later)]
        assert moved == there
        assert await ledger.rollouts.reroute([waits.id], RETIRED) == []
        assert await ledger.get([waits.id, asked.id, runs.id]) == [there[0], asked, ran]

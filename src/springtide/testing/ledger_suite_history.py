"""Ledger suite, part three: the past of the fleet. A ledger under test has it as its attribute `history`."""

from __future__ import annotations

from typing import Any

from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName, first_job_id_at, step_id
from springtide.domain.job import Foretold, Job, JobStatus
from springtide.ledger.history import Arrived, Attained, FleetSample, Memory, Scaled
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import MATTING, NOW_S, SPEECH, Reopen, job, pipeline


def made_at(at_s: float, number: int) -> str:
    return first_job_id_at(at_s) + f"{number:020x}"


class HistoryContract:
    """Arrivals, decisions, samples and memories."""

    async def test_what_came_is_counted_by_model_and_time(self, ledger: SqlLedger) -> None:
        times = [0.0, 1.0, 2.0, 3.0]
        jobs = [job(n, id=made_at(NOW_S + at_s, n), predicted_s=2.0) for n, at_s in enumerate(times)]
        await ledger.insert([*jobs, job(9, id=made_at(NOW_S + 1.5, 9), model=SPEECH, predicted_s=7.0)])
        found = await ledger.history.arrived(since_s=NOW_S + 1.0, until_s=NOW_S + 3.0)
        assert sorted(found, key=lambda one: one.model) == [
            Arrived(model=MATTING, jobs=2, work_s=4.0, work_s2=8.0),
            Arrived(model=SPEECH, jobs=1, work_s=7.0, work_s2=49.0),
        ]
        assert await ledger.history.arrived(since_s=NOW_S + 4.0, until_s=NOW_S + 5.0) == []

    async def test_a_step_comes_when_its_turn_comes_and_its_pipeline_never(self, ledger: SqlLedger) -> None:
        whole = pipeline(0, id=made_at(NOW_S, 0), model=ModelName("matting+speech"))
        late = job(1, id=step_id(whole.id, 1), parent=whole.id, step=1, created_at_s=NOW_S + 100.0)
        await ledger.insert([whole, late])
        assert await ledger.history.arrived(since_s=NOW_S - 1.0, until_s=NOW_S + 1.0) == []
        found = await ledger.history.arrived(since_s=NOW_S + 99.0, until_s=NOW_S + 101.0)
        assert [(one.model, one.jobs, one.work_s) for one in found] == [(MATTING, 1, 1.7)]

    async def test_jobs_that_began_too_late_are_told_from_those_in_time(self, ledger: SqlLedger) -> None:
        def came(number: int, **changed: Any) -> Job:
            return job(number, id=made_at(NOW_S + 1.0, number), created_at_s=NOW_S + 1.0, **changed)

        done = {"status": JobStatus.COMPLETED, "finished_at_s": NOW_S + 60.0}
        await ledger.insert(
            [
                came(1, started_at_s=NOW_S + 10.0, **done),
                came(2, started_at_s=NOW_S + 40.0, **done),
                came(3),  # waits still
                came(4, status=JobStatus.IN_PROGRESS, started_at_s=NOW_S + 2.0),
                came(5, status=JobStatus.CANCELLED, finished_at_s=NOW_S + 50.0),  # gave up waiting
                came(6, model=SPEECH),
                job(7, id=made_at(NOW_S + 9.0, 7), created_at_s=NOW_S + 9.0),
            ]
        )
        asked = {"since_s": NOW_S, "until_s": NOW_S + 5.0, "now_s": NOW_S + 45.0}
        assert await ledger.history.attained(MATTING, wait_s=30.0, **asked) == Attained(jobs=4, late=2)
        assert await ledger.history.attained(MATTING, wait_s=60.0, **asked) == Attained(jobs=4, late=0)
        assert await ledger.history.attained(ModelName("none"), wait_s=1.0, **asked) == Attained(jobs=0, late=0)

    async def test_the_newest_jobs_that_completed_tell_their_wait_and_run(self, ledger: SqlLedger) -> None:
        def ran(number: int, **changed: Any) -> Job:
            times = {"created_at_s": NOW_S, "started_at_s": NOW_S + number, "finished_at_s": NOW_S + 3.0 * number}
            return job(number, id=made_at(NOW_S + number, number), **(times | changed))

        told = Foretold(estimate_s=0.7, features={"pixels": 1e6}, done_s=4.5, spread=0.25, waits=True)
        jobs = [ran(n, status=JobStatus.COMPLETED, predicted_s=float(n), foretold=told) for n in (1, 2, 3)]
        await ledger.insert([*jobs, ran(4, status=JobStatus.FAILED), ran(5, model=SPEECH, status=JobStatus.COMPLETED)])
        found = await ledger.history.ended(since_s=NOW_S + 2.0, limit=9)
        assert [(one.model, one.predicted_s, round(one.wait_s, 3), round(one.run_s, 3)) for one in found] == [
            (SPEECH, 1.7, 5.0, 10.0),
            (MATTING, 3.0, 3.0, 6.0),
            (MATTING, 2.0, 2.0, 4.0),
        ]
        assert [(one.foretold, round(one.took_s, 3)) for one in found[:2]] == [(None, 15.0), (told, 9.0)]
        assert [one.foretold for one in await ledger.get([jobs[0].id]) if one is not None] == [told]
        assert len(await ledger.history.ended(since_s=0.0, limit=1)) == 1

    async def test_the_past_is_told_page_by_page_over_all_models(self, ledger: SqlLedger) -> None:
        def ran(number: int, **changed: Any) -> Job:
            told: dict[str, Any] = {"created_at_s": NOW_S + number, "status": JobStatus.COMPLETED}
            told |= {"started_at_s": NOW_S + 5.0, "finished_at_s": NOW_S + 7.5}
            return job(number, id=made_at(NOW_S + number, number), **(told | changed))

        waits = ran(4, status=JobStatus.QUEUED, started_at_s=None, finished_at_s=None)
        await ledger.insert([ran(3), ran(1), ran(2, model=SPEECH), waits])
        first = await ledger.history.ran(since_s=NOW_S + 0.5, after=None, limit=2)
        assert [(one.model, one.came_at_s - NOW_S, one.run_s) for one in first] == [
            (MATTING, 1.0, 2.5),
            (SPEECH, 2.0, 2.5),
        ]
        rest = await ledger.history.ran(since_s=NOW_S + 0.5, after=first[-1].id, limit=2)
        assert [one.came_at_s - NOW_S for one in rest] == [3.0]

    async def test_decisions_come_back_newest_first(self, ledger: SqlLedger, reopen: Reopen) -> None:
        made = [scaled(n) for n in range(5)]
        await ledger.history.put_scaled([*made, made[2], scaled(9, SPEECH)])
        again = await reopen()
        assert isinstance(again, SqlLedger)
        assert await again.history.scaled(MATTING, before_s=NOW_S + 4.0, limit=3) == [made[3], made[2], made[1]]
        await again.history.forget_history(before_s=NOW_S + 3.0)
        assert await again.history.scaled(MATTING, before_s=NOW_S + 99.0, limit=9) == [made[4], made[3]]

    async def test_samples_come_back_in_order(self, ledger: SqlLedger) -> None:
        taken = [FleetSample(model=MATTING, at_s=NOW_S + n, queued=n or None, wanted=1) for n in range(4)]
        await ledger.history.put_samples([*reversed(taken), FleetSample(model=SPEECH, at_s=NOW_S)])
        assert await ledger.history.samples(MATTING, since_s=NOW_S + 1.0, limit=2) == taken[1:3]
        await ledger.history.forget_history(before_s=NOW_S + 3.0)
        assert await ledger.history.samples(MATTING, since_s=0.0, limit=9) == taken[3:]

    async def test_of_two_memories_the_newer_one_stays(self, ledger: SqlLedger, reopen: Reopen) -> None:
        await ledger.history.put_memories([Memory(name="tide:matting", at_s=NOW_S, body="{}")])
        newer = Memory(name="tide:matting", at_s=NOW_S + 5.0, body='{"猫":1.25}')
        await ledger.history.put_memories([newer])
        await ledger.history.put_memories([Memory(name="tide:matting", at_s=NOW_S + 4.0, body="[]")])
        again = await reopen()
        assert isinstance(again, SqlLedger)
        assert await again.history.memories(["other", "tide:matting"]) == [None, newer]
        await again.history.forget_history(before_s=NOW_S + 99.0)
        assert await again.history.memories(["tide:matting"]) == [newer], "what was learnt is not the past"


def scaled(number: int, model: ModelName = MATTING) -> Scaled:
    decision = Decision(model=model, replicas=number, reason="QUEUE", message=f"{number} jobs in sight")
    return Scaled(at_s=NOW_S + number, before=0, decision=decision)

"""Ledger suite, part four: batches and shared secrets. A ledger under test has them as `batches` and `secrets`."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from springtide.domain.ids import BatchId, JobId, batch_id, job_in_batch
from springtide.domain.job import Job, JobStatus
from springtide.ledger.batches import Batch, BatchLine, Tally
from springtide.ledger.protocol import JobFilter
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import (
    ACME,
    GLOBEX,
    MATTING,
    NOW_S,
    SPEECH,
    Reopen,
    job,
    outcome,
    pipeline,
    running,
)


def batch(number: int, **changed: Any) -> Batch:
    """A batch just begun; a greater number is a later one."""
    made = batch_id(JobId(f"job_{int(NOW_S * 1000) + number:012x}7{number:019x}"))
    fields: dict[str, Any] = {"id": made, "tenant": ACME, "created_at_s": NOW_S, "total": 9, "fingerprint": "a" * 64}
    return Batch(**(fields | changed))


def nth(of: Batch, place: int, **changed: Any) -> Job:
    return job(place, id=job_in_batch(of.id, place), **changed)


class BatchContract:
    """Batches on record."""

    async def test_a_batch_is_begun_once_for_each_key_of_a_tenant(self, ledger: SqlLedger, reopen: Reopen) -> None:
        first = batch(1, idempotency_key="k", retry_of=batch(0).id)
        others = [batch(2, idempotency_key="k"), batch(3, idempotency_key="k", tenant=GLOBEX), batch(4), batch(5)]
        assert await ledger.batches.begin(first) == first
        begun = await asyncio.gather(*(ledger.batches.begin(one) for one in others))
        assert begun == [first, *others[1:]]
        assert await ledger.batches.begin(first) == first
        ledger = await reopen()  # type: ignore[assignment]  # made by the same maker
        assert await ledger.batches.get(first.id) == first
        assert await ledger.batches.get(others[0].id) is None
        listed = [one.id for one in await ledger.batches.list(ACME, after=None, limit=2)]
        assert listed == [others[3].id, others[2].id]
        assert await ledger.batches.list(ACME, after=listed[-1], limit=9) == [first]

    async def test_what_was_noted_is_there_and_noting_it_again_changes_nothing(self, ledger: SqlLedger) -> None:
        mine = await ledger.batches.begin(batch(1))
        refusal = BatchLine(place=2, problem={"status": 422, "detail": "猫 \x00"})
        lines = [BatchLine(place=5, job=job(77).id), refusal, BatchLine(place=600, problem={"status": 404})]
        for _ in range(2):
            noted = await ledger.batches.note(mine.id, 6, NOW_S + 1, lines=lines)
            assert noted == msgspec.structs.replace(mine, received=6, touched_at_s=NOW_S + 1)
        many = [BatchLine(place=place, problem={"status": 400}) for place in range(1000, 2200)]
        closed = await ledger.batches.note(mine.id, 9, NOW_S + 2, lines=many, closed=True)
        assert closed is not None and (closed.received, closed.closed_at_s) == (9, NOW_S + 2)
        assert await ledger.batches.lines(mine.id, first=2, end=600) == [refusal, lines[0]]
        count, first = await ledger.batches.refused(mine.id, limit=2)
        assert (count, [line.place for line in first]) == (1202, [2, 600])
        assert await ledger.batches.note(batch(9).id, 1, NOW_S, lines=lines) is None
        assert await ledger.batches.refused(batch(9).id, limit=2) == (0, [])

    async def test_the_first_wish_to_cancel_stays(self, ledger: SqlLedger) -> None:
        mine = await ledger.batches.begin(batch(1))
        for at_s in (NOW_S + 5, NOW_S + 6):
            await ledger.batches.ask_cancel(mine.id, at_s)
        found = await ledger.batches.get(mine.id)
        assert found is not None and found.cancel_asked_at_s == NOW_S + 5

    async def test_its_jobs_are_counted_and_found_by_their_ids_alone(self, ledger: SqlLedger) -> None:
        mine, other = await ledger.batches.begin(batch(1)), await ledger.batches.begin(batch(2))
        own = [nth(mine, n, predicted_s=float(n), model=SPEECH if n == 4 else MATTING) for n in range(5)]
        whole = pipeline(6, id=job_in_batch(mine.id, 6), model=SPEECH)
        step = job(7, id=whole.id[:16] + "8" + whole.id[17:-2] + "01", parent=whole.id, step=0)
        await ledger.insert([*own, whole, step, nth(other, 1), job(50)])
        await ledger.batches.note(mine.id, 7, NOW_S, lines=[BatchLine(place=5, job=job(50).id)])
        await ledger.record([outcome(own[0], JobStatus.COMPLETED)])
        await ledger.record_running([running(own[1], 1)])
        assert sorted(await ledger.batches.tally(mine.id), key=lambda one: (one.model, one.status)) == [
            Tally(model=MATTING, status=JobStatus.COMPLETED, jobs=1, predicted_s=0.0),
            Tally(model=MATTING, status=JobStatus.IN_PROGRESS, jobs=1, predicted_s=1.0),
            Tally(model=MATTING, status=JobStatus.QUEUED, jobs=2, predicted_s=5.0),
            Tally(model=MATTING, status=JobStatus.QUEUED, jobs=1, predicted_s=1.7),
            Tally(model=SPEECH, status=JobStatus.QUEUED, jobs=2, predicted_s=4.0 + whole.predicted_s),
        ]
        assert [one.id for one in await ledger.batches.jobs(mine.id, first=3, end=7)] == [
            own[3].id,
            own[4].id,
            whole.id,
        ]
        assert {one.id for one in await ledger.batches.running(mine.id, limit=9)} == {own[1].id, whole.id}
        last = await ledger.batches.last_queued(mine.id, MATTING)
        assert last is not None and last.id == own[3].id
        listed = await ledger.list(JobFilter(tenant=ACME, batch=mine.id), after=own[4].id, limit=2)
        assert [one.id for one in listed] == [own[3].id, own[2].id]
        assert await ledger.list(JobFilter(tenant=GLOBEX, batch=mine.id), after=None, limit=9) == []

    async def test_a_batch_is_kept_as_long_as_a_job_of_it(self, ledger: SqlLedger) -> None:
        empty, full = await ledger.batches.begin(batch(1)), await ledger.batches.begin(batch(2))
        await ledger.batches.note(empty.id, 1, NOW_S, lines=[BatchLine(place=0, problem={})])
        await ledger.insert([nth(full, 0)])
        await ledger.record([outcome(nth(full, 0), JobStatus.COMPLETED)])
        await ledger.batches.forget_batches(before_s=NOW_S - 60)
        assert await ledger.batches.get(empty.id) is not None
        await ledger.batches.forget_batches(before_s=NOW_S + 60)
        assert [await ledger.batches.get(one.id) for one in (empty, full)] == [None, full]
        assert await ledger.batches.refused(empty.id, limit=9) == (0, [])
        await ledger.forget([nth(full, 0).id], loose_since_s=NOW_S)
        await ledger.batches.forget_batches(before_s=NOW_S + 60)
        assert await ledger.batches.get(BatchId(full.id)) is None

    async def test_the_first_secret_of_a_name_is_everybodys(self, ledger: SqlLedger, reopen: Reopen) -> None:
        told = await asyncio.gather(*(ledger.secrets.shared("links", fresh) for fresh in ("a", "b", "c")))
        assert len(set(told)) == 1
        ledger = await reopen()  # type: ignore[assignment]  # made by the same maker
        assert await ledger.secrets.shared("links", "d") == told[0]
        assert await ledger.secrets.shared("other", "e") == "e"

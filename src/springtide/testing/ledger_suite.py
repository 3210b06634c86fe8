"""What every ledger must do, as tests. Subclass `LedgerSuite` and give it two fixtures:

- `ledger`: a started, empty ledger, stopped afterwards;
- `reopen`: an async function that stops that ledger and returns another one, started on the same data.
"""

from __future__ import annotations

import asyncio
from typing import Any

from springtide.domain.errors import InvalidInput, Unavailable
from springtide.domain.ids import JobId, ModelName, WorkerId, first_job_id_at
from springtide.domain.job import Adopted, JobError, JobStatus, Plan
from springtide.ledger.protocol import Inserted, JobFilter, Ledger, LiveRef, StoredBlob
from springtide.testing.ledger_cases import (
    ACME,
    GLOBEX,
    MATTING,
    NOW_S,
    SPEECH,
    Reopen,
    blob_ref,
    ids,
    job,
    only,
    outcome,
    plan_step,
    running,
)
from springtide.testing.ledger_suite_batches import BatchContract
from springtide.testing.ledger_suite_files import BlobContract
from springtide.testing.ledger_suite_history import HistoryContract
from springtide.testing.ledger_suite_keys import KeysContract
from springtide.testing.ledger_suite_orders import OrdersContract
from springtide.testing.ledger_suite_outcomes import OutcomeContract, RunningContract
from springtide.testing.ledger_suite_pipelines import PipelineContract
from springtide.testing.ledger_suite_rollouts import RolloutContract
from springtide.testing.ledger_suite_webhooks import WebhookContract


class InsertContract:
    """The way in."""

    async def test_a_job_comes_back_as_it_went_in(self, ledger: Ledger) -> None:
        given = job(1)
        assert await ledger.insert([given]) == [Inserted(given, True)]
        assert await ledger.get([given.id]) == [given]

    async def test_every_field_survives_closing_and_opening(self, ledger: Ledger, reopen: Reopen) -> None:
        full = job(
            1,
            status=JobStatus.FAILED,
            start_deadline_at_s=NOW_S + 9.1,
            idempotency_key="key 1",
            fingerprint="f" * 64,
            attempt=2,
            worker=WorkerId("w2"),
            started_at_s=NOW_S + 1.1,
            finished_at_s=NOW_S + 2.2,
            outputs={"z": 1, "a": {"nested": [True, 2**53 + 1, 1e300, -0.0]}},
            output_files=(blob_ref(7), blob_ref(8, name=None)),
            error=JobError(code="timed_out", message="too long", retryable=True, details={"limit_s": 300}),
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            parent=job(9).id,
            step=2,
            plan=Plan(
                steps=(
                    plan_step("cut", adopted=Adopted(job=job(8).id, outputs={"x": 1}, output_files=(blob_ref(9),))),
                    plan_step("mark"),
                ),
            ),
            retry_of=job(7).id,
            cancel_asked_at_s=NOW_S + 3.3,
        )
        await ledger.insert([full])
        assert await (await reopen()).get([full.id]) == [full]
        assert full.outputs is not None
        stored = await only(await reopen(), full)
        assert stored.outputs is not None
        assert list(stored.outputs) == ["z", "a"], "the order of keys is part of what the engine said"

    async def test_unknown_ids_are_none_in_their_place(self, ledger: Ledger) -> None:
        await ledger.insert([job(1), job(2)])
        found = await ledger.get([job(3).id, job(2).id, job(4).id, job(1).id, job(2).id])
        assert found == [None, job(2), None, job(1), job(2)]
        assert await ledger.get([]) == []
        assert await ledger.insert([]) == []

    async def test_the_same_key_gives_the_job_that_has_it(self, ledger: Ledger, reopen: Reopen) -> None:
        first, second = job(1, idempotency_key="k", fingerprint="one"), job(2, idempotency_key="k", fingerprint="two")
        await ledger.insert([first])
        ledger = await reopen()
        assert await ledger.insert([second, job(3)]) == [Inserted(first, False), Inserted(job(3), True)]
        assert await ledger.get([second.id]) == [None]

    async def test_equal_keys_in_one_batch_make_one_job(self, ledger: Ledger) -> None:
        first, second = job(1, idempotency_key="k"), job(2, idempotency_key="k")
        assert await ledger.insert([first, second]) == [Inserted(first, True), Inserted(first, False)]

    async def test_a_key_belongs_to_its_tenant(self, ledger: Ledger) -> None:
        results = await ledger.insert([job(1, idempotency_key="k"), job(2, idempotency_key="k", tenant=GLOBEX)])
        assert [result.is_new for result in results] == [True, True]

    async def test_jobs_without_a_key_never_collide(self, ledger: Ledger) -> None:
        assert all(result.is_new for result in await ledger.insert([job(1), job(2)]))

    async def test_the_same_id_again_is_not_new_and_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.insert([job(1)])
        changed = job(1, model=SPEECH)
        assert await ledger.insert([changed, job(2), job(2)]) == [
            Inserted(job(1), False),
            Inserted(job(2), True),
            Inserted(job(2), False),
        ]
        assert await ledger.get([job(1).id]) == [job(1)]

    async def test_a_repeated_key_answers_with_the_job_as_it_stands_now(self, ledger: Ledger) -> None:
        first = job(1, idempotency_key="k")
        await ledger.insert([first])
        await ledger.record([outcome(first, JobStatus.COMPLETED)])
        (again,) = await ledger.insert([job(2, idempotency_key="k")])
        assert (again.job.id, again.job.status, again.is_new) == (first.id, JobStatus.COMPLETED, False)

    async def test_jobs_are_found_by_tenant_and_key(self, ledger: Ledger) -> None:
        first, other = job(1, idempotency_key="k"), job(2, idempotency_key="k", tenant=GLOBEX)
        await ledger.insert([first, other, job(3)])
        keys = [(first.tenant, "k"), (first.tenant, "none"), (GLOBEX, "k"), (first.tenant, "k")]
        assert await ledger.keyed(keys) == [first, None, other, first]
        assert await ledger.keyed([]) == []

    async def test_64_tasks_inserting_at_once_lose_nothing(self, ledger: Ledger, reopen: Reopen) -> None:
        async def insert_ten(task: int) -> None:
            for n in range(10):
                (result,) = await ledger.insert([job(task * 10 + n, idempotency_key=f"{n}" if n < 2 else None)])
                assert result.is_new == (result.job.id == job(task * 10 + n).id)
                assert await ledger.get([result.job.id]) == [result.job], "a read sees every write that returned"

        await asyncio.gather(*(insert_ten(task) for task in range(64)))
        found = await (await reopen()).list(JobFilter(tenant=ACME), after=None, limit=1000)
        assert len(found) == 64 * 8 + 2
        assert len({each.idempotency_key for each in found}) == 3

    async def test_more_jobs_than_one_transaction_takes(self, ledger: Ledger) -> None:
        results = await ledger.insert([job(n) for n in range(1300)])
        assert [result.is_new for result in results] == [True] * 1300
        assert await ledger.get([job(n).id for n in range(1300)]) == [job(n) for n in range(1300)]

    async def test_rows_that_are_alike_in_any_columns_keep_what_is_in_each(self, ledger: Ledger) -> None:
        changes: list[dict[str, Any]] = [
            {"worker": WorkerId("w1")},
            {"timeout_s": 1.5},
            {"idempotency_key": "key"},
            {"start_deadline_at_s": NOW_S},
            {"traceparent": "00-a"},
            {"is_pinned": True},
        ]
        for place in range(2 * len(changes)):  # all of nine rows, then one of nine: more ways than are remembered
            common = changes[place] if place < len(changes) else {}
            given = [job(100 * place + n, **common) for n in range(9)]
            if place >= len(changes):
                given[4] = job(100 * place + 4, **changes[place - len(changes)])
            if "idempotency_key" in common:
                given = [job(100 * place + n, idempotency_key=f"key {n}") for n in range(9)]
            assert all(result.is_new for result in await ledger.insert(given))
            assert await ledger.get([each.id for each in given]) == given
            assert await ledger.record([outcome(each, JobStatus.COMPLETED) for each in given[:8]]) == [True] * 8
            [*ended, left] = await ledger.get([each.id for each in given])
            assert left == given[8]
            assert [each and (each.status, each.outputs, each.worker) for each in ended] == [
                (JobStatus.COMPLETED, outcome(given[0], JobStatus.COMPLETED).outputs, WorkerId("w1"))
            ] * 8

    async def test_a_refused_operation_fails_alone(self, ledger: Ledger) -> None:
        bad = job(2, model_version="\ud800")  # half a surrogate pair: no database can encode it
        good = [ledger.insert([job(n)]) for n in (1, 3, 4)]
        results = await asyncio.gather(ledger.insert([bad]), *good, return_exceptions=True)
        assert isinstance(results[0], InvalidInput)
        assert results[1:] == [[Inserted(job(n), True)] for n in (1, 3, 4)]
        assert await ledger.get([bad.id, job(1).id]) == [None, job(1)]

    async def test_inputs_that_are_not_json_are_refused_before_they_travel(self, ledger: Ledger) -> None:
        results = await asyncio.gather(
            ledger.insert([job(1, inputs={"x": object()})]), ledger.insert([job(2)]), return_exceptions=True
        )
        assert isinstance(results[0], InvalidInput)
        assert results[1] == [Inserted(job(2), True)]

    async def test_jobs_inserted_each_on_its_own_take_no_other_along(self, ledger: Ledger) -> None:
        await ledger.insert([job(5, idempotency_key="k")])
        jobs = [
            job(1),
            job(2, model_version="\ud800"),  # the database refuses it
            job(3, inputs={"x": object()}),
            job(4, idempotency_key="k"),
            *(job(n) for n in range(10, 1200)),
        ]
        results = await ledger.insert_each(jobs)
        assert results[0] == Inserted(job(1), True)
        assert isinstance(results[1], InvalidInput)
        assert isinstance(results[2], InvalidInput)
        assert results[3] == Inserted(job(5, idempotency_key="k"), False)
        assert results[4:] == [Inserted(each, True) for each in jobs[4:]]
        assert await ledger.get([each.id for each in jobs]) == [job(1), None, None, None, *jobs[4:]]
        assert await ledger.insert_each([]) == []

    async def test_a_caller_that_gives_up_does_not_disturb_the_others(self, ledger: Ledger) -> None:
        waiting = [asyncio.create_task(ledger.insert([job(n)])) for n in range(5)]
        await asyncio.sleep(0)  # each has queued its job
        waiting[2].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results.pop(2), asyncio.CancelledError)
        assert results == [[Inserted(job(n), True)] for n in (0, 1, 3, 4)]


class ListContract:
    """Pages."""

    async def test_a_tenant_sees_its_own_jobs_newest_first(self, ledger: Ledger) -> None:
        await ledger.insert([job(n, tenant=GLOBEX if n == 3 else ACME) for n in (2, 5, 1, 4, 3)])
        assert ids(await ledger.list(JobFilter(tenant=ACME), after=None, limit=10)) == [5, 4, 2, 1]
        assert ids(await ledger.list(JobFilter(tenant=GLOBEX), after=None, limit=10)) == [3]

    async def test_pages_follow_each_other_without_gap_or_overlap(self, ledger: Ledger) -> None:
        await ledger.insert([job(n) for n in range(25)])
        seen: list[int] = []
        after: JobId | None = None
        while page := await ledger.list(JobFilter(tenant=ACME), after=after, limit=7):
            await ledger.insert([job(1000 + len(seen))])  # new arrivals do not shift the pages
            seen += ids(page)
            after = page[-1].id
        assert seen == list(reversed(range(25)))

    async def test_conditions_hold_together(self, ledger: Ledger) -> None:
        await ledger.insert([job(n, model=SPEECH if n % 2 else MATTING) for n in range(10)])
        await ledger.record([outcome(job(n), JobStatus.COMPLETED) for n in (1, 2, 3, 5)])
        await ledger.record([outcome(job(n), JobStatus.FAILED) for n in (7, 8)])

        async def found(**conditions: Any) -> list[int]:
            return ids(await ledger.list(JobFilter(tenant=ACME, **conditions), after=None, limit=100))

        assert await found(model=SPEECH) == [9, 7, 5, 3, 1]
        assert await found(statuses=(JobStatus.COMPLETED,)) == [5, 3, 2, 1]
        assert await found(statuses=(JobStatus.QUEUED, JobStatus.FAILED), model=SPEECH) == [9, 7]
        made = [JobId(first_job_id_at(NOW_S + n) + f"{n:020x}") for n in range(10)]  # as ids are: they carry the time
        await ledger.insert(
            [job(n, id=id, tenant=GLOBEX, model=SPEECH if n % 2 else MATTING) for n, id in enumerate(made)]
        )
        window = JobFilter(tenant=GLOBEX, created_after_s=NOW_S + 3, created_before_s=NOW_S + 6)
        assert [one.id for one in await ledger.list(window, after=None, limit=9)] == [made[5], made[4]]
        both = JobFilter(tenant=GLOBEX, created_after_s=NOW_S + 3, model=SPEECH, statuses=(JobStatus.QUEUED,))
        assert [one.id for one in await ledger.list(both, after=None, limit=9)] == [made[9], made[7], made[5]]
        assert await found(model=ModelName("none")) == []

    async def test_live_jobs_come_oldest_first_in_pages(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.insert([job(n, tenant=GLOBEX if n % 2 else ACME) for n in reversed(range(10))])
        await ledger.record_running([running(job(3), 1)])
        ended = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
        await ledger.record([outcome(job(n), status) for n, status in zip((1, 4, 5, 9), ended, strict=True)])
        await ledger.record([outcome(job(6), JobStatus.QUEUED)])
        ledger = await reopen()
        first = await ledger.live(after=None, limit=4, created_before_s=NOW_S + 100)
        assert ids(first) == [0, 2, 3, 6]
        found = [one for one in await ledger.get([each.id for each in first]) if one is not None]
        assert [LiveRef(one.id, one.queue, one.created_at_s) for one in found] == first
        assert ids(await ledger.live(after=first[-1].id, limit=4, created_before_s=NOW_S + 100)) == [7, 8]
        assert ids(await ledger.live(after=None, limit=9, created_before_s=NOW_S + 3)) == [0, 2]


class LedgerSuite(
    InsertContract,
    OutcomeContract,
    RunningContract,
    ListContract,
    PipelineContract,
    BlobContract,
    HistoryContract,
    KeysContract,
    OrdersContract,
    BatchContract,
    WebhookContract,
    RolloutContract,
):
    """All of it, and what is left: kinds of writes together, and the end."""

    async def test_all_kinds_of_writes_share_a_transaction(self, ledger: Ledger) -> None:
        await ledger.insert([job(1), job(2)])
        await asyncio.gather(
            ledger.record([outcome(job(1), JobStatus.COMPLETED)]),
            ledger.record_running([running(job(2), 1)]),
            ledger.insert([job(3)]),
            ledger.put_blobs([StoredBlob(ref=blob_ref(1), tenant=ACME, created_at_s=NOW_S)]),
            ledger.insert([job(1)]),
        )
        found = await ledger.get([job(n).id for n in (1, 2, 3)])
        states = [each and each.status for each in found]
        assert states == [JobStatus.COMPLETED, JobStatus.IN_PROGRESS, JobStatus.QUEUED]

    async def test_what_was_under_way_when_stopping_is_written(self, ledger: Ledger, reopen: Reopen) -> None:
        waiting = [asyncio.create_task(ledger.insert([job(n)])) for n in range(20)]
        await asyncio.sleep(0)  # each has queued its job
        opened = await reopen()
        assert all(result.is_new for (result,) in await asyncio.gather(*waiting))
        assert None not in await opened.get([job(n).id for n in range(20)])

    async def test_a_stopped_ledger_says_so(self, ledger: Ledger) -> None:
        await ledger.stop()
        for call in ledger.insert([job(1)]), ledger.get([job(1).id]), ledger.attempts(job(1).id):
            try:
                await call
            except Unavailable:
                continue
            raise AssertionError("a stopped ledger answered")

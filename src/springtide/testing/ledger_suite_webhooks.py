"""Ledger suite, part four: webhooks, and that an end and what is to be told of it are one commit. A ledger under test
has them as its attribute `webhooks`."""

from __future__ import annotations

import asyncio
from typing import Any

from springtide.domain.ids import ModelName, step_id
from springtide.domain.job import Job, JobStatus
from springtide.domain.webhook import (
    Delivery,
    DeliveryState,
    JobEnd,
    SigningSecret,
    Try,
    Webhook,
    WebhookId,
    is_message_id,
)
from springtide.ledger.sql import SqlLedger
from springtide.ledger.webhooks import Settled
from springtide.testing.ledger_cases import ACME, GLOBEX, NOW_S, SPEECH, Reopen, job, outcome, pipeline

LATER_S = NOW_S + 1000.0  # after every end of these cases


def webhook(number: int, **changed: Any) -> Webhook:
    fields: dict[str, Any] = {
        "tenant": ACME,
        "url": "https://hooks.example/in?token=猫",
        "events": tuple(JobEnd),
        "models": (),
        "secrets": (SigningSecret(key="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"),),
        "base_url": "https://media.example",
        "created_at_s": NOW_S,
    }
    return Webhook(id=WebhookId(f"wh_{number:032x}"), **(fields | changed))


async def end(ledger: SqlLedger, *ended: tuple[Job, JobStatus]) -> None:
    await ledger.insert([each for each, _ in ended])
    await ledger.record([outcome(each, status) for each, status in ended])


async def told(ledger: SqlLedger, number: int) -> list[tuple[str, str]]:
    found = await ledger.webhooks.deliveries(webhook(number).id, state=None, after=None, limit=100)
    return [(each.job[-2:], each.event.value) for each in reversed(found)]


async def claimed(ledger: SqlLedger, number: int, *, now_s: float = LATER_S, limit: int = 10) -> list[Delivery]:
    found = await ledger.webhooks.claim(webhook(number).id, now_s, until_s=now_s + 30.0, limit=limit)
    return [] if found is None else found.deliveries


def settled(of: Delivery, state: DeliveryState, **changed: Any) -> Settled:
    made = Try(at_s=LATER_S, ms=12.5, status=200 if state is DeliveryState.DELIVERED else 500)
    fields: dict[str, Any] = {"due_at_s": None, **changed}
    return Settled(delivery=of, made=made, state=state, **fields)


class WebhookContract:
    """Who is told of what, and what becomes of it."""

    async def test_a_webhook_is_kept_as_it_was_given(self, ledger: SqlLedger, reopen: Reopen) -> None:
        first, second = webhook(1), webhook(2, events=(JobEnd.FAILED,), models=(SPEECH,), description="猫")
        for each in (second, first, webhook(3, tenant=GLOBEX)):
            await ledger.webhooks.put(each)
        again: Any = await reopen()
        assert await again.webhooks.of(ACME) == [first, second]
        assert await again.webhooks.get(second.id) == second
        assert await again.webhooks.get(webhook(9).id) is None

    async def test_each_end_is_told_to_whom_asked_for_it(self, ledger: SqlLedger) -> None:
        hooks = [
            webhook(1),
            webhook(2, events=(JobEnd.FAILED, JobEnd.EXPIRED)),
            webhook(3, models=(SPEECH, ModelName("x"))),
            webhook(4, tenant=GLOBEX),
            webhook(5, models=(ModelName("matt-ng"), ModelName("matting2"))),
        ]
        for each in hooks:
            await ledger.webhooks.put(each)
        await end(
            ledger,
            (job(1), JobStatus.COMPLETED),
            (job(2), JobStatus.FAILED),
            (job(3, model=SPEECH), JobStatus.CANCELLED),
            (job(4), JobStatus.EXPIRED),
            (job(5, tenant=GLOBEX), JobStatus.COMPLETED),
        )
        ends = [("01", "job.completed"), ("02", "job.failed"), ("03", "job.cancelled"), ("04", "job.expired")]
        assert await told(ledger, 1) == ends
        assert await told(ledger, 2) == [ends[1], ends[3]]
        assert await told(ledger, 3) == [ends[2]]
        assert await told(ledger, 4) == [("05", "job.completed")]
        assert await told(ledger, 5) == []

    async def test_many_ends_at_once_are_all_told(self, ledger: SqlLedger) -> None:
        """Without files, as they take the short way where there is one; with and without, as they do not."""
        await ledger.webhooks.put(webhook(1))
        jobs = [job(n, input_files=()) for n in range(1, 61)]
        await ledger.insert(jobs)
        await ledger.record([outcome(each, JobStatus.COMPLETED, output_files=()) for each in jobs[:40]])
        await ledger.record([outcome(each, JobStatus.COMPLETED) for each in jobs[40:]])
        assert len(await told(ledger, 1)) == 60

    async def test_an_end_is_told_once_however_often_it_is_reported(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await ledger.insert([job(1)])
        for status in (JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED):
            await ledger.record([outcome(job(1), status)])
        assert await told(ledger, 1) == [("01", "job.completed")]

    async def test_of_a_pipeline_the_whole_is_told_and_no_step(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        whole = pipeline(0x100)
        await end(ledger, (job(7, id=step_id(whole.id, 0), parent=whole.id, step=0), JobStatus.COMPLETED))
        assert await told(ledger, 1) == []
        await end(ledger, (whole, JobStatus.COMPLETED))
        assert await told(ledger, 1) == [("00", "job.completed")]

    async def test_who_is_switched_off_or_gone_is_not_told(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, (job(1), JobStatus.COMPLETED))
        await ledger.webhooks.enable(webhook(1).id, enabled=False, now_s=NOW_S, reason="asked for")
        await end(ledger, (job(2), JobStatus.COMPLETED))
        found = await ledger.webhooks.get(webhook(1).id)
        assert found is not None
        assert (found.is_enabled, found.disabled_at_s, found.disabled_reason) == (False, NOW_S, "asked for")
        assert await ledger.webhooks.due(LATER_S) == [] and await claimed(ledger, 1) == []
        await ledger.webhooks.enable(webhook(1).id, enabled=True, now_s=NOW_S)
        assert await ledger.webhooks.get(webhook(1).id) == webhook(1)
        assert [each.job for each in await claimed(ledger, 1)] == [job(1).id]  # what waited goes on
        await ledger.webhooks.delete(webhook(1).id)
        await end(ledger, (job(3), JobStatus.COMPLETED))
        assert await told(ledger, 1) == [] and await ledger.webhooks.get(webhook(1).id) is None

    async def test_what_is_due_is_claimed_once_and_again_when_the_claimer_dies(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        assert await ledger.webhooks.due(LATER_S) == []
        await end(ledger, *((job(n), JobStatus.COMPLETED) for n in (1, 2, 3)))
        assert await ledger.webhooks.due(NOW_S) == []  # before it ended, as the clock has it
        assert await ledger.webhooks.due(LATER_S) == [webhook(1).id]
        both = await asyncio.gather(claimed(ledger, 1, limit=2), claimed(ledger, 1, limit=2))
        ids = [each.id for part in both for each in part]
        assert len(ids) == len(set(ids)) == 3 and all(map(is_message_id, ids))
        assert await claimed(ledger, 1) == [] and await ledger.webhooks.due(LATER_S) == []
        assert len(await claimed(ledger, 1, now_s=LATER_S + 30.0)) == 3

    async def test_what_came_of_it_is_written_down(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, (job(1), JobStatus.COMPLETED), (job(2), JobStatus.COMPLETED))
        one, two = await claimed(ledger, 1)
        again_at_s = LATER_S + 5.0
        await ledger.webhooks.settle(
            [
                settled(one, DeliveryState.DELIVERED),
                settled(two, DeliveryState.PENDING, due_at_s=again_at_s, pause_until_s=LATER_S + 2.0),
            ],
            LATER_S,
        )
        kept = await ledger.webhooks.delivery(one.id)
        assert kept is not None
        assert (kept.state, kept.due_at_s, kept.tried) == (DeliveryState.DELIVERED, None, 1)
        assert kept.tries == (Try(at_s=LATER_S, ms=12.5, status=200),)
        found = await ledger.webhooks.get(webhook(1).id)
        assert found is not None and found.paused_until_s == LATER_S + 2.0
        assert await ledger.webhooks.due(LATER_S + 4.0) == []
        [late] = await claimed(ledger, 1, now_s=again_at_s)
        assert (late.id, late.tried, late.spent) == (two.id, 1, 1)
        pending = await ledger.webhooks.deliveries(webhook(1).id, state=DeliveryState.PENDING, after=None, limit=9)
        assert [each.id for each in pending] == [two.id]

    async def test_who_settles_late_changes_nothing(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, (job(1), JobStatus.COMPLETED))
        [slow] = await claimed(ledger, 1)
        [quick] = await claimed(ledger, 1, now_s=LATER_S + 30.0)
        await ledger.webhooks.settle([settled(quick, DeliveryState.DELIVERED)], LATER_S)
        await ledger.webhooks.settle([settled(slow, DeliveryState.FAILED, disable="no")], LATER_S)
        kept, found = await ledger.webhooks.delivery(slow.id), await ledger.webhooks.get(webhook(1).id)
        assert kept is not None and (kept.state, kept.tried) == (DeliveryState.DELIVERED, 1)
        assert found == webhook(1)

    async def test_a_webhook_that_fails_is_tried_with_one_message_until_it_is_well(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, *((job(n), JobStatus.COMPLETED) for n in (1, 2, 3)))
        [one] = await claimed(ledger, 1, limit=1)
        await ledger.webhooks.settle([settled(one, DeliveryState.FAILED)], LATER_S)
        found = await ledger.webhooks.get(webhook(1).id)
        assert found is not None and found.failing_since_s == LATER_S
        [two] = await claimed(ledger, 1, now_s=LATER_S + 1)
        await ledger.webhooks.settle([settled(two, DeliveryState.PENDING, due_at_s=LATER_S + 9)], LATER_S + 1)
        found = await ledger.webhooks.get(webhook(1).id)
        assert found is not None and found.failing_since_s == LATER_S  # the first of them
        [three] = await claimed(ledger, 1, now_s=LATER_S + 2)
        await ledger.webhooks.settle([settled(three, DeliveryState.DELIVERED)], LATER_S + 2)
        assert await ledger.webhooks.get(webhook(1).id) == webhook(1)

    async def test_a_webhook_is_switched_off_with_the_reason_and_its_owner_cannot_undo_that_by_a_change(
        self, ledger: SqlLedger
    ) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, (job(1), JobStatus.COMPLETED))
        [one] = await claimed(ledger, 1)
        await ledger.webhooks.settle([settled(one, DeliveryState.FAILED, disable="410 Gone")], LATER_S)
        await ledger.webhooks.put(webhook(1, description="new"))
        found = await ledger.webhooks.get(webhook(1).id)
        assert found is not None and found.description == "new"
        assert (found.is_enabled, found.disabled_reason, found.disabled_at_s) == (False, "410 Gone", LATER_S)

    async def test_what_was_given_up_is_sent_again_when_asked_for(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, *((job(n), JobStatus.COMPLETED) for n in (1, 2, 3)))
        one, two, three = await claimed(ledger, 1)
        await ledger.webhooks.settle(
            [settled(one, DeliveryState.DELIVERED), *(settled(each, DeliveryState.FAILED) for each in (two, three))],
            LATER_S,
        )
        assert await ledger.webhooks.redeliver_failed(webhook(1).id, since_s=LATER_S, now_s=LATER_S) == 0
        assert await ledger.webhooks.redeliver_failed(webhook(1).id, since_s=NOW_S, now_s=LATER_S) == 2
        await ledger.webhooks.redeliver(webhook(1).id, [one.id], LATER_S)
        await ledger.webhooks.enable(webhook(1).id, enabled=False, now_s=LATER_S)
        await ledger.webhooks.enable(webhook(1).id, enabled=True, now_s=LATER_S)
        again = await claimed(ledger, 1)
        assert {(each.job, each.tried, each.spent) for each in again} == {(job(n).id, 1, 0) for n in (1, 2, 3)}

    async def test_the_log_is_read_in_pages_and_forgotten_with_time(self, ledger: SqlLedger) -> None:
        await ledger.webhooks.put(webhook(1))
        await end(ledger, *((job(n), JobStatus.COMPLETED) for n in range(1, 6)))
        first = await ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=2)
        second = await ledger.webhooks.deliveries(webhook(1).id, state=None, after=first[-1].id, limit=9)
        assert [each.job for each in (*first, *second)] == [job(n).id for n in (5, 4, 3, 2, 1)]
        one, *rest = await claimed(ledger, 1)
        await ledger.webhooks.settle([settled(each, DeliveryState.DELIVERED) for each in rest], LATER_S)
        assert await ledger.webhooks.forget_deliveries(before_s=NOW_S, limit=9) == 0
        assert await ledger.webhooks.forget_deliveries(before_s=LATER_S, limit=3) == 3
        assert await ledger.webhooks.forget_deliveries(before_s=LATER_S, limit=9) == 1
        left = await ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)
        assert [each.id for each in left] == [one.id]  # what is still to be sent stays

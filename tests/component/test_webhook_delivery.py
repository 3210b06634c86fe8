"""Webhook delivery in virtual time: the real loop and the real ledger, a receiver that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from springtide.controller.webhooks import IN_FLIGHT, LOOK_EVERY_S, WebhookDelivery
from springtide.domain.errors import Unavailable, UrlFailed
from springtide.domain.job import JobStatus
from springtide.domain.webhook import DeliveryState, JobEnd, Webhook
from springtide.egress.client import Answered
from springtide.ledger.sql import SqlLedger
from springtide.runtime.threads import inline
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import WEBHOOK_SENDINGS
from springtide.testing.clock import ManualClock
from springtide.testing.ledger_cases import NOW_S, job, outcome
from springtide.testing.ledger_suite_webhooks import end, webhook
from springtide.webhooks import verify_webhook

_NEXT = text(
    "SELECT min(max(due_at_s, paused_until_s)) FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook "
    "WHERE due_at_s IS NOT NULL AND is_enabled = 1"
)
START_S = NOW_S + 200.0
HOUR_S, DAY_S = 3600.0, 86_400.0
Reply = Callable[[int], Answered | Exception | None]  # by the number of the sending; None: never


@dataclass
class Sent:
    at_s: float
    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`Post` that answers by `replies[url]`, else 200."""

    clock: ManualClock
    replies: dict[str, Reply] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]], *, total_s: float) -> Answered:
        self.sent.append(Sent(self.clock.now_s(), url, dict(headers), body))
        number = sum(each.url == url for each in self.sent)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            reply = self.replies.get(url, lambda _: Answered(status=200, retry_after=None))(number)
            if reply is None:
                await self.clock.sleep(total_s)
                raise UrlFailed("too slow", code="url_timed_out")
            if isinstance(reply, Exception):
                raise reply
            return reply
        finally:
            self.open -= 1

    def times_s(self, url: str = webhook(1).url) -> list[float]:
        return [round(each.at_s - START_S, 1) for each in self.sent if each.url == url]


def status(code: int, retry_after: str | None = None) -> Reply:
    return lambda _: Answered(status=code, retry_after=retry_after)


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("springtide.controller.webhooks.draw", lambda: 0.0)
    yield


@dataclass
class World:
    clock: ManualClock
    ledger: SqlLedger
    receiver: Receiver
    service: WebhookDelivery

    def another(self) -> WebhookDelivery:
        return WebhookDelivery(self.ledger.webhooks, self.ledger, self.receiver, self.clock)

    async def advance(self, seconds: float, *services: WebhookDelivery) -> None:
        """Let time pass as the loop of each service sees it, past the looks at which nothing is due."""
        end_s = self.clock.now_s() + seconds
        while self.clock.now_s() < end_s:
            for service in services or (self.service,):
                await service.look()
            await self.clock.advance(0.0)
            due_s: float | None = await self.ledger.read(lambda on: on.execute(_NEXT).scalar())
            wait_s = end_s if due_s is None else max(due_s - self.clock.now_s(), LOOK_EVERY_S)
            await self.clock.advance(min(wait_s, end_s - self.clock.now_s()))

    async def state_of(self, number: int = 1) -> DeliveryState:
        [found] = await self.ledger.webhooks.deliveries(webhook(number).id, state=None, after=None, limit=1)
        return found.state

    async def hook(self, number: int = 1) -> Webhook:
        found = await self.ledger.webhooks.get(webhook(number).id)
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path, chance: None) -> AsyncGenerator[World]:
    with inline():
        ledger = SqlLedger(f"sqlite:///{tmp_path}/ledger.db")
        await ledger.start()
        clock = ManualClock(START_S)
        receiver = Receiver(clock)
        made = World(clock, ledger, receiver, WebhookDelivery(ledger.webhooks, ledger, receiver, clock))
        await ledger.webhooks.put(webhook(1))
        yield made
        await made.service.stop()
        await ledger.stop()


async def test_sendings_are_counted_by_what_came_of_them(world: World) -> None:
    metrics, url = Metrics(), webhook(1).url
    service = WebhookDelivery(world.ledger.webhooks, world.ledger, world.receiver, world.clock, metrics=metrics)
    expired = UrlFailed("certificate has expired", code="url_unreachable", because="certificate")
    replies = [expired, Answered(status=503, retry_after=None), Answered(status=200, retry_after=None)]
    world.receiver.replies[url] = lambda number: replies[number - 1]
    await world.ledger.insert([job(1)])
    await world.ledger.record([outcome(job(1), JobStatus.COMPLETED)])
    await world.advance(2 * HOUR_S, service)
    await service.stop()
    assert metrics.sums(WEBHOOK_SENDINGS) == {
        ("retried", "certificate"): 1,
        ("retried", "5xx"): 1,
        ("delivered", "2xx"): 1,
    }


async def test_an_end_is_told_signed_and_thin(world: World) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await end(world.ledger, (job(1, traceparent=trace, input_files=()), JobStatus.FAILED))
    await world.advance(1.0)
    [sent] = world.receiver.sent
    [secret] = webhook(1).keys(0.0)
    event = verify_webhook(secret, sent.headers, sent.body, now_s=world.clock.now_s())
    assert event["type"] == "job.failed" and event["timestamp"].endswith("Z") and len(sent.body) < 1000
    url = f"https://media.example/v1/jobs/{job(1).id}"
    assert event["data"] == {
        "id": job(1).id,
        "model": "matting",
        "status": "failed",
        "url": url,
        "result_url": f"{url}/result",
        "finished_at": event["timestamp"],
        "created_at": event["data"]["created_at"],
        "error": {"code": "crashed"},
    }
    assert sent.headers["traceparent"] == trace and sent.headers["Content-Type"] == "application/json"
    assert await world.state_of() is DeliveryState.DELIVERED
    await world.advance(100 * HOUR_S)
    assert len(world.receiver.sent) == 1


async def test_what_fails_is_sent_again_by_the_schedule_under_the_same_id(world: World) -> None:
    world.receiver.replies[webhook(1).url] = status(500)
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(100 * HOUR_S)
    waits = [b - a for a, b in zip(world.receiver.times_s(), world.receiver.times_s()[1:], strict=False)]
    wanted = [5, 300, 1800, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S]
    assert waits == pytest.approx(wanted, abs=1.0)
    assert len({each.headers["webhook-id"] for each in world.receiver.sent}) == 1
    assert len({each.body for each in world.receiver.sent}) == 1
    stamps = {each.headers["webhook-timestamp"] for each in world.receiver.sent}
    assert len(stamps) == 10  # signed anew each time, or a receiver would find it too old
    [kept] = await world.ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)
    assert kept.state is DeliveryState.FAILED and [each.status for each in kept.tries] == [500] * 10


async def test_it_arrives_once_the_receiver_is_well_again(world: World) -> None:
    answers: list[Any] = [UrlFailed("no", code="url_unreachable"), Answered(status=302, retry_after=None)]
    world.receiver.replies[webhook(1).url] = lambda n: (
        answers[n - 1] if n <= 2 else Answered(status=204, retry_after=None)
    )
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(HOUR_S)
    [kept] = await world.ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)
    assert (kept.state, [each.status for each in kept.tries]) == (DeliveryState.DELIVERED, [None, 302, 204])
    assert "url_unreachable" in (kept.tries[0].error or "")
    assert (await world.hook()).failing_since_s is None


async def test_one_that_never_answers_holds_up_no_other(world: World) -> None:
    quick = webhook(2, url="https://quick.example/")
    await world.ledger.webhooks.put(quick)
    world.receiver.replies[webhook(1).url] = lambda _: None
    await end(world.ledger, *((job(n), JobStatus.COMPLETED) for n in range(1, 41)))
    await world.advance(2.0)
    assert len(world.receiver.times_s(quick.url)) == 40
    assert 1 <= len(world.receiver.times_s()) <= IN_FLIGHT
    await world.advance(60.0)
    assert (await world.hook()).failing_since_s is not None
    before = len(world.receiver.times_s())
    await world.advance(60.0)
    assert len(world.receiver.times_s()) - before <= 4  # one at a time while it is failing


async def test_a_rest_that_is_asked_for_holds_for_all_messages(world: World) -> None:
    world.receiver.replies[webhook(1).url] = lambda n: Answered(status=429 if n == 1 else 200, retry_after="90")
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(1.0)
    await end(world.ledger, (job(2), JobStatus.COMPLETED))
    await world.advance(88.0)
    assert len(world.receiver.sent) == 1
    await world.advance(10.0)
    assert len(world.receiver.sent) == 3


async def test_who_is_gone_is_switched_off(world: World) -> None:
    world.receiver.replies[webhook(1).url] = status(410)
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(10.0)
    found = await world.hook()
    assert not found.is_enabled and "410" in (found.disabled_reason or "")
    await end(world.ledger, (job(2), JobStatus.COMPLETED))
    await world.advance(100 * HOUR_S)
    assert len(world.receiver.sent) == 1


async def test_days_of_failing_switch_a_webhook_off_and_what_waits_goes_on_when_it_is_on_again(world: World) -> None:
    world.receiver.replies[webhook(1).url] = status(500)
    for day in range(5):
        await end(world.ledger, (job(day + 1), JobStatus.COMPLETED))
        await world.advance(DAY_S)
        assert (await world.hook()).is_enabled
    await world.advance(DAY_S)
    found = await world.hook()
    assert not found.is_enabled and "days" in (found.disabled_reason or "") and "500" in (found.disabled_reason or "")
    world.receiver.sent.clear()
    world.receiver.replies.clear()
    await world.ledger.webhooks.enable(found.id, enabled=True, now_s=world.clock.now_s())
    await world.advance(5 * DAY_S)
    delivered = await world.ledger.webhooks.deliveries(found.id, state=DeliveryState.DELIVERED, after=None, limit=9)
    assert {each.job for each in delivered} >= {job(4).id, job(5).id}


async def test_a_controller_that_dies_with_messages_in_hand_loses_none(world: World) -> None:
    world.receiver.replies[webhook(1).url] = lambda n: None if n <= 3 else Answered(status=200, retry_after=None)
    await end(world.ledger, *((job(n), JobStatus.COMPLETED) for n in (1, 2, 3)))
    dying = world.another()
    await world.advance(1.0, dying)
    assert len(world.receiver.sent) == 3
    await dying.stop()  # cancelled in the middle: nothing is settled, as after kill -9
    await world.advance(60.0, world.another())
    found = await world.ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)
    assert [each.state for each in found] == [DeliveryState.DELIVERED] * 3
    assert len({each.headers["webhook-id"] for each in world.receiver.sent}) == 3


async def test_two_controllers_share_the_work(world: World) -> None:
    await end(world.ledger, *((job(n), JobStatus.COMPLETED) for n in range(1, 101)))
    await world.advance(5.0, world.service, world.another())
    assert len(world.receiver.sent) == 100  # each message once: nobody died


async def test_a_ledger_that_is_away_costs_a_second_sending_at_worst(world: World, monkeypatch: Any) -> None:
    settle = world.ledger.webhooks.settle
    failures = iter([Unavailable("the ledger is away")])

    async def flaky(*given: Any) -> None:
        for failure in failures:
            raise failure
        await settle(*given)

    monkeypatch.setattr(world.ledger.webhooks, "settle", flaky)
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(120.0)
    assert await world.state_of() is DeliveryState.DELIVERED
    assert [each.headers["webhook-id"] for each in world.receiver.sent] == [
        world.receiver.sent[0].headers["webhook-id"]
    ] * 2


async def test_a_job_that_was_deleted_meanwhile_is_told_still(world: World) -> None:
    world.receiver.replies[webhook(1).url] = status(500)
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(1.0)
    await world.ledger.forget([job(1).id], loose_since_s=NOW_S)
    world.receiver.replies.clear()
    await world.advance(10.0)
    assert json.loads(world.receiver.sent[-1].body)["data"]["status"] == "completed"


async def test_an_asked_for_event_alone_is_sent(world: World) -> None:
    await world.ledger.webhooks.put(webhook(1, events=(JobEnd.CANCELLED,)))
    await end(world.ledger, (job(1), JobStatus.COMPLETED), (job(2), JobStatus.CANCELLED))
    await world.advance(1.0)
    assert [json.loads(each.body)["data"]["id"] for each in world.receiver.sent] == [job(2).id]


async def test_the_log_is_forgotten_after_its_time(world: World) -> None:
    await end(world.ledger, (job(1), JobStatus.COMPLETED))
    await world.advance(29 * DAY_S)
    await world.service.forget()
    assert await world.ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)
    await world.advance(2 * DAY_S)
    await world.service.forget()
    assert not await world.ledger.webhooks.deliveries(webhook(1).id, state=None, after=None, limit=9)


async def test_no_more_than_a_few_are_in_flight_to_one_webhook(world: World) -> None:
    gate = asyncio.Event()
    post = world.receiver.post

    async def held(url: str, body: bytes, headers: Any, *, total_s: float) -> Answered:
        world.receiver.open += 1
        world.receiver.most_open = max(world.receiver.most_open, world.receiver.open)
        await gate.wait()
        world.receiver.open -= 1
        return await post(url, body, headers, total_s=total_s)

    world.service._out = type("Held", (), {"post": staticmethod(held)})()
    await world.ledger.insert([job(n) for n in range(1, 51)])
    await world.ledger.record([outcome(job(n), JobStatus.COMPLETED) for n in range(1, 51)])
    await world.advance(2.0)
    assert world.receiver.most_open == IN_FLIGHT
    gate.set()
    await world.advance(2.0)
    assert len(world.receiver.sent) == 50

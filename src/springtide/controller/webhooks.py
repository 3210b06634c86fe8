"""Tells webhooks of jobs' ends: claim what is due → sign and send → settle by `policy.delivery`.

Promises: what is on record to be told is sent at least once, whoever is killed when: a claim that is not settled falls
due again half a minute later. Several controllers share the work by their claims. A webhook that is slow or dead holds
up no other: each has a lane of its own with a few messages in flight, and one while it is failing.

Refuses to follow a redirect, to read what is answered, and to send to an address that `egress` does not allow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError, UrlFailed
from springtide.domain.job import Job
from springtide.domain.webhook import Delivery, DeliveryState, Try, Webhook, WebhookId, message_of
from springtide.egress.client import Answered
from springtide.ledger.protocol import Ledger
from springtide.ledger.webhooks import Claimed, Settled, Webhooks
from springtide.policy.delivery import Answer, judge, retry_after_s
from springtide.runtime.chance import draw
from springtide.runtime.loops import Loop
from springtide.telemetry import tracing
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import WEBHOOK_SECONDS, WEBHOOK_SENDINGS
from springtide.webhooks import signed_headers

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5  # a message leaves half a second after the end on record at the latest
FORGET_EVERY_S = 60.0
FORGET_AT_ONCE = 1000
IN_FLIGHT = 8  # messages of one webhook: with answers in 50 ms some 160 a second
LANES = 256  # webhooks sent to at once
CLAIM_MARGIN_S = 10.0  # beyond the time of one sending


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient delivery is."""

    timeout_s: float = 20.0  # of one sending: the standard asks for 15 to 30
    disable_after_s: float = 5 * 86_400.0  # of nothing but failures: longer than one message is tried (76 hours)
    keep_s: float = 30 * 86_400.0  # deliveries that are over


class Post(Protocol):
    """What sends: `egress.client.Egress`, or a double."""

    async def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]], *, total_s: float) -> Answered: ...


class WebhookDelivery:
    """A service: `start`, `stop`."""

    def __init__(
        self,
        webhooks: Webhooks,
        ledger: Ledger,
        out: Post,
        clock: Clock,
        *,
        settings: WebhookSettings | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        for reason in ("certificate", "5xx"):  # there from the beginning, so that the first one is seen as an increase
            self._metrics.add(WEBHOOK_SENDINGS, "retried", reason, amount=0)
        self._webhooks = webhooks
        self._ledger = ledger
        self._out = out
        self._clock = clock
        self._settings = settings or WebhookSettings()
        self._lanes: dict[WebhookId, asyncio.Task[None]] = {}
        self._loops = [
            Loop("webhooks", self.look, every_s=LOOK_EVERY_S, clock=clock),
            Loop("webhooks' log", self.forget, every_s=FORGET_EVERY_S, clock=clock),
        ]

    async def start(self) -> None:
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stops at once; what is under way falls due again."""
        for loop in self._loops:
            await loop.stop()
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)

    async def look(self) -> None:
        """Open a lane for each webhook that has something due and none yet; by chance where there are too many."""
        due = [each for each in await self._webhooks.due(self._clock.now_s()) if each not in self._lanes]
        room = LANES - len(self._lanes)
        if len(due) > room:
            due = sorted(due, key=lambda _: draw())[:room]
        for webhook in due:
            lane = asyncio.create_task(self._lane(webhook), name=f"webhook {webhook}")
            self._lanes[webhook] = lane
            lane.add_done_callback(lambda _, which=webhook: self._lanes.pop(which, None))

    async def forget(self) -> None:
        """Delete what has been over for its time."""
        before_s = self._clock.now_s() - self._settings.keep_s
        while await self._webhooks.forget_deliveries(before_s=before_s, limit=FORGET_AT_ONCE) == FORGET_AT_ONCE:
            await self._clock.sleep(0)

    async def _lane(self, webhook: WebhookId) -> None:
        """Send until nothing is due."""
        in_flight: set[asyncio.Task[None]] = set()
        most = IN_FLIGHT
        try:
            while True:
                if len(in_flight) <= most // 2:  # several at a time: each claim is a commit
                    claimed = await self._claim(webhook, most - len(in_flight))
                    if claimed is not None:
                        most = IN_FLIGHT if claimed.webhook.failing_since_s is None else 1
                        in_flight |= await self._begin(claimed)
                    elif not in_flight:
                        return
                _, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
        except SpringtideError as error:
            log.warning("webhook %s waits: %s", webhook, error)
        except Exception:
            log.exception("webhook %s waits", webhook)
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def _claim(self, webhook: WebhookId, limit: int) -> Claimed | None:
        now_s = self._clock.now_s()
        until_s = now_s + self._settings.timeout_s + CLAIM_MARGIN_S
        return await self._webhooks.claim(webhook, now_s, until_s=until_s, limit=limit)

    async def _begin(self, claimed: Claimed) -> set[asyncio.Task[None]]:
        jobs = await self._ledger.get([each.job for each in claimed.deliveries])
        return {
            asyncio.create_task(self._deliver(claimed.webhook, delivery, job))
            for delivery, job in zip(claimed.deliveries, jobs, strict=True)
        }

    async def _deliver(self, webhook: Webhook, delivery: Delivery, job: Job | None) -> None:
        try:
            began_at_s, began_s = self._clock.now_s(), self._clock.monotonic_s()
            answer = await self._send(webhook, delivery, job)
            ms = round((self._clock.monotonic_s() - began_s) * 1000, 1)
            settled = self._judged(webhook, delivery, answer, Try(at_s=began_at_s, ms=ms, status=answer.status))
            await self._webhooks.settle([settled], self._clock.now_s())
            self._count(settled, answer, took_s=ms / 1000)
        except SpringtideError as error:
            log.warning("what came of %s is not on record, it is sent again: %s", delivery.id, error)
        except Exception:
            log.exception("%s is sent again", delivery.id)

    async def _send(self, webhook: Webhook, delivery: Delivery, job: Job | None) -> Answer:
        body = message_of(delivery, webhook.base_url, job)
        now_s = self._clock.now_s()
        headers = signed_headers(webhook.keys(now_s), delivery.id, body, now_s=now_s)
        traceparent = None if job is None else tracing.handed_on(job.id, job.traceparent)
        if traceparent is not None:
            headers.append(("traceparent", traceparent))
        try:
            answered = await self._out.post(webhook.url, body, headers, total_s=self._settings.timeout_s)
        except UrlFailed as error:
            return Answer(error=f"{error.code}: {error.message}", code=str(error.details.get("because", error.code)))
        return Answer(status=answered.status, retry_after_s=retry_after_s(answered.retry_after, now_s))

    def _count(self, settled: Settled, answer: Answer, *, took_s: float) -> None:
        result = "retried" if settled.state is DeliveryState.PENDING else "given_up"
        if settled.state is DeliveryState.DELIVERED:
            result = "delivered"
        reason = answer.code if answer.status is None else f"{answer.status // 100}xx"
        self._metrics.add(WEBHOOK_SENDINGS, result, reason or "no_answer")
        self._metrics.observe(WEBHOOK_SECONDS, value=took_s)

    def _judged(self, webhook: Webhook, delivery: Delivery, answer: Answer, made: Try) -> Settled:
        now_s = self._clock.now_s()
        since_s = now_s if webhook.failing_since_s is None else webhook.failing_since_s
        verdict = judge(
            answer,
            spent=delivery.spent + 1,
            failing_for_s=now_s - since_s,
            disable_after_s=self._settings.disable_after_s,
            chance=draw(),
        )
        if verdict.disable is not None:
            log.warning("webhook %s is switched off: %s", webhook.id, verdict.disable)
        state = DeliveryState.DELIVERED if verdict.delivered else DeliveryState.FAILED
        return Settled(
            delivery=delivery,
            made=msgspec.structs.replace(made, error=verdict.problem),
            state=state if verdict.again_in_s is None else DeliveryState.PENDING,
            due_at_s=None if verdict.again_in_s is None else now_s + verdict.again_in_s,
            pause_until_s=now_s + verdict.pause_s if verdict.pause_s else 0.0,
            disable=verdict.disable,
        )

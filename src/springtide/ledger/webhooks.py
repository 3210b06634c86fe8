"""Webhooks and what is to be told to them, on the ledger's own database. One implementation, `sql_webhooks`.

Promises:

- A delivery is on record in the very commit that records the job's end, wherever that is written: no crash comes
  between. A step of a pipeline makes none; its pipeline does.
- A job makes at most one delivery for a webhook, however often its end is reported.
- Of several who claim at once each gets others. A claim that is not settled falls due again.

Raises `Unavailable` where the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from springtide.domain.ids import TenantId
from springtide.domain.webhook import Delivery, DeliveryState, MessageId, Try, Webhook, WebhookId


class Claimed(msgspec.Struct, frozen=True):
    """Deliveries of one webhook that are the claimer's to send."""

    webhook: Webhook
    deliveries: list[Delivery]


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a claimed delivery came to."""

    delivery: Delivery  # as it was claimed
    made: Try
    state: DeliveryState
    due_at_s: float | None  # where it is still pending
    pause_until_s: float = 0.0
    disable: str | None = None  # switch the webhook off, with this reason


class Webhooks(Protocol):
    """Webhooks of all tenants, and their deliveries."""

    async def put(self, webhook: Webhook) -> None:
        """Add one, or write down what its owner changed: all but its health."""
        ...

    async def get(self, webhook: WebhookId) -> Webhook | None: ...

    async def of(self, tenant: TenantId) -> list[Webhook]:
        """A tenant's webhooks, oldest first."""
        ...

    async def delete(self, webhook: WebhookId) -> None:
        """Remove one with all its deliveries."""
        ...

    async def enable(self, webhook: WebhookId, *, enabled: bool, now_s: float, reason: str | None = None) -> None:
        """Switch one on (its failures are forgotten) or off. What waits for it stays, and goes on when it is on."""
        ...

    # --- what is to be told ---

    async def due(self, now_s: float) -> list[WebhookId]:
        """Webhooks that have something to be sent and may be sent to."""
        ...

    async def claim(self, webhook: WebhookId, now_s: float, *, until_s: float, limit: int) -> Claimed | None:
        """Take what is due, oldest first; nobody else gets it before `until_s`. A webhook that is failing gets one at a
        time. None where nothing is due."""
        ...

    async def settle(self, settled: Sequence[Settled], now_s: float) -> None:
        """Write down what came of sendings. One that somebody else has settled since changes nothing."""
        ...

    async def deliveries(
        self, webhook: WebhookId, *, state: DeliveryState | None, after: MessageId | None, limit: int
    ) -> list[Delivery]:
        """Those of the newest jobs first; `after`: the last id of the page before."""
        ...

    async def delivery(self, message: MessageId) -> Delivery | None: ...

    async def redeliver(self, webhook: WebhookId, messages: Sequence[MessageId], now_s: float) -> None:
        """Send these messages of a webhook again, by the whole schedule."""
        ...

    async def redeliver_failed(self, webhook: WebhookId, *, since_s: float, now_s: float) -> int:
        """The same for all of a webhook that were given up and whose jobs ended from then on; returns how many."""
        ...

    async def forget_deliveries(self, *, before_s: float, limit: int) -> int:
        """Delete up to `limit` deliveries that are over and whose jobs ended before then; returns how many."""
        ...

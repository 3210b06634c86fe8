"""Webhooks and their deliveries on the ledger's own database. `ledger.webhooks` says what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, case, delete, exists, func, insert, select, update

from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.webhook import (
    MAX_TRIES_KEPT,
    Delivery,
    DeliveryState,
    JobEnd,
    MessageId,
    Try,
    Webhook,
    WebhookId,
    first_message_id_at,
)
from springtide.ledger.rows import Row, padded
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import deliveries, webhooks
from springtide.ledger.webhooks import Claimed, Settled

PAGE = 1000  # rows deleted in one commit: a few milliseconds of the only writer
_PENDING = DeliveryState.PENDING.value

_encode = msgspec.json.Encoder().encode
_webhook = msgspec.json.Decoder(Webhook)
_tries = msgspec.json.Decoder(tuple[Try, ...])
_OWN = ("is_enabled", "disabled_at_s", "disabled_reason", "failing_since_s", "paused_until_s")  # columns tell these

_IS_DUE = and_(deliveries.c.due_at_s.is_not(None), deliveries.c.due_at_s <= bindparam("now_s"))
_DUE = select(webhooks.c.id).where(
    webhooks.c.is_enabled == 1,
    webhooks.c.paused_until_s <= bindparam("now_s"),
    exists().where(deliveries.c.webhook == webhooks.c.id, _IS_DUE),
)
_CLAIMABLE = (
    select(deliveries.c.id)
    .where(deliveries.c.webhook == bindparam("webhook"), _IS_DUE)
    .order_by(deliveries.c.due_at_s)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
    .values(due_at_s=bindparam("until_s"))
    .returning(*deliveries.c)
)
_SETTLE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("message"), deliveries.c.tried == bindparam("was_tried"))
    .values(
        state=bindparam("new_state"),
        due_at_s=bindparam("again_at_s"),
        tried=deliveries.c.tried + 1,
        spent=deliveries.c.spent + 1,
        tries=bindparam("log"),
    )
)
_RECOVERED = (
    update(webhooks)
    .where(webhooks.c.id.in_(bindparam("ids", expanding=True)), webhooks.c.failing_since_s.is_not(None))
    .values(failing_since_s=None)
)
_FAILED = (
    update(webhooks)
    .where(webhooks.c.id == bindparam("webhook"))
    .values(
        failing_since_s=func.coalesce(webhooks.c.failing_since_s, bindparam("now_s")),
        paused_until_s=case(
            (webhooks.c.paused_until_s < bindparam("rest_s"), bindparam("rest_s")), else_=webhooks.c.paused_until_s
        ),
    )
)
_AGAIN = {"state": _PENDING, "spent": 0}


class SqlWebhooks:
    """`Webhooks` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def put(self, webhook: Webhook) -> None:
        await self._ledger.write(partial(_put, webhook=webhook))

    async def get(self, webhook: WebhookId) -> Webhook | None:
        found = await self._ledger.read(lambda c: c.execute(select(webhooks).where(webhooks.c.id == webhook)).all())
        return _webhook_from(found[0]) if found else None

    async def of(self, tenant: TenantId) -> list[Webhook]:
        return [_webhook_from(row) for row in await self._ledger.read(partial(webhooks_of, tenant=tenant))]

    async def delete(self, webhook: WebhookId) -> None:
        await self._ledger.write(lambda c: c.execute(delete(webhooks).where(webhooks.c.id == webhook)))
        while await self._ledger.write(partial(_drop, where=deliveries.c.webhook == webhook, limit=PAGE)) == PAGE:
            pass

    async def enable(self, webhook: WebhookId, *, enabled: bool, now_s: float, reason: str | None = None) -> None:
        changed = {
            "is_enabled": int(enabled),
            "disabled_at_s": None if enabled else now_s,
            "disabled_reason": None if enabled else reason,
            **({"failing_since_s": None, "paused_until_s": 0.0} if enabled else {}),
        }
        other = update(webhooks).where(webhooks.c.id == webhook, webhooks.c.is_enabled != int(enabled)).values(changed)
        await self._ledger.write(lambda c: c.execute(other))

    # --- what is to be told -----------------------------------------------------------------------------------------

    async def due(self, now_s: float) -> list[WebhookId]:
        return [WebhookId(row[0]) for row in await self._ledger.read(partial(webhooks_due, now_s=now_s))]

    async def claim(self, webhook: WebhookId, now_s: float, *, until_s: float, limit: int) -> Claimed | None:
        work = partial(_claim, webhook=webhook, now_s=now_s, until_s=until_s, limit=limit)
        return await self._ledger.write(work)

    async def settle(self, settled: Sequence[Settled], now_s: float) -> None:
        await self._ledger.write(partial(_settle, settled=settled, now_s=now_s))

    async def deliveries(
        self, webhook: WebhookId, *, state: DeliveryState | None, after: MessageId | None, limit: int
    ) -> list[Delivery]:
        page = partial(deliveries_of, webhook=webhook, state=state, after=after, limit=limit)
        return [_delivery_from(row) for row in await self._ledger.read(page)]

    async def delivery(self, message: MessageId) -> Delivery | None:
        query = select(deliveries).where(deliveries.c.id == message)
        found = await self._ledger.read(lambda c: c.execute(query).all())
        return _delivery_from(found[0]) if found else None

    async def redeliver(self, webhook: WebhookId, messages: Sequence[MessageId], now_s: float) -> None:
        these = and_(deliveries.c.webhook == webhook, deliveries.c.id.in_(list(messages)))
        again = update(deliveries).where(these).values(**_AGAIN, due_at_s=now_s)
        await self._ledger.write(lambda c: c.execute(again))

    async def redeliver_failed(self, webhook: WebhookId, *, since_s: float, now_s: float) -> int:
        failed = and_(
            deliveries.c.webhook == webhook,
            deliveries.c.state == DeliveryState.FAILED.value,
            deliveries.c.ended_at_s >= since_s,
        )
        again = update(deliveries).where(failed).values(**_AGAIN, due_at_s=now_s)
        return await self._ledger.write(lambda c: c.execute(again).rowcount)

    async def forget_deliveries(self, *, before_s: float, limit: int) -> int:
        ids = await self._ledger.read(lambda c: [row[0] for row in c.execute(select(webhooks.c.id)).all()])
        count = 0
        for webhook in ids:
            old = and_(
                deliveries.c.webhook == webhook,
                deliveries.c.id < first_message_id_at(before_s),
                deliveries.c.ended_at_s < before_s,
                deliveries.c.due_at_s.is_(None),
            )
            count += await self._ledger.write(partial(_drop, where=old, limit=limit - count))
            if count >= limit:
                break
        return count


def webhooks_of(connection: Connection, tenant: TenantId) -> Sequence[Any]:
    return connection.execute(select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.id)).all()


def webhooks_due(connection: Connection, now_s: float) -> Sequence[Row]:
    return connection.execute(_DUE, {"now_s": now_s}).all()


def deliveries_due(connection: Connection, webhook: WebhookId, now_s: float, limit: int) -> Sequence[Row]:
    return connection.execute(_CLAIMABLE, {"webhook": webhook, "now_s": now_s, "limit": limit}).all()


def deliveries_of(
    connection: Connection, webhook: WebhookId, *, state: DeliveryState | None, after: MessageId | None, limit: int
) -> Sequence[Row]:
    query = select(deliveries).where(deliveries.c.webhook == webhook)
    if state is not None:
        query = query.where(deliveries.c.state == state.value)
    if after is not None:
        query = query.where(deliveries.c.id < after)
    return connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit)).all()


def _put(connection: Connection, webhook: Webhook) -> None:
    body = _encode(msgspec.structs.replace(webhook, **_HEALTHY)).decode()
    owned = {"events": _words(webhook.events), "models": _words(webhook.models), "body": body}
    changed = connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(owned))
    if not changed.rowcount:
        health = {name: getattr(webhook, name) for name in _OWN}
        row = {"id": webhook.id, "tenant": webhook.tenant, **owned, **health, "is_enabled": int(webhook.is_enabled)}
        connection.execute(insert(webhooks).values(row))


def _claim(connection: Connection, *, webhook: WebhookId, now_s: float, until_s: float, limit: int) -> Claimed | None:
    row = connection.execute(select(webhooks).where(webhooks.c.id == webhook)).first()
    if row is None:
        return None
    found = _webhook_from(row)
    if not found.is_enabled or found.paused_until_s > now_s:
        return None
    most = 1 if found.failing_since_s is not None else limit
    ids = [each[0] for each in deliveries_due(connection, webhook, now_s, most)]
    if not ids:
        return None
    claimed = connection.execute(_CLAIM, {"ids": padded(ids), "until_s": until_s}).all()
    return Claimed(found, sorted(map(_delivery_from, claimed), key=lambda each: (each.ended_at_s, each.id)))


def _settle(connection: Connection, settled: Sequence[Settled], now_s: float) -> None:
    for one in settled:
        log = (*one.delivery.tries, one.made)[-MAX_TRIES_KEPT:]
        values = {
            "message": one.delivery.id,
            "was_tried": one.delivery.tried,
            "new_state": one.state.value,
            "again_at_s": one.due_at_s,
            "log": _encode(log).decode(),
        }
        if not connection.execute(_SETTLE, values).rowcount or one.state is DeliveryState.DELIVERED:
            continue
        failure = {"webhook": one.delivery.webhook, "now_s": now_s, "rest_s": one.pause_until_s}
        connection.execute(_FAILED, failure)
        if one.disable is not None:
            off = {"is_enabled": 0, "disabled_at_s": now_s, "disabled_reason": one.disable}
            on = (webhooks.c.id == one.delivery.webhook, webhooks.c.is_enabled == 1)
            connection.execute(update(webhooks).where(*on).values(off))
    well = {one.delivery.webhook for one in settled if one.state is DeliveryState.DELIVERED}
    if well:
        connection.execute(_RECOVERED, {"ids": sorted(well)})


def _drop(connection: Connection, *, where: Any, limit: int) -> int:
    page = select(deliveries.c.id).where(where).limit(limit)
    return connection.execute(delete(deliveries).where(deliveries.c.id.in_(page.scalar_subquery()))).rowcount


_HEALTHY: dict[str, Any] = {
    "is_enabled": True,
    "disabled_at_s": None,
    "disabled_reason": None,
    "failing_since_s": None,
    "paused_until_s": 0.0,
}


def _webhook_from(row: Any) -> Webhook:
    health = {name: getattr(row, name) for name in _OWN}
    return msgspec.structs.replace(_webhook.decode(row.body), **{**health, "is_enabled": bool(row.is_enabled)})


def _delivery_from(row: Row) -> Delivery:
    return Delivery(
        id=MessageId(row[0]),
        webhook=WebhookId(row[1]),
        job=JobId(row[2]),
        event=JobEnd(row[3]),
        model=ModelName(row[4]),
        ended_at_s=row[5],
        due_at_s=row[6],
        state=DeliveryState(row[7]),
        tried=row[8],
        spent=row[9],
        tries=_tries.decode(row[10]),
    )


def _words(words: Sequence[str]) -> str:
    return f",{','.join(words)}," if words else ""

"""Files and batches of OpenAI's routes, on the ledger's own database. `ledger.openai` says what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, text, update

from springtide.domain.ids import BlobId, TenantId
from springtide.ledger.keeping import loosen
from springtide.ledger.openai import Kind, OpenAiRecord
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import OPEN_RECORD, blobs, job_blobs, openai_records

_encode = msgspec.json.Encoder().encode
_body = msgspec.json.Decoder(dict[str, Any])
_ONE = (openai_records.c.kind == bindparam("of_kind"), openai_records.c.id == bindparam("of_id"))
_GET = select(openai_records).where(*_ONE)
_UPDATE = (
    update(openai_records)
    .where(*_ONE)
    .values({name: bindparam(name) for name in ("label", "is_open", "expires_at_s", "body")})
)
_DROP = delete(openai_records).where(*_ONE)
_OPEN = select(openai_records).where(text(OPEN_RECORD)).order_by(openai_records.c.id).limit(bindparam("limit"))
_EXPIRED = (
    select(openai_records)
    .where(openai_records.c.expires_at_s < bindparam("now_s"))
    .order_by(openai_records.c.expires_at_s)
    .limit(bindparam("limit"))
)
_CLAIM = (
    update(openai_records)
    .where(
        *_ONE,
        or_(openai_records.c.claimed_until_s.is_(None), openai_records.c.claimed_until_s <= bindparam("now_s")),
    )
    .values(claimed_until_s=bindparam("until_s"))
)
_HELD = select(job_blobs.c.blob).where(job_blobs.c.job == bindparam("holder"))
_LET_GO = delete(job_blobs).where(job_blobs.c.job == bindparam("holder"))
_KEEP = update(blobs).where(blobs.c.id.in_(bindparam("ids", expanding=True))).values(loose_since_s=None)


class SqlOpenAi:
    """`OpenAiRecords` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def put(self, record: OpenAiRecord, holds: Sequence[BlobId] = ()) -> None:
        await self._ledger.write(partial(_put, record=record, holds=holds))

    async def get(self, kind: Kind, id: str) -> OpenAiRecord | None:
        return await self._ledger.read(partial(record_by_id, kind=kind, id=id))

    async def list(
        self, tenant: TenantId, kind: Kind, *, label: str | None, after: str | None, limit: int, oldest_first: bool
    ) -> list[OpenAiRecord]:
        return await self._ledger.read(
            partial(_page, tenant=tenant, kind=kind, label=label, after=after, limit=limit, oldest_first=oldest_first)
        )

    async def open(self, *, limit: int) -> list[OpenAiRecord]:
        return await self._ledger.read(partial(open_batches, limit=limit))

    async def claim(self, id: str, now_s: float, *, until_s: float) -> bool:
        return await self._ledger.write(partial(_claim, id=id, now_s=now_s, until_s=until_s))

    async def expired(self, now_s: float, *, limit: int) -> list[OpenAiRecord]:
        return await self._ledger.read(partial(expired_records, now_s=now_s, limit=limit))

    async def drop(self, kind: Kind, id: str, now_s: float) -> bool:
        return await self._ledger.write(partial(_drop, kind=kind, id=id, now_s=now_s))


def record_by_id(connection: Connection, *, kind: Kind, id: str) -> OpenAiRecord | None:
    row = connection.execute(_GET, {"of_kind": kind.value, "of_id": id}).first()
    return None if row is None else _record(row)


def open_batches(connection: Connection, *, limit: int) -> list[OpenAiRecord]:
    return [_record(row) for row in connection.execute(_OPEN, {"limit": limit})]


def expired_records(connection: Connection, *, now_s: float, limit: int) -> list[OpenAiRecord]:
    return [_record(row) for row in connection.execute(_EXPIRED, {"now_s": now_s, "limit": limit})]


def _put(connection: Connection, *, record: OpenAiRecord, holds: Sequence[BlobId]) -> None:
    values: dict[str, Any] = {
        "label": record.label,
        "is_open": int(record.is_open),
        "expires_at_s": record.expires_at_s,
        "body": _encode(record.body).decode(),
    }
    known = connection.execute(_UPDATE, {**values, "of_kind": record.kind.value, "of_id": record.id}).rowcount
    if not known:
        own = {"id": record.id, "kind": record.kind.value, "tenant": record.tenant, "created_at_s": record.created_at_s}
        connection.execute(insert(openai_records).values(**values, **own))
    holder = _holder(record.kind, record.id)
    held = {row[0] for row in connection.execute(_HELD, {"holder": holder})}
    for blob in holds:
        if blob not in held:
            connection.execute(insert(job_blobs).values(job=holder, blob=blob))
    if holds:
        connection.execute(_KEEP, {"ids": list(holds)})


def _page(
    connection: Connection,
    *,
    tenant: TenantId,
    kind: Kind,
    label: str | None,
    after: str | None,
    limit: int,
    oldest_first: bool,
) -> list[OpenAiRecord]:
    id = openai_records.c.id
    query = select(openai_records).where(openai_records.c.tenant == tenant, openai_records.c.kind == kind.value)
    query = query.order_by(id if oldest_first else id.desc()).limit(limit)
    if label is not None:
        query = query.where(openai_records.c.label == label)
    if after is not None:
        query = query.where(id > after if oldest_first else id < after)
    return [_record(row) for row in connection.execute(query)]


def _claim(connection: Connection, *, id: str, now_s: float, until_s: float) -> bool:
    parameters = {"of_kind": Kind.BATCH.value, "of_id": id, "now_s": now_s, "until_s": until_s}
    return connection.execute(_CLAIM, parameters).rowcount > 0


def _drop(connection: Connection, *, kind: Kind, id: str, now_s: float) -> bool:
    known = connection.execute(_DROP, {"of_kind": kind.value, "of_id": id}).rowcount > 0
    holder = {"holder": _holder(kind, id)}
    held = [BlobId(row[0]) for row in connection.execute(_HELD, holder)]
    connection.execute(_LET_GO, holder)
    loosen(connection, held, now_s)
    return known


def _holder(kind: Kind, id: str) -> str:
    """Who has a record's blobs, beside jobs: no id of a job looks like it."""
    return f"{kind.value}:{id}"


def _record(row: Any) -> OpenAiRecord:
    return OpenAiRecord(
        id=row.id,
        tenant=TenantId(row.tenant),
        kind=Kind(row.kind),
        label=row.label,
        created_at_s=row.created_at_s,
        is_open=bool(row.is_open),
        expires_at_s=row.expires_at_s,
        body=_body.decode(row.body),
    )

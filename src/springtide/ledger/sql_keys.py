"""API keys on the ledger's own database. `ledger.keys` says what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from springtide.domain.ids import TenantId
from springtide.domain.keys import ApiKey, Scope
from springtide.ledger.rows import Row
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import api_keys

_ALL = select(api_keys).order_by(api_keys.c.created_at_s, api_keys.c.prefix)
_ONE = select(api_keys).where(api_keys.c.prefix == bindparam("wanted"))
_CHANGES = select(func.coalesce(func.sum(api_keys.c.changes), 0))
_REVOKE = (
    update(api_keys)
    .values(revoked_at_s=bindparam("now_s"), changes=api_keys.c.changes + 1)
    .where(api_keys.c.prefix == bindparam("wanted"), api_keys.c.revoked_at_s.is_(None))
)
_NOTE_USED = (
    update(api_keys)
    .values(last_used_at_s=bindparam("used_at_s"))
    .where(
        api_keys.c.prefix == bindparam("wanted"),
        or_(api_keys.c.last_used_at_s.is_(None), api_keys.c.last_used_at_s < bindparam("used_at_s")),
    )
)


class SqlKeys:
    """`Keys` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def put_key(self, key: ApiKey) -> bool:
        return await self._ledger.write(partial(_put, key=key))

    async def keys(self, tenant: TenantId | None = None) -> list[ApiKey]:
        return [_key_from(row) for row in await self._ledger.read(partial(all_keys, tenant=tenant))]

    async def revoke_key(self, prefix: str, now_s: float) -> ApiKey | None:
        row = await self._ledger.write(partial(_revoke, prefix=prefix, now_s=now_s))
        return None if row is None else _key_from(row)

    async def changes(self) -> int:
        return await self._ledger.read(_changes)

    async def note_used(self, used: Mapping[str, float]) -> None:
        if used:
            await self._ledger.write(partial(_note_used, used=used))


def all_keys(connection: Connection, tenant: TenantId | None) -> Sequence[Row]:
    query = _ALL if tenant is None else _ALL.where(api_keys.c.tenant == tenant)
    return connection.execute(query).all()


def _put(connection: Connection, key: ApiKey) -> bool:
    row = (
        key.prefix,
        key.tenant,
        " ".join(sorted(key.scopes)),
        key.digest,
        key.created_at_s,
        key.name,
        key.expires_at_s,
        key.revoked_at_s,
        key.last_used_at_s,
        1,
    )
    try:
        with connection.begin_nested():
            connection.execute(insert(api_keys).values(row))
    except IntegrityError:
        return False
    return True


def _key_from(row: Row) -> ApiKey:
    return ApiKey(
        prefix=row[0],
        tenant=TenantId(row[1]),
        scopes=frozenset(map(Scope, row[2].split())),
        digest=row[3],
        created_at_s=row[4],
        name=row[5],
        expires_at_s=row[6],
        revoked_at_s=row[7],
        last_used_at_s=row[8],
    )


def _revoke(connection: Connection, prefix: str, now_s: float) -> Row | None:
    connection.execute(_REVOKE, {"wanted": prefix, "now_s": now_s})
    return connection.execute(_ONE, {"wanted": prefix}).first()


def _changes(connection: Connection) -> int:
    return int(connection.execute(_CHANGES).scalar_one())


def _note_used(connection: Connection, used: Mapping[str, float]) -> None:
    """One row at a time, and in one order whoever writes: two gateways never wait for each other crosswise."""
    for prefix, at_s in sorted(used.items()):
        connection.execute(_NOTE_USED, {"wanted": prefix, "used_at_s": at_s})

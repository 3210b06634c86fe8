"""Usage on the ledger's own database. `ledger.usage` says what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection, bindparam, delete, func, select, text

from springtide.domain.ids import ModelName, TenantId
from springtide.ledger import accounting
from springtide.ledger.rows import Row
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import LIVE_JOB, jobs, usage
from springtide.ledger.usage import Spent, Used

_USED = (
    select(usage)
    .where(usage.c.day >= bindparam("since_day"), usage.c.day <= bindparam("until_day"))
    .order_by(usage.c.day, usage.c.tenant, usage.c.model)
)
_SPENT = (
    select(usage.c.tenant, func.sum(usage.c.seconds), func.sum(usage.c.uploaded_bytes))
    .where(usage.c.tenant.in_(bindparam("tenants", expanding=True)), usage.c.day == bindparam("day"))
    .group_by(usage.c.tenant)
)
_FORGET = delete(usage).where(usage.c.day < bindparam("before_day"))
_WAITING = (  # jobs_live: as long as the backlog
    select(jobs.c.tenant, func.sum(jobs.c.predicted_s))
    .where(text(LIVE_JOB), jobs.c.tenant.in_(bindparam("tenants", expanding=True)))
    .group_by(jobs.c.tenant)
)


class SqlUsage:
    """`Usage` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def used(self, tenant: TenantId | None, *, since_day: int, until_day: int) -> list[Used]:
        asked = partial(usage_between, tenant=tenant, since_day=since_day, until_day=until_day)
        return [_used_from(row) for row in await self._ledger.read(asked)]

    async def spent(self, tenants: Sequence[TenantId], day: int) -> dict[TenantId, Spent]:
        if not tenants:
            return {}
        spent = await self._ledger.read(partial(spent_on, tenants=tenants, day=day))
        waiting = dict(tuple(row) for row in await self._ledger.read(partial(waiting_of, tenants=tenants)))
        found = {row[0]: (row[1], int(row[2])) for row in spent}
        return {
            TenantId(tenant): Spent(
                seconds=found.get(tenant, (0.0, 0))[0],
                uploaded_bytes=found.get(tenant, (0.0, 0))[1],
                waiting_s=waiting.get(tenant, 0.0),
            )
            for tenant in {*found, *waiting}
        }

    async def add_uploaded(self, uploaded: Mapping[TenantId, int], day: int) -> None:
        if uploaded:
            await self._ledger.write(partial(accounting.add_uploaded, uploaded=uploaded, day=day))

    async def forget_used(self, *, before_day: int) -> None:
        await self._ledger.write(lambda c: c.execute(_FORGET, {"before_day": before_day}))


def usage_between(connection: Connection, tenant: TenantId | None, since_day: int, until_day: int) -> Sequence[Row]:
    query = _USED if tenant is None else _USED.where(usage.c.tenant == tenant)
    return connection.execute(query, {"since_day": since_day, "until_day": until_day}).all()


def spent_on(connection: Connection, tenants: Sequence[TenantId], day: int) -> Sequence[Row]:
    return connection.execute(_SPENT, {"tenants": list(tenants), "day": day}).all()


def waiting_of(connection: Connection, tenants: Sequence[TenantId]) -> Sequence[Row]:
    return connection.execute(_WAITING, {"tenants": list(tenants)}).all()


def _used_from(row: Row) -> Used:
    return Used(
        tenant=TenantId(row[0]),
        day=row[1],
        model=ModelName(row[2]) if row[2] else None,
        completed=row[3],
        failed=row[4],
        cancelled=row[5],
        expired=row[6],
        seconds=row[7],
        uploaded_bytes=row[8],
    )

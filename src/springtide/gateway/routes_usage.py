"""`/v1/usage`: what a tenant used, day by day, and how much of today's quotas is left."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from springtide.domain.errors import CallerError
from springtide.domain.ids import TenantId
from springtide.domain.keys import Scope
from springtide.gateway.access import caller_of
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.key_views import read_tenant
from springtide.ledger.usage import Used, day_of

ALL = "*"
USUAL_DAYS = 30
MOST_DAYS = 400
_EPOCH = date(1970, 1, 1)


class UsageRow(msgspec.Struct, kw_only=True):
    """What one tenant used of one model on one day (UTC); `model` is null for what is no model's, such as uploads."""

    day: str
    tenant: str
    model: str | None
    completed: int
    failed: int
    cancelled: int
    expired: int
    seconds: float
    uploaded_bytes: int


class UsageTotal(msgspec.Struct, kw_only=True):
    """The sum of the rows."""

    jobs: int
    seconds: float
    uploaded_bytes: int


class QuotaView(msgspec.Struct, kw_only=True):
    """What the tenant may take, and what it has today; null is no limit."""

    requests_per_minute: int | None
    gpu_seconds_per_day: float | None
    gpu_seconds_today: float
    gpu_seconds_waiting: float
    upload_bytes_per_day: int | None
    upload_bytes_today: int
    priority_ceiling: str


class UsageView(msgspec.Struct, kw_only=True):
    """Usage by day, tenant and model. `quota` is null where all tenants are shown."""

    since: str
    until: str
    total: UsageTotal
    quota: QuotaView | None
    data: list[UsageRow]


@get("/v1/usage", tags=["usage"], summary="What a tenant used")
async def get_usage(
    request: AnyRequest,
    *,
    tenant: Annotated[str | None, QueryParameter(description="Another tenant, or `*` for all: needs `admin`.")] = None,
    since: Annotated[str | None, QueryParameter(description="First day, YYYY-MM-DD; default: 30 days.")] = None,
    until: Annotated[str | None, QueryParameter(description="Last day; default: today.")] = None,
) -> UsageView:
    """Jobs, seconds of workers and uploaded bytes, by day (UTC), tenant and model. It stays when jobs are deleted."""
    caller = caller_of(request)
    if tenant is not None and tenant != caller.tenant.id:
        caller.needs(Scope.ADMIN)
    whose = None if tenant == ALL else caller.tenant.id if tenant is None else read_tenant(tenant)
    services = gateway_of(request).services
    last = _day(until, "until") if until is not None else day_of(services.clock.now_s())
    first = _day(since, "since") if since is not None else last - USUAL_DAYS + 1
    if not 0 <= last - first < MOST_DAYS:
        raise CallerError(f"`since` is not after `until`, and at most {MOST_DAYS} days are told at once.")
    usage = services.metering.usage
    rows = [] if usage is None else await usage.used(whose, since_day=first, until_day=last)
    return UsageView(
        since=_iso(first),
        until=_iso(last),
        total=UsageTotal(
            jobs=sum(row.completed + row.failed + row.cancelled + row.expired for row in rows),
            seconds=sum(row.seconds for row in rows),
            uploaded_bytes=sum(row.uploaded_bytes for row in rows),
        ),
        quota=None if whose is None else await _quota(request, whose),
        data=[_row(row) for row in rows],
    )


async def _quota(request: AnyRequest, tenant: TenantId) -> QuotaView:
    metering = gateway_of(request).services.metering
    quota, spent = metering.quotas.of(tenant), await metering.spent(tenant)
    return QuotaView(
        requests_per_minute=quota.requests_per_minute,
        gpu_seconds_per_day=quota.gpu_seconds_per_day,
        gpu_seconds_today=spent.seconds,
        gpu_seconds_waiting=spent.waiting_s,
        upload_bytes_per_day=quota.upload_bytes_per_day,
        upload_bytes_today=spent.uploaded_bytes,
        priority_ceiling=quota.priority_ceiling.value,
    )


def _row(row: Used) -> UsageRow:
    return UsageRow(
        day=_iso(row.day),
        tenant=row.tenant,
        model=row.model,
        completed=row.completed,
        failed=row.failed,
        cancelled=row.cancelled,
        expired=row.expired,
        seconds=row.seconds,
        uploaded_bytes=row.uploaded_bytes,
    )


def _day(text: str, name: str) -> int:
    try:
        return (datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date() - _EPOCH).days
    except ValueError as error:
        raise CallerError(f"{name!r} must be a day such as 2026-11-22, not {text[:64]!r}.") from error


def _iso(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()

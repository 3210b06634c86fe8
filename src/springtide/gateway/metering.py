"""Quotas at the door: requests a minute, seconds of workers and uploaded bytes a day, and the class of priority.

Promises: who is over a quota is told which one, by how much and when to come again; tenants without quotas cost a look
into a dictionary. Requests are counted by each gateway for itself. Seconds and bytes are those on record for all
gateways, looked up again after KEPT_S, and what this one let in since: several gateways together may let in what the
others do within that time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from springtide.domain.clock import Clock, in_words
from springtide.domain.errors import Forbidden, OutcomeUnknown, Refused, Unavailable
from springtide.domain.ids import TenantId
from springtide.domain.job import Priority
from springtide.domain.tenant import Quotas
from springtide.gateway.headers import iso8601
from springtide.ledger.usage import DAY_S, Spent, Usage, day_of
from springtide.policy.quotas import MINUTE_S, Bucket
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)

KEPT_S = 2.0  # age of daily figures that may still be used
REST = 50.0  # times as long as a look took, until the next: over a long backlog it costs 2 % of a processor at most
WRITE_EVERY_S = 1.0
RATE = "springtide.rate"  # in the scope's state: the bucket that a request was drawn from
MOST_BUCKETS = 10_000  # then they begin anew
_ORDER = (Priority.BATCH, Priority.STANDARD, Priority.INTERACTIVE)


class Violation(msgspec.Struct, frozen=True):
    """A quota that a request would break."""

    policy: str
    limit: float
    used: float
    unit: str


class _Day:
    """What one tenant has taken today."""

    __slots__ = ("bytes_in", "day", "let_in_s", "look_again_s", "looking", "spent", "unwritten")

    def __init__(self, day: int) -> None:
        self.day = day
        self.spent = Spent()
        self.look_again_s: float | None = None
        self.looking = asyncio.Lock()  # one looks for all who come meanwhile
        self.let_in_s = 0.0  # predicted seconds of jobs since the look
        self.bytes_in = 0  # since the look
        self.unwritten = 0  # bytes that are not on record yet


class Metering:
    """All quotas of this process."""

    def __init__(self, usage: Usage | None, quotas: Quotas, clock: Clock) -> None:
        """usage: None counts and limits nothing but requests."""
        self.usage = usage
        self.quotas = quotas
        self._clock = clock
        self._buckets: dict[TenantId, Bucket] = {}
        self._days: dict[TenantId, _Day] = {}
        self._loop = Loop("usage of uploads", self.write, every_s=WRITE_EVERY_S, clock=clock)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop(grace_s)
        try:
            await self.write()
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("the last uploads are not counted: %s", error)

    def request(self, tenant: TenantId, state: dict[str, Any]) -> None:
        """Count a request and leave in `state` where its answer finds the rate. Raises Refused (quota_exceeded)."""
        bucket = self._buckets.get(tenant)
        if bucket is None:
            most = self.quotas.of(tenant).requests_per_minute
            if most is None:
                return
            if len(self._buckets) >= MOST_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[tenant] = Bucket(most, self._clock.monotonic_s())
        state[RATE] = bucket
        if not bucket.draw(self._clock.monotonic_s()):
            most = bucket.per_minute
            raise exceeded(Violation("requests", most, most, "requests a minute"), tenant, bucket.next_in_s)

    def priority(self, tenant: TenantId, asked: Priority | None) -> Priority:
        """The class a job is queued in. Raises Forbidden where one above the tenant's ceiling is asked for."""
        ceiling = self.quotas.of(tenant).priority_ceiling
        if ceiling is Priority.INTERACTIVE:
            return asked or Priority.STANDARD
        if asked is None:
            return min(Priority.STANDARD, ceiling, key=_ORDER.index)
        if _ORDER.index(asked) > _ORDER.index(ceiling):
            allowed = ", ".join(_ORDER[: _ORDER.index(ceiling) + 1])
            raise Forbidden(
                f"The tenant {tenant} may not ask for priority {asked}; allowed: {allowed}.",
                code="priority_not_allowed",
                asked=asked.value,
                ceiling=ceiling.value,
            )
        return asked

    async def job(self, tenant: TenantId, predicted_s: float) -> None:
        """Let a job in that will take so long. Raises Refused (quota_exceeded)."""
        most = self.quotas.of(tenant).gpu_seconds_per_day
        if most is None:
            return
        day = await self._today(tenant)
        used_s = day.spent.seconds + day.spent.waiting_s + day.let_in_s
        if used_s + predicted_s > most:
            violation = Violation(
                "gpu-seconds", most, round(used_s, 3), "seconds of workers a day, what waits included"
            )
            more = f"this job is thought to take {predicted_s:,.4g} s"
            raise self._exceeded_today(violation, tenant, predicted_s, more=more)
        day.let_in_s += predicted_s

    async def upload(self, tenant: TenantId, size: int = 0) -> None:
        """Before bytes are taken in, `size` where it is announced. Raises Refused (quota_exceeded)."""
        most = self.quotas.of(tenant).upload_bytes_per_day
        if most is None:
            return
        day = await self._today(tenant)
        used = day.spent.uploaded_bytes + day.bytes_in
        if used + size > most or used >= most:
            violation = Violation("content-bytes", most, used, "uploaded bytes a day")
            more = f"this upload has {size:,}" if size else ""
            raise self._exceeded_today(violation, tenant, size, more=more)

    def uploaded(self, tenant: TenantId, size: int) -> None:
        """Bytes have been taken in."""
        day = self._day(tenant)
        day.bytes_in += size
        day.unwritten += size

    async def spent(self, tenant: TenantId) -> Spent:
        """What is known of today."""
        day = await self._today(tenant)
        uploaded = day.spent.uploaded_bytes + day.bytes_in
        return msgspec.structs.replace(day.spent, uploaded_bytes=uploaded)

    async def write(self) -> None:
        """Put on record what was uploaded since the last time."""
        by_day: dict[int, dict[TenantId, int]] = {}
        for tenant, day in self._days.items():
            if day.unwritten:
                by_day.setdefault(day.day, {})[tenant] = day.unwritten
        if self.usage is None:
            return
        for number, uploaded in by_day.items():
            await self.usage.add_uploaded(uploaded, number)
            for tenant, size in uploaded.items():
                self._days[tenant].unwritten -= size

    async def _today(self, tenant: TenantId) -> _Day:
        day = self._day(tenant)
        is_known = day.look_again_s is not None
        if self.usage is not None and self._is_due(day) and not (is_known and day.looking.locked()):
            async with day.looking:
                if self._is_due(day):
                    await self._look(tenant, day, self.usage)
        return day

    def _is_due(self, day: _Day) -> bool:
        return day.look_again_s is None or self._clock.monotonic_s() >= day.look_again_s

    async def _look(self, tenant: TenantId, day: _Day, usage: Usage) -> None:
        began_s = self._clock.monotonic_s()
        let_in_s, bytes_in, unwritten = day.let_in_s, day.bytes_in, day.unwritten
        day.spent = (await usage.spent([tenant], day.day)).get(tenant, Spent())
        done_s = self._clock.monotonic_s()
        day.look_again_s = done_s + max(KEPT_S, REST * (done_s - began_s))
        day.let_in_s -= let_in_s  # who came in meanwhile counts still
        day.bytes_in += unwritten - bytes_in

    def _day(self, tenant: TenantId) -> _Day:
        number = day_of(self._clock.now_s())
        day = self._days.get(tenant)
        if day is None or (day.day != number and not day.unwritten):
            day = self._days[tenant] = _Day(number)
        return day

    def _exceeded_today(self, violation: Violation, tenant: TenantId, wanted: float, *, more: str) -> Refused:
        now_s = self._clock.now_s()
        rest_s = DAY_S - now_s % DAY_S
        if wanted > violation.limit:
            then = "That is more than any day allows"
        else:
            then = f"The day ends in {in_words(rest_s)}, at {iso8601(now_s + rest_s)}"
        return exceeded(violation, tenant, rest_s, more=more, then=then)


def rate_headers(bucket: Bucket) -> list[tuple[bytes, bytes]]:
    """What an answer says of the rate, by the IETF's draft."""
    return [
        (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (bucket.per_minute, MINUTE_S)),
        (b"ratelimit", b'"requests";r=%d;t=%d' % (bucket.left, bucket.full_in_s + 1)),
    ]


def exceeded(
    violation: Violation, tenant: TenantId, after_s: float, *, more: str = "", then: str | None = None
) -> Refused:
    """By the IETF's draft on rate limit headers: `violated-policies` names the quota. more: what was asked for now.
    then: what is said of when it may be, in place of the seconds until then."""
    setting = {"requests": "requests_per_minute", "gpu-seconds": "gpu_seconds_per_day"}.get(violation.policy)
    limit = f"tenants.{tenant}.{setting or 'upload_mb_per_day'}"
    return Refused(
        f"The tenant {tenant} has used {violation.used:,.12g} of {violation.limit:,.12g} {violation.unit}"
        f"{more and f'; {more}'}. {then or f'Try again in {max(1, round(after_s))} s'} ({limit}).",
        code="quota_exceeded",
        retry_after_s=after_s,
        limit=limit,
        value=violation.limit,
        used=violation.used,
        **{"violated-policies": [violation.policy]},
    )

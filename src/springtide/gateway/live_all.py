"""All jobs of a tenant for clients that follow the lot, those to come included.

The ledger is asked for new jobs once a second for each tenant that somebody follows so; each job is then followed like
any other. Promises: every job that is on record is told of, at the latest by its end, as long as a client follows fewer
than MOST_JOBS at once and no more than that come in a second; past that the client is told so.
"""

from __future__ import annotations

import asyncio
import logging

from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import JobId, TenantId
from springtide.domain.job import LIVE, Job
from springtide.gateway.live_hub import Hub
from springtide.gateway.live_listener import Listener, Told, told_json
from springtide.gateway.services import GatewayServices
from springtide.ledger.protocol import JobFilter

log = logging.getLogger(__name__)

MOST_JOBS = 1000  # that one client follows at once
LOOK_EVERY_S = 1.0
OVERLAP_S = 5.0  # between two looks: another gateway's clock may lag, and its commit take a moment
PAGE = 500


class _Tenant:
    """Who follows it, and which of its newest jobs they were told of."""

    def __init__(self, since_s: float) -> None:
        self.listeners: set[Listener] = set()
        self.since_s = since_s
        self.known: dict[JobId, float] = {}  # created at, back to the overlap
        self.task: asyncio.Task[None] | None = None


class AllJobs:
    """Follows whole tenants."""

    def __init__(self, services: GatewayServices, hub: Hub) -> None:
        self._ledger = services.ledger
        self._clock = services.clock
        self._hub = hub
        self._tenants: dict[TenantId, _Tenant] = {}

    async def add(self, listener: Listener, tenant: TenantId) -> None:
        """Tell of every job that lives, and of each one to come. Raises Unavailable."""
        found = self._tenants.setdefault(tenant, _Tenant(self._clock.now_s()))
        found.listeners.add(listener)
        listener.follows_all = True
        living: list[Job] = []
        if found.task is None:
            found.task = asyncio.create_task(self._look_out(tenant, found), name="new jobs of a tenant")
            living += [job for job in await self._new_jobs(tenant, found) if not job.status.is_terminal]
        where = JobFilter(tenant=tenant, statuses=tuple(LIVE))
        living += await self._ledger.list(where, after=None, limit=MOST_JOBS + 1)
        for job in living:
            await self._follow(listener, job)

    def remove(self, listener: Listener, tenant: TenantId) -> None:
        """Tell of no further jobs; those that are followed already go on."""
        listener.follows_all = False
        found = self._tenants.get(tenant)
        if found is not None:
            found.listeners.discard(listener)
            if not found.listeners:
                del self._tenants[tenant]
                if found.task is not None:
                    found.task.cancel()

    async def _look_out(self, tenant: TenantId, found: _Tenant) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                fresh = await self._new_jobs(tenant, found)
                for listener in list(found.listeners):
                    if len(fresh) > MOST_JOBS:
                        detail = f"More than {MOST_JOBS} jobs came in a second; not all of them are followed."
                        listener.say(told_json("problem", None, code="too_many_jobs", detail=detail))
                    for job in fresh[-MOST_JOBS:]:
                        await self._follow(listener, job)
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("new jobs of %s are told later: %s", tenant, error)
            except Exception:
                log.exception("new jobs of %s could not be told", tenant)

    async def _new_jobs(self, tenant: TenantId, found: _Tenant) -> list[Job]:
        """Oldest first; of very many the newest."""
        now_s = self._clock.now_s()
        where = JobFilter(tenant=tenant, created_after_s=found.since_s - OVERLAP_S)
        fresh: list[Job] = []
        after: JobId | None = None
        while True:
            page = await self._ledger.list(where, after=after, limit=PAGE)
            fresh += [job for job in page if job.id not in found.known]
            if len(page) < PAGE or len(fresh) > MOST_JOBS:
                break
            after = page[-1].id
        found.since_s = now_s
        found.known.update((job.id, job.created_at_s) for job in fresh)
        for job, created_at_s in list(found.known.items()):
            if created_at_s < now_s - 2 * OVERLAP_S:
                del found.known[job]
        return fresh[::-1]

    async def _follow(self, listener: Listener, job: Job) -> None:
        if not listener.follows_all or job.id in listener.places:
            return
        if len(listener.places) >= MOST_JOBS:
            listener.say(too_many(job.id))
            return
        await self._hub.subscribe(listener, job, None)


def too_many(job: JobId) -> Told:
    detail = f"A client follows at most {MOST_JOBS} jobs at once; this one is not followed."
    return told_json("problem", job, code="too_many_jobs", detail=detail)

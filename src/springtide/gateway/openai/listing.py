"""Pages of jobs of several models, in either order: OpenAI's lists go both ways and know no models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import Job
from springtide.ledger.protocol import JobFilter, Ledger


async def page_of(
    ledger: Ledger, tenant: TenantId, models: Sequence[ModelName], *, after: JobId | None, limit: int, ascending: bool
) -> list[Job]:
    """Jobs of these models by time of creation. A few indexed queries: videos are made by a few models at most."""
    if limit == 0 or not models:
        return []
    pages = await asyncio.gather(
        *(
            ledger.list(JobFilter(tenant=tenant, model=model, oldest_first=ascending), after=after, limit=limit)
            for model in models
        )
    )
    jobs = sorted((job for page in pages for job in page), key=lambda job: job.id, reverse=not ascending)
    return jobs[:limit]

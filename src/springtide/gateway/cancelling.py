"""Asking a job to stop, without HTTP."""

from __future__ import annotations

from springtide.domain.job import Job, JobRef, JobStatus
from springtide.domain.tickets import ticket_of
from springtide.gateway.services import GatewayServices


async def ask_to_stop(services: GatewayServices, job: Job) -> JobStatus | None:
    """The broker's word on a job that had not ended on record: CANCELLED, CANCELLING, how it has ended meanwhile, or
    None where it is gone (ended and forgotten: look at the record)."""
    ref = JobRef(job.model, job.id)
    [status] = await services.broker.cancel([ref], services.clock.now_s())
    if status is None:
        # On record and not queued: its enqueue was lost and the sweep has not come by. Enqueueing is idempotent.
        [fresh] = await services.ledger.get([job.id])
        if fresh is not None and not fresh.status.is_terminal:
            await services.broker.enqueue([ticket_of(fresh)], services.clock.now_s())
            [status] = await services.broker.cancel([ref], services.clock.now_s())
    return status

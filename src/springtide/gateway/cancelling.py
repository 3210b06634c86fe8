"""Asking a job to stop, without HTTP."""

from __future__ import annotations

from springtide.domain.job import Job, JobStatus
from springtide.domain.tickets import end_of, ticket_of
from springtide.gateway.services import GatewayServices
from springtide.policy.pipelines import step_jobs


async def ask_to_stop(services: GatewayServices, job: Job) -> JobStatus | None:
    """The broker's word on a job that had not ended on record: CANCELLED, CANCELLING, how it has ended meanwhile, or
    None where it is gone (ended and forgotten: look at the record)."""
    if job.plan is not None:
        return await _of_a_pipeline(services, job)
    if job.queue not in services.units:
        return await _of_a_removed_model(services, job)
    [status] = await services.broker.cancel([job.ref], services.clock.now_s())
    if status is None:
        # On record and not queued: its enqueue was lost and the sweep has not come by. Enqueueing is idempotent.
        [fresh] = await services.ledger.get([job.id])
        if fresh is not None and not fresh.status.is_terminal:
            await services.broker.enqueue([ticket_of(fresh)], services.clock.now_s())
            [status] = await services.broker.cancel([job.ref], services.clock.now_s())
    return status


async def _of_a_pipeline(services: GatewayServices, pipeline: Job) -> JobStatus | None:
    """The wish goes on record first, then the running step is told: no step can begin unseen in between."""
    await services.ledger.ask_cancel(pipeline.id, services.clock.now_s())
    for step in await services.ledger.get(step_jobs(pipeline)):
        if step is not None and not step.status.is_terminal:
            return await ask_to_stop(services, step)
    return None


async def _of_a_removed_model(services: GatewayServices, job: Job) -> JobStatus:
    """A job of a model that is not served here: perhaps no worker and no recorder are left for it."""
    now_s = services.clock.now_s()
    [live] = await services.broker.peek([job.ref], now_s)
    [status] = await services.broker.cancel([job.ref], now_s)
    if live is not None and status is JobStatus.CANCELLING:
        [view] = await services.broker.queues([job.queue], now_s)
        if any(worker.worker == live.worker for worker in view.workers):
            return status  # a rolling change: it still runs, and its worker will stop it
    await services.ledger.record([end_of(job, JobStatus.CANCELLED, now_s)])
    return JobStatus.CANCELLED

"""From a job on record to what the broker queues: one function, so that a submit and a rebuild agree. And to its end,
where no broker has a say in it."""

from __future__ import annotations

import msgspec

from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.lease import Outcome, Payload, Ticket

_encoder = msgspec.msgpack.Encoder()


def ticket_of(job: Job) -> Ticket:
    """The ticket of a live job. One noted as in progress names its worker, which gets one TTL to say it still runs."""
    holder = job.worker if job.status is JobStatus.IN_PROGRESS else None
    payload = Payload(inputs=job.inputs, files=job.input_files, traceparent=job.traceparent)
    return Ticket(
        id=job.id,
        model=job.queue,
        tenant=job.tenant,
        priority=job.priority,
        payload=_encoder.encode(payload),
        enqueued_at_s=job.created_at_s,
        timeout_s=job.timeout_s,
        max_attempts=job.max_attempts,
        predicted_s=job.predicted_s,
        start_deadline_at_s=job.start_deadline_at_s,
        attempt=job.attempt,
        held_by=holder,
        started_at_s=None if holder is None else job.started_at_s,
        checkpoint=job.checkpoint,
    )


def end_of(job: Job, status: JobStatus, now_s: float, *, error: JobError | None = None) -> Outcome:
    """The end of a job that is in no queue, for the ledger."""
    return Outcome(
        seq="", id=job.id, model=job.queue, status=status, attempt=job.attempt, finished_at_s=now_s, error=error
    )

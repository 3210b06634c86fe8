"""Deleting an ended job at once, with the files that no other job has, without HTTP.

The order is that of `controller.retention`: the record first says that the job is gone and nobody has its files, then
their bytes go, and their rows last. What a crash leaves in between, the retention's next round finds and finishes.
"""

from __future__ import annotations

from springtide.domain.errors import Conflict
from springtide.domain.job import Job
from springtide.gateway.services import GatewayServices
from springtide.policy.pipelines import step_jobs

_LONG_AGO_S = 7 * 86_400.0  # beyond any time that orphans are kept for, and the hour after it


async def delete_job(services: GatewayServices, job: Job) -> None:
    """Delete `job`, its steps and its files. Raises Conflict where it lives or is a step."""
    if job.parent is not None:
        raise Conflict(f"The job is step {job.step} of the pipeline {job.parent}; delete that one.", code="is_a_step")
    if not job.status.is_terminal:
        raise Conflict("The job has not ended; cancel it first, then delete it.", code="still_live")
    steps = await services.ledger.get(step_jobs(job)) if job.plan is not None else []
    whole = [job, *(step for step in steps if step is not None)]
    files = list({ref.id: None for each in whole for ref in (*each.input_files, *each.output_files)})
    loose_s = services.clock.now_s() - services.settings.keep_orphans_s - _LONG_AGO_S
    await services.ledger.forget([job.id], loose_since_s=loose_s)
    found = await services.ledger.get_blobs(files) if files else []
    gone = [blob.ref.id for blob in found if blob is not None and blob.loose_since_s == loose_s]
    for blob in gone:
        await services.blobs.delete(blob)
    if gone:
        await services.ledger.drop_blobs(gone)

"""Doing an ended job again: a new job with the same inputs that names the old one; of a pipeline only what is left.

Terminal states are final, so a retry is a job of its own (`retry_of`). A pipeline's retry adopts the results of the
steps that completed and begins at the first one that did not. Where files of an adopted result are needed and are gone
from the blob store, that step is done again as well.

Promises: retrying a job twice gives the same new job, so a double click, or the same command once more, costs nothing.
Refuses jobs that live or have completed, single steps, and jobs whose own input files are gone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from springtide.domain.errors import Conflict, NotFound
from springtide.domain.ids import JobId
from springtide.domain.job import Adopted, BlobRef, Job, JobStatus, Plan, PlanStep
from springtide.domain.tenant import Tenant
from springtide.domain.tickets import ticket_of
from springtide.gateway.pipeline_jobs import as_pipeline
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import Prepared, Submission
from springtide.policy.pipelines import Steps, plan_of, sources_of, step_job, step_jobs
from springtide.runtime.ids import new_job_id

_AGAIN = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})


class Retrying:
    """Prepares retries; `Submission.commit` takes them in like any job."""

    def __init__(self, services: GatewayServices, submission: Submission) -> None:
        self._services = services
        self._submission = submission

    async def prepare(
        self, job: Job, tenant: Tenant, *, key: str | None, traceparent: str | None, id: JobId | None = None
    ) -> Prepared:
        """`job` once more, as job `id` where that is given. Raises Conflict where that makes no sense, NotFound where a
        model is not served any more."""
        if job.parent is not None:
            raise Conflict(
                f"The job is step {job.step} of the pipeline {job.parent}; retry that one.", code="nothing_to_retry"
            )
        if job.status not in _AGAIN:
            how = "has completed" if job.status is JobStatus.COMPLETED else "has not ended yet"
            message = f"The job {how}; only failed, cancelled and expired jobs are retried."
            raise Conflict(message, code="nothing_to_retry", job_status=job.status.value)
        now_s = self._services.clock.now_s()
        patience_s = None if job.start_deadline_at_s is None else job.start_deadline_at_s - job.created_at_s
        fresh = msgspec.structs.replace(
            job,
            id=id or new_job_id(),
            status=JobStatus.QUEUED,
            created_at_s=now_s,
            start_deadline_at_s=None if patience_s is None else now_s + patience_s,
            idempotency_key=key or f"retry/{job.id}",
            attempt=0,
            worker=None,
            started_at_s=None,
            finished_at_s=None,
            error=None,
            checkpoint=None,
            cancel_asked_at_s=None,
            retry_of=job.id,
            traceparent=traceparent or job.traceparent,
        )
        if job.plan is None:
            again, first = await self._single(fresh), None
        else:
            again, first = await self._pipeline(fresh, job)
        again = msgspec.structs.replace(again, fingerprint=hashlib.sha256(f"retry/{job.id}".encode()).hexdigest())
        return Prepared(again, ticket_of(first or again), frozenset(), tenant, first)

    async def _single(self, job: Job) -> Job:
        await self._require(job.input_files)
        routed = self._services.routing.again(job.model, job.unit, is_pinned=job.is_pinned)
        served = routed.served
        return msgspec.structs.replace(
            job,
            unit=served.unit,
            is_pinned=routed.is_pinned,
            model_version=served.model.version,
            timeout_s=served.timeout_s,
            max_attempts=served.max_attempts,
        )

    async def _pipeline(self, fresh: Job, old: Job) -> tuple[Job, Job]:
        """The new pipeline and the job of the step it begins with."""
        plan = plan_of(old)
        steps = await self._services.ledger.get(step_jobs(old))
        results = [_result(step, job) for step, job in zip(plan.steps, steps, strict=True)]
        todo = await self._todo(plan, results)
        await self._require(ref for number in todo for ref in plan.steps[number].input_files)
        again = [
            self._once_more(step) if number in todo else msgspec.structs.replace(step, adopted=results[number])
            for number, step in enumerate(plan.steps)
        ]
        nothing_yet: Steps = [None] * len(again)
        pipeline = as_pipeline(fresh, Plan(steps=tuple(again)))
        return pipeline, step_job(pipeline, min(todo), nothing_yet, fresh.created_at_s)

    async def _todo(self, plan: Plan, results: Sequence[Adopted | None]) -> set[int]:
        """The steps to be done again: those without a result, and those whose files another one needs and are gone."""
        todo = {number for number, result in enumerate(results) if result is None} or {len(results) - 1}
        looked: set[int] = set()
        while left := todo - looked:
            number = left.pop()
            looked.add(number)
            for source, field in sources_of(plan.steps[number]):
                result = results[source]
                if source not in todo and result is not None and await self._gone(_files(result, field)):
                    todo.add(source)
        return todo

    def _once_more(self, step: PlanStep) -> PlanStep:
        routed = self._services.routing.again(step.model, step.unit, is_pinned=step.is_pinned)
        served = routed.served
        return msgspec.structs.replace(
            step,
            unit=served.unit,
            is_pinned=routed.is_pinned,
            model_version=served.model.version,
            timeout_s=served.timeout_s,
            max_attempts=served.max_attempts,
            adopted=None,
        )

    async def _require(self, files: Iterable[BlobRef]) -> None:
        gone = await self._gone(list(files))
        if gone:
            named = ", ".join(f"{ref.id} ({ref.name})" if ref.name else ref.id for ref in gone)
            raise Conflict(f"Input files are gone: {named}. Submit the job anew with them.", code="input_missing")

    async def _gone(self, files: Sequence[BlobRef]) -> list[BlobRef]:
        async def is_gone(ref: BlobRef) -> bool:
            try:
                await self._services.blobs.size(ref.id)
            except NotFound:
                return True
            return False

        return [ref for ref, gone in zip(files, await asyncio.gather(*map(is_gone, files)), strict=True) if gone]


def _result(step: PlanStep, job: Job | None) -> Adopted | None:
    if step.adopted is not None:
        return step.adopted
    if job is None or job.status is not JobStatus.COMPLETED:
        return None
    return Adopted(job=job.id, outputs=job.outputs or {}, output_files=job.output_files)


def _files(result: Adopted, field: str) -> list[BlobRef]:
    value = result.outputs.get(field)
    named = value if isinstance(value, list) else [value]
    return [ref for ref in result.output_files if ref.id in named]

"""Reading and steering jobs: status, list, cancel, result, output files, attempts, live events.

The ledger says which jobs exist and how they ended; the broker, where it answers, says how the live ones are doing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from springtide.domain.errors import CallerError, Conflict, NotFound, Refused
from springtide.domain.ids import BatchId, JobId, ModelName, is_batch_id, is_job_id
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import LiveJob, is_seq
from springtide.gateway import deleting, downloads, problems
from springtide.gateway import headers as http
from springtide.gateway.cancelling import ask_to_stop
from springtide.gateway.context import AnyRequest, Gateway, base_of, gateway_of, headers_of, job_of, tenant_of, text
from springtide.gateway.downloads import Redirect
from springtide.gateway.schemas import AttemptList, ExplainView, JobPage, JobView
from springtide.gateway.standing import Standing
from springtide.gateway.views import attempt_view, error_view, job_view, output_file, outputs_view, standing_view
from springtide.ledger.protocol import JobFilter

CALLERS_FAULT = frozenset({"invalid_input", "bad_media", "too_large"})  # job errors that the request itself caused
_INSTANT = "An instant: RFC 3339 with a time zone, or Unix seconds."
POLL_S = (1.0, 30.0)  # what Retry-After may suggest while a job runs


@get("/v1/jobs/{job_id:str}", tags=["jobs"], summary="Status of a job")
async def get_job(request: AnyRequest, job_id: FromPath[str]) -> JobView:
    """A job in any state; while it lives with stage, progress, place in the queue, why it waits, and estimate."""
    gateway = gateway_of(request)
    job = await job_of(request, job_id)
    standing = await gateway.standings.one(job)
    if standing.live is not None and standing.live.status.is_terminal:  # between the two looks: on record by now?
        standing = await gateway.standings.one(await job_of(request, job_id))
    return await _shown(gateway, standing, base_of(request, headers_of(request)))


@get("/v1/jobs", tags=["jobs"], summary="List jobs, newest first")
async def list_jobs(  # noqa: PLR0913  # Litestar reads the parameters as those of the query
    request: AnyRequest,
    *,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    model: Annotated[str | None, QueryParameter(description="Only jobs of this model.")] = None,
    status: Annotated[list[JobStatus] | None, QueryParameter(description="Only jobs recorded so.")] = None,
    parent: Annotated[str | None, QueryParameter(description="The steps of this pipeline instead.")] = None,
    batch: Annotated[str | None, QueryParameter(description="Only jobs that came in with this batch.")] = None,
    created_after: Annotated[str | None, QueryParameter(description=_INSTANT)] = None,
    created_before: Annotated[str | None, QueryParameter(description=_INSTANT)] = None,
) -> JobPage:
    """Jobs of the tenant, without the steps of pipelines. States are filtered as recorded: a job that just started may
    still count as queued. A model that is not served and never had a job is 404."""
    _check_ids(is_job_id, "job", after=after, parent=parent)
    _check_ids(is_batch_id, "batch", batch=batch)
    gateway = gateway_of(request)
    where = JobFilter(
        tenant=tenant_of(request).id,
        model=None if model is None else ModelName(model),
        parent=None if parent is None else JobId(parent),
        batch=None if batch is None else BatchId(batch),
        statuses=tuple(status or ()),
        created_after_s=http.instant("created_after", created_after),
        created_before_s=http.instant("created_before", created_before),
    )
    ledger = gateway.services.ledger
    jobs = await ledger.list(where, after=None if after is None else JobId(after), limit=limit + 1)
    if not jobs and model is not None and model not in gateway.services.models:
        # One that is served no more keeps its jobs; one that never was is a mistake in the question.
        any_job = await ledger.list(JobFilter(tenant=where.tenant, model=where.model), after=None, limit=1)
        if not any_job:
            gateway.submission.served(model)
    page = jobs[:limit]
    base = base_of(request, headers_of(request))
    return JobPage(
        data=[await _shown(gateway, each, base, eta=False) for each in await gateway.standings.of(page)],
        has_more=len(jobs) > limit,
        next_after=page[-1].id if len(jobs) > limit else None,
    )


@post("/v1/jobs/{job_id:str}/cancel", status_code=202, tags=["jobs"], summary="Cancel a job")
async def cancel_job(request: AnyRequest, job_id: FromPath[str]) -> Response[JobView]:
    """202 while a running attempt is being stopped, 200 once the job is on record as cancelled, 409 if it had ended."""
    gateway = gateway_of(request)
    job = await job_of(request, job_id)
    base = base_of(request, headers_of(request))
    if not job.status.is_terminal:
        status = await ask_to_stop(gateway.services, job)
        settle_s = gateway.services.settings.record_wait_s if status in (None, *_ENDED) else 0.0
        job = await gateway.live.wait(await job_of(request, job_id), settle_s)
    if not job.status.is_terminal:
        live = LiveJob(id=job.id, status=JobStatus.CANCELLING, attempt=job.attempt, started_at_s=job.started_at_s)
        standing = await gateway.standings.one(job)
        return Response(
            standing_view(msgspec.structs.replace(standing, live=live), base, gateway.links), status_code=202
        )
    if job.status is not JobStatus.CANCELLED:
        raise Conflict(f"The job has already {_ENDED[job.status]}.", code="already_ended", job_status=job.status.value)
    return Response(standing_view(await gateway.standings.one(job), base, gateway.links), status_code=200)


@get("/v1/jobs/{job_id:str}/explain", tags=["jobs"], summary="Why a job waits or failed")
async def explain_job(request: AnyRequest, job_id: FromPath[str]) -> ExplainView:
    """In words and as a closed list of reasons with figures: place in the queue, limits, no capacity, a cold start with
    its usual length, an engine that does not load, back-off, deadlines, attempts; and what would help."""
    gateway = gateway_of(request)
    return await gateway.explaining.explain(await gateway.standings.one(await job_of(request, job_id)))


@delete("/v1/jobs/{job_id:str}", status_code=204, tags=["jobs"], summary="Delete a job")
async def delete_job(request: AnyRequest, job_id: FromPath[str]) -> None:
    """An ended job, its steps, and the files that no other job has, at once. 409 while it lives: cancel it first."""
    await deleting.delete_job(gateway_of(request).services, await job_of(request, job_id))


@get("/v1/jobs/{job_id:str}/result", tags=["jobs"], summary="Outputs of a completed job")
async def get_result(request: AnyRequest, job_id: FromPath[str]) -> Response[dict[str, Any]]:
    """The outputs, with each file as `{id, url, media_type, bytes, sha256, name}`. 409 with Retry-After until the job
    has ended; a job that gave no result answers with its error."""
    job = await job_of(request, job_id)
    if job.status is JobStatus.COMPLETED:
        return Response(outputs_view(job, base_of(request, headers_of(request)), gateway_of(request).links))
    return await _no_result(request, job)


@get(
    "/v1/jobs/{job_id:str}/files/{field:str}",
    tags=["jobs"],
    summary="Bytes of an output file",
    media_type="application/octet-stream",
)
async def get_output_file(
    request: AnyRequest, job_id: FromPath[str], field: FromPath[str], redirect: Redirect = None
) -> Response[bytes]:
    """A file of the result, by the name of its output field (or the file's id where a field holds several)."""
    job = await job_of(request, job_id)
    if job.status is not JobStatus.COMPLETED:
        return await _no_result(request, job)
    ref = output_file(job, field)
    if ref is None:
        raise NotFound(f"The result has no single file {field[:64]!r}.", code="unknown_file")
    return await downloads.download(request, gateway_of(request).services, ref, redirect=redirect)


@get("/v1/jobs/{job_id:str}/attempts", tags=["jobs"], summary="Attempts that gave no result")
async def get_attempts(request: AnyRequest, job_id: FromPath[str]) -> AttemptList:
    """Attempts on record that failed, were lost or cancelled, in order."""
    job = await job_of(request, job_id)
    attempts = await gateway_of(request).services.ledger.attempts(job.id)
    return AttemptList(data=[attempt_view(attempt) for attempt in attempts])


@get("/v1/jobs/{job_id:str}/events", tags=["jobs"], summary="Live events (SSE)", media_type="text/event-stream")
async def get_events(
    request: AnyRequest,
    job_id: FromPath[str],
    last_event_id: Annotated[str | None, QueryParameter(description="As the header.")] = None,
) -> Response[bytes]:
    """Server-sent events up to the job's end, resumed after `Last-Event-ID`. 204: over, and all of it was seen."""
    gateway = gateway_of(request)
    job = await job_of(request, job_id)
    after = text(headers_of(request), b"last-event-id") or last_event_id
    if after is not None and not is_seq(after):
        raise CallerError(f"{after[:64]!r} is not the id of an event.", code="bad_event_id")
    if gateway.live.streams >= gateway.services.settings.max_streams:
        raise Refused("Too many event streams are open.", retry_after_s=5.0, code="no_capacity")
    lines = await gateway.live.stream(job, after)
    if lines is None:
        return Response(content=b"", status_code=204)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    stream: Any = Stream(lines, media_type="text/event-stream", headers=headers)
    return stream


def _check_ids(is_one: Callable[[str], bool], what: str, **values: str | None) -> None:
    for name, value in values.items():
        if value is not None and not is_one(value):
            raise CallerError(f"{name!r} must be the id of a {what}, not {value[:64]!r}.", code="bad_cursor")


_ENDED = {
    JobStatus.COMPLETED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "been cancelled",
    JobStatus.EXPIRED: "expired",
}


async def _shown(gateway: Gateway, standing: Standing, base: str, *, eta: bool = True) -> JobView:
    when = await gateway.standings.eta(standing) if eta else None
    return standing_view(standing, base, gateway.links, eta=when, waiting=await gateway.standings.waiting(standing))


async def _no_result(request: AnyRequest, job: Job) -> Response[Any]:
    """Why there is no result (yet)."""
    if not job.status.is_terminal:
        gateway = gateway_of(request)
        standing = await gateway.standings.one(job)
        eta = await gateway.standings.eta(standing)
        least_s, most_s = POLL_S
        after_s = min(max(eta.s if eta is not None else least_s, least_s), most_s)
        shown = job_view(job, "", None, live=standing.live)
        return problems.problem(
            request,
            409,
            "not_finished",
            f"The job is {shown.status}; its result is not there yet.",
            headers={"retry-after": http.retry_after(after_s)},
            job_status=shown.status,
            progress=shown.progress,
            eta_s=None if eta is None else eta.s,
        )
    error = error_view(job.error)
    code = error.code if error else f"job_{job.status.value}"
    return problems.problem(
        request,
        422 if code in CALLERS_FAULT else 409,
        code,
        error.message if error else f"The job has {_ENDED[job.status]} and has no result.",
        headers={"x-should-retry": "false"},
        job_status=job.status.value,
        errors=(error.details.get("errors") if error else None),
        error=error,
    )

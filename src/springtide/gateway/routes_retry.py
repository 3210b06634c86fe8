"""`POST /v1/jobs/{id}/retry`: a job that gave no result, once more."""

from __future__ import annotations

from litestar import post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from springtide.gateway import headers as http
from springtide.gateway.accept_spans import began_s, tell_accepted
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, job_of, tenant_of, text
from springtide.gateway.routes_submit import answer


@post("/v1/jobs/{job_id:str}/retry", status_code=202, tags=["jobs"], summary="Do a job again")
async def retry_job(request: AnyRequest, job_id: FromPath[str]) -> ASGIResponse:
    """A new job (`retry_of`) with the inputs of one that failed, was cancelled or expired; a pipeline goes on at its
    first step without a result. Retrying the same job again answers with the same new job (`Idempotency-Replayed`),
    unless the request brings an `Idempotency-Key` of its own."""
    gateway = gateway_of(request)
    gateway.submission.check_open()
    headers = headers_of(request)
    came_s = began_s(gateway.services.clock)
    wait_s = http.wait_preference(text(headers, b"prefer"), max_wait_s=gateway.services.settings.max_wait_s)
    prepared = await gateway.retrying.prepare(
        await job_of(request, job_id),
        tenant_of(request),
        key=http.idempotency_key(text(headers, b"idempotency-key")),
        traceparent=http.traceparent(text(headers, b"traceparent")),
    )
    inserted = await gateway.submission.commit(prepared)
    tell_accepted(gateway.services.clock, came_s, [inserted])
    return await answer(gateway, inserted, base=base_of(request, headers), wait_s=wait_s)

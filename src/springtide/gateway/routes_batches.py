"""Batches: up to ten thousand jobs in one request, followed, cancelled and retried as one (docs/decisions/0028).

Refuses files in the body: upload them first and name their ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from springtide.domain.errors import CallerError, Conflict, SpringtideError
from springtide.domain.ids import BatchId, is_batch_id
from springtide.gateway import batch_body, problems
from springtide.gateway import headers as http
from springtide.gateway.batch_intake import ToProblem
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, tenant_of, text
from springtide.gateway.schemas_batches import BatchItemPage, BatchItemView, BatchPage, BatchView
from springtide.gateway.submission import SubmitRequest
from springtide.ledger.batches import Batch

NDJSON = "application/x-ndjson"
STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled", "expired", "refused", "gone")
_encoder = msgspec.json.Encoder()


@post("/v1/jobs/batches", status_code=202, tags=["batches"], summary="Submit many jobs")
async def submit_batch(request: AnyRequest) -> Response[BatchView]:
    """Accept up to 10,000 jobs in one request: NDJSON, a job a line, or `{"jobs": [...]}`. Each item is accepted or
    refused on its own: look at `counts.refused`. The answer comes once every accepted one is on disk."""
    gateway = gateway_of(request)
    gateway.submission.check_open()
    headers = headers_of(request)
    common = _common(request)
    with await batch_body.read(request, headers, gateway.services.settings) as sent:
        batch, is_new = await gateway.batch_intake.take_in(sent, common, _to_problem(request))
    return await _accepted(request, batch, replayed=not is_new, base=base_of(request, headers))


@get("/v1/jobs/batches", tags=["batches"], summary="List batches, newest first")
async def list_batches(
    request: AnyRequest,
    *,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=50)] = 10,
) -> BatchPage:
    """The tenant's batches."""
    if after is not None and not is_batch_id(after):
        raise CallerError(f"'after' must be the id of a batch, not {after[:64]!r}.", code="bad_cursor")
    gateway = gateway_of(request)
    batches = gateway.services.batches
    found = await batches.list(tenant_of(request).id, after=None if after is None else BatchId(after), limit=limit + 1)
    base = base_of(request, headers_of(request))
    return BatchPage(
        data=[await gateway.batch_standings.view(batch, base) for batch in found[:limit]],
        has_more=len(found) > limit,
        next_after=found[limit - 1].id if len(found) > limit else None,
    )


@get("/v1/jobs/batches/{batch_id:str}", tags=["batches"], summary="Status of a batch")
async def get_batch(request: AnyRequest, batch_id: FromPath[str]) -> BatchView:
    """Counts by state, one figure of progress over all, and when it will be done."""
    standings = gateway_of(request).batch_standings
    batch = await standings.find(batch_id, tenant_of(request))
    return await standings.view(batch, base_of(request, headers_of(request)))


@get("/v1/jobs/batches/{batch_id:str}/items", tags=["batches"], summary="What became of each item")
async def get_items(
    request: AnyRequest,
    batch_id: FromPath[str],
    *,
    after: Annotated[int, QueryParameter(ge=-1, description="The last place of the page before.")] = -1,
    limit: Annotated[int | None, QueryParameter(ge=1, le=1000)] = None,
    status: Annotated[list[str] | None, QueryParameter(description=f"Only these: {', '.join(STATUSES)}.")] = None,
) -> Response[BatchItemPage]:
    """Items in the order of the request, with results, errors and problems. With `Accept: application/x-ndjson` all of
    them, an item a line; else a page of 100 (`limit`)."""
    for one in status or ():
        if one not in STATUSES:
            listed = ", ".join(STATUSES)
            raise CallerError(f"'status' is one of {listed}, not {one[:64]!r}.", code="invalid_request")
    standings = gateway_of(request).batch_standings
    batch = await standings.find(batch_id, tenant_of(request))
    pages = standings.items(batch, base_of(request, headers_of(request)), after=after)
    if NDJSON in (text(headers_of(request), b"accept") or ""):
        stream: Any = Stream(_lines(pages, limit, status), media_type=NDJSON)
        return stream
    most = limit or 100
    found = [item async for item in _wanted(pages, most + 1, status)]
    return Response(
        BatchItemPage(
            data=found[:most],
            has_more=len(found) > most,
            next_after=found[most - 1].place if len(found) > most else None,
        )
    )


@post("/v1/jobs/batches/{batch_id:str}/cancel", status_code=202, tags=["batches"], summary="Cancel a batch")
async def cancel_batch(request: AnyRequest, batch_id: FromPath[str]) -> Response[BatchView]:
    """Cancel every job of it that lives. 202 while some are still being stopped, 200 once none is left, 409 where the
    batch had ended."""
    standings = gateway_of(request).batch_standings
    batch = await standings.find(batch_id, tenant_of(request))
    base = base_of(request, headers_of(request))
    if (await standings.view(batch, base)).status == "completed":
        raise Conflict("Every item of the batch has already ended.", code="already_ended")
    await standings.cancel(batch)
    view = await standings.view(await standings.find(batch_id, tenant_of(request)), base)
    return Response(view, status_code=200 if view.status == "cancelled" else 202)


@post("/v1/jobs/batches/{batch_id:str}/retry", status_code=202, tags=["batches"], summary="Do failed jobs again")
async def retry_batch(request: AnyRequest, batch_id: FromPath[str]) -> Response[BatchView]:
    """A new batch (`retry_of`) of those jobs that failed, expired or were cancelled. Retrying the same batch again
    answers with the same new one, unless the request brings an `Idempotency-Key` of its own."""
    gateway = gateway_of(request)
    gateway.submission.check_open()
    common = _common(request)
    standings, base = gateway.batch_standings, base_of(request, headers_of(request))
    batch = await standings.find(batch_id, common.tenant)
    status = (await standings.view(batch, base)).status
    if status not in ("completed", "cancelled", "interrupted"):
        raise Conflict("The batch has not ended yet; retry it then, or single jobs of it now.", code="not_finished")
    jobs = await standings.unsuccessful(batch)
    if not jobs:
        raise Conflict("No job of the batch failed, expired or was cancelled.", code="nothing_to_retry")
    again, is_new = await gateway.batch_intake.again(batch, jobs, common, _to_problem(request))
    return await _accepted(request, again, replayed=not is_new, base=base)


def _common(request: AnyRequest) -> SubmitRequest:
    headers = headers_of(request)
    return SubmitRequest(
        model="",
        inputs={},
        tenant=tenant_of(request),
        traceparent=http.traceparent(text(headers, b"traceparent")),
        idempotency_key=http.idempotency_key(text(headers, b"idempotency-key")),
    )


def _to_problem(request: AnyRequest) -> ToProblem:
    def told(error: SpringtideError, place: int) -> dict[str, Any]:
        return problems.item_problem(request, error, f"/jobs/{place}")

    return told


async def _accepted(request: AnyRequest, batch: Batch, *, replayed: bool, base: str) -> Response[BatchView]:
    view = await gateway_of(request).batch_standings.view(batch, base)
    headers = {"location": view.status_url}
    if replayed:
        headers["idempotency-replayed"] = "true"
    return Response(view, status_code=202, headers=headers)


async def _wanted(
    pages: AsyncIterator[list[BatchItemView]], most: int | None, status: list[str] | None
) -> AsyncIterator[BatchItemView]:
    count = 0
    async for page in pages:
        for item in page:
            if status is None or item.status in status:
                yield item
                count += 1
                if count == most:
                    return


async def _lines(
    pages: AsyncIterator[list[BatchItemView]], most: int | None, status: list[str] | None
) -> AsyncIterator[bytes]:
    lines: list[bytes] = []
    async for item in _wanted(pages, most, status):
        lines.append(_encoder.encode(item))
        if len(lines) == 64:
            yield b"\n".join([*lines, b""])
            lines.clear()
    if lines:
        yield b"\n".join([*lines, b""])

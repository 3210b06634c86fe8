"""`/v1/batches`: a file of requests becomes jobs, and their answers files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter

from springtide.domain.ids import BatchId, BlobId, batch_id, is_batch_id
from springtide.gateway import headers as http
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, tenant_of, text
from springtide.gateway.keeping import missing_batch
from springtide.gateway.openai import files
from springtide.gateway.openai.batch_lines import ENDPOINTS, LineError, read_lines
from springtide.gateway.openai.batches import file_bytes
from springtide.gateway.openai.parameters import one_of
from springtide.gateway.openai.reading import read
from springtide.gateway.openai.references import wrong
from springtide.gateway.uploads import Uploads
from springtide.ledger.batches import Batch
from springtide.ledger.openai import Kind, OpenAiRecord
from springtide.runtime.ids import new_job_id

_WINDOW = re.compile(r"(\d{1,3})h")
MOST_METADATA = 16

BatchState = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]


class RequestCounts(msgspec.Struct, kw_only=True):
    """How many lines there are, and what became of them."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchErrors(msgspec.Struct, kw_only=True):
    """What is wrong with the file."""

    object: Literal["list"] = "list"
    data: list[LineError]


class BatchObject(msgspec.Struct, kw_only=True):
    """A batch of OpenAI's."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchObjectList(msgspec.Struct, kw_only=True):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


@post("/v1/batches", status_code=200, tags=["openai"], summary="Run a file of requests")
async def create(request: AnyRequest) -> BatchObject:
    """As OpenAI's: `input_file_id`, `endpoint`, `completion_window`, `metadata`, `output_expires_after`. A file that is
    no batch gives a batch that has `failed`, with its errors by line."""
    gateway, tenant = gateway_of(request), tenant_of(request)
    services = gateway.services
    gateway.submission.check_open()
    async with Uploads(services, tenant.id) as uploads:
        values = (await read(request, uploads)).values
    endpoint = one_of(values, "endpoint", tuple(ENDPOINTS), "")
    if not endpoint:
        raise wrong("endpoint", f"must be one of {', '.join(ENDPOINTS)}")
    window = _WINDOW.fullmatch(str(values.get("completion_window") or "24h"))
    if window is None:
        raise wrong("completion_window", "must be 24h, or another number of hours")
    source = await files.find(services, tenant, str(values.get("input_file_id") or ""))
    lines, found = read_lines(await file_bytes(gateway, BlobId(source.id), tenant.id), endpoint)
    now_s = services.clock.now_s()
    key = http.idempotency_key(text(headers_of(request), b"idempotency-key"))
    fresh = Batch(
        id=batch_id(new_job_id()),
        tenant=tenant.id,
        created_at_s=now_s,
        total=len(lines),
        fingerprint=f"openai/{endpoint}/{source.id}",
        idempotency_key=None if key is None else f"openai/{key}",
        touched_at_s=now_s,
    )
    body: dict[str, Any] = {
        "input_file_id": source.id,
        "completion_window": f"{window[1]}h",
        "expires_at_s": now_s + 3600 * int(window[1]),
        "metadata": _metadata(values),
        "output_expires_s": files.expiry_of(values, "output_expires_after"),
        "base": base_of(request, headers_of(request)),
    }
    if found:
        body |= {"status": "failed", "ended_at_s": now_s, "errors": msgspec.to_builtins(found)}
    else:
        batch = await services.batches.begin(fresh)
        known = await services.openai.get(Kind.BATCH, batch.id)
        if known is not None:
            return await _shown(request, known)
        fresh = batch
    record = OpenAiRecord(
        id=fresh.id,
        tenant=tenant.id,
        kind=Kind.BATCH,
        label=endpoint,
        created_at_s=now_s,
        is_open=not found,
        body=body,
    )
    await services.openai.put(record, holds=[BlobId(source.id)])
    return await _shown(request, record)


@get("/v1/batches", tags=["openai"], summary="List batches")
async def list_batches(
    request: AnyRequest,
    *,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> BatchObjectList:
    """Batches of the tenant that came by this route, newest first."""
    found = await gateway_of(request).services.openai.list(
        tenant_of(request).id, Kind.BATCH, label=None, after=after, limit=limit + 1, oldest_first=False
    )
    page = [await _shown(request, record) for record in found[:limit]]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return BatchObjectList(data=page, first_id=first, last_id=last, has_more=len(found) > limit)


@get("/v1/batches/{batch_id:str}", tags=["openai"], summary="One batch")
async def retrieve(request: AnyRequest, batch_id: FromPath[str]) -> BatchObject:
    """The batch as it stands."""
    return await _shown(request, await _found(request, batch_id))


@post("/v1/batches/{batch_id:str}/cancel", status_code=200, tags=["openai"], summary="Cancel a batch")
async def cancel(request: AnyRequest, batch_id: FromPath[str]) -> BatchObject:
    """Ask it to stop. What has been done by then is in its files; a batch that has ended stays as it is."""
    record = await _found(request, batch_id)
    if record.is_open:
        services = gateway_of(request).services
        await services.batches.ask_cancel(BatchId(record.id), services.clock.now_s())
    return await _shown(request, record)


async def _found(request: AnyRequest, id: str) -> OpenAiRecord:
    services = gateway_of(request).services
    record = await services.openai.get(Kind.BATCH, id) if is_batch_id(id) else None
    if record is None or record.tenant != tenant_of(request).id:
        raise missing_batch(id, services)
    return record


async def _shown(request: AnyRequest, record: OpenAiRecord) -> BatchObject:
    services = gateway_of(request).services
    batch = await services.batches.get(BatchId(record.id))
    body, ended_s = record.body, record.body.get("ended_at_s")
    counts = RequestCounts()
    is_done = False
    if batch is not None:
        tally = await services.batches.tally(batch.id)
        refused, _ = await services.batches.refused(batch.id, limit=1)
        good = sum(each.jobs for each in tally if each.status == "completed")
        bad = sum(each.jobs for each in tally if each.status.is_terminal and each.status != "completed")
        counts = RequestCounts(total=batch.total, completed=good, failed=bad + refused)
        is_done = good + bad + refused == batch.total
    asked_s = None if batch is None else batch.cancel_asked_at_s
    status: BatchState = body.get("status") or ("cancelling" if asked_s else "finalizing" if is_done else "in_progress")
    ended = None if ended_s is None else int(ended_s)
    found = body.get("errors")
    return BatchObject(
        id=record.id,
        endpoint=record.label,
        errors=None if not found else BatchErrors(data=[msgspec.convert(each, LineError) for each in found]),
        input_file_id=body["input_file_id"],
        completion_window=body["completion_window"],
        status=status,
        output_file_id=body.get("output_file_id"),
        error_file_id=body.get("error_file_id"),
        created_at=int(record.created_at_s),
        in_progress_at=None if status == "failed" else int(record.created_at_s),
        expires_at=int(body["expires_at_s"]),
        finalizing_at=ended if status == "completed" else None,
        completed_at=ended if status == "completed" else None,
        failed_at=ended if status == "failed" else None,
        expired_at=ended if status == "expired" else None,
        cancelling_at=None if asked_s is None else int(asked_s),
        cancelled_at=ended if status == "cancelled" else None,
        request_counts=counts,
        metadata=body.get("metadata"),
    )


def _metadata(values: dict[str, Any]) -> dict[str, str] | None:
    given = values.get("metadata")
    if given is None:
        return None
    if not isinstance(given, dict) or len(given) > MOST_METADATA:
        raise wrong("metadata", f"must be an object with at most {MOST_METADATA} texts")
    return {str(key)[:64]: str(value)[:512] for key, value in given.items()}

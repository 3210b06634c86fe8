"""`POST /v1/jobs/batch`: up to a thousand jobs in one call, each accepted or refused on its own.

Promises: the answer comes once every accepted job is on disk, in the order of the request; a wrong item takes no other
along; they share one insert and one enqueue. Refuses files in the body: upload them first and name their ids.

A call is safe to repeat with its `Idempotency-Key`: an item without a key of its own gets that key with its place in
the list, `<key>/<place>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import post
from litestar.response.base import ASGIResponse

from springtide.domain.errors import CallerError, InvalidInput, SpringtideError, TooLarge
from springtide.gateway import body, problems
from springtide.gateway import headers as http
from springtide.gateway.context import AnyRequest, Gateway, base_of, gateway_of, headers_of, tenant_of, text
from springtide.gateway.envelope import decode_body, read_envelope
from springtide.gateway.intake import named_blobs
from springtide.gateway.schemas import BatchItem, BatchView
from springtide.gateway.submission import Prepared, SubmitRequest
from springtide.gateway.uploads import Uploads
from springtide.gateway.views import accepted_view
from springtide.ledger.protocol import Inserted

KEY = "idempotency_key"
SLICE = 64  # items between two looks at what else there is to do: about 3 ms
INSPECTED_AT_ONCE = 8  # items whose files are looked at: the inspector has few processes
_encoder = msgspec.json.Encoder(enc_hook=str)


@post("/v1/jobs/batch", status_code=200, tags=["jobs"], summary="Submit many jobs")
async def submit_batch(request: AnyRequest) -> ASGIResponse:
    """Accept up to 1000 jobs in one call. 200 says that each item was dealt with: look at its own `status`."""
    gateway = gateway_of(request)
    gateway.submission.check_open()
    items = await _read(request, gateway)
    async with Uploads(gateway.services.blobs) as uploads:
        outcomes = await _prepare(request, gateway, items, uploads)
        results = await _commit(gateway, outcomes, uploads)
    view = await _view(request, gateway, results)
    return ASGIResponse(body=_encoder.encode(view), status_code=200, media_type="application/json")


async def _read(request: AnyRequest, gateway: Gateway) -> list[Any]:
    settings = gateway.services.settings
    headers = headers_of(request)
    kind = http.media_type(text(headers, b"content-type"))
    if not (kind is None or kind == "application/json" or kind.endswith("+json")):
        raise CallerError(f"A batch is submitted as application/json, not as {kind}.", code="unsupported_media_type")
    body.refuse_announced(headers, settings.max_batch_bytes)
    raw = decode_body(await body.read(request, settings.max_batch_bytes))
    jobs: Any = raw.get("jobs") if isinstance(raw, dict) and raw.keys() == {"jobs"} else None
    if not isinstance(jobs, list):
        raise CallerError('A batch is {"jobs": [...]}, each as POST /v1/jobs takes it.', code="malformed_json")
    if not jobs:
        raise InvalidInput("The batch is empty.", errors=[{"loc": "jobs", "message": "has no items"}])
    if len(jobs) > settings.max_batch_jobs:
        raise TooLarge(
            f"The batch has {len(jobs)} jobs, at most {settings.max_batch_jobs} are taken at once; send several.",
            code="too_many_jobs",
            max_jobs=settings.max_batch_jobs,
        )
    return jobs


async def _commit(
    gateway: Gateway, outcomes: Sequence[Prepared | SpringtideError], uploads: Uploads
) -> list[Inserted | SpringtideError]:
    """Every item's result. Files that were fetched for items go, but for those of jobs that are new."""
    prepared = [one for one in outcomes if isinstance(one, Prepared)]
    fetched = uploads.keep()  # jobs may be on record from here on
    committed = await gateway.submission.commit_each(prepared) if prepared else []
    for one, result in zip(prepared, committed, strict=True):
        if isinstance(result, Inserted) and result.is_new:
            for blob in one.fresh:
                fetched.pop(blob, None)
    uploads.refs = fetched
    results = iter(committed)
    return [next(results) if isinstance(one, Prepared) else one for one in outcomes]


async def _prepare(
    request: AnyRequest, gateway: Gateway, items: Sequence[Any], uploads: Uploads
) -> list[Prepared | SpringtideError]:
    """Each item as a valid job, or what is wrong with it. uploads: what is fetched for items."""
    headers = headers_of(request)
    common = SubmitRequest(
        model="",
        inputs={},
        tenant=tenant_of(request),
        traceparent=http.traceparent(text(headers, b"traceparent")),
        idempotency_key=http.idempotency_key(text(headers, b"idempotency-key")),
    )
    inspecting = asyncio.Semaphore(INSPECTED_AT_ONCE)

    async def with_files(asked: SubmitRequest) -> Prepared | SpringtideError:
        async with inspecting:
            return await _prepared(gateway, asked, uploads)

    outcomes: dict[int, Prepared | SpringtideError] = {}
    slow: dict[int, asyncio.Task[Prepared | SpringtideError]] = {}
    async with asyncio.TaskGroup() as tasks:
        for place, item in enumerate(items):
            if place and place % SLICE == 0:
                await gateway.services.clock.sleep(0)
            try:
                asked = _asked(item, place, common)
                if (
                    asked.then
                    or named_blobs(gateway.submission.served(asked.model), asked.inputs)
                    or gateway.fetching.wants(asked)
                ):
                    slow[place] = tasks.create_task(with_files(asked))
                else:
                    outcomes[place] = await _prepared(gateway, asked, uploads)
            except SpringtideError as error:
                outcomes[place] = error
    return [slow[place].result() if place in slow else outcomes[place] for place in range(len(items))]


async def _prepared(gateway: Gateway, asked: SubmitRequest, uploads: Uploads) -> Prepared | SpringtideError:
    try:
        if gateway.fetching.wants(asked):
            asked = await gateway.fetching.fill(asked, uploads)
        return await gateway.submission.prepare(asked)
    except SpringtideError as error:
        return error
    except Exception as error:  # a bug, perhaps in one model's code: the others go on
        broken = SpringtideError(f"{asked.model} cannot take it in: {error}")
        broken.__cause__ = error
        return broken


def _asked(item: Any, place: int, common: SubmitRequest) -> SubmitRequest:
    """One item as a request. Raises CallerError."""
    if not isinstance(item, dict):
        raise InvalidInput("An item must be an object with at least 'model'.")
    raw: dict[str, Any] = dict(item)
    key = raw.pop(KEY, None)
    if key is not None and not isinstance(key, str):
        raise CallerError("idempotency_key must be text.", code="bad_idempotency_key")
    if key is None and common.idempotency_key is not None:
        key = f"{common.idempotency_key}/{place}"
    envelope = read_envelope(raw)
    if not envelope.model:
        errors = envelope.errors
        raise InvalidInput("; ".join(f"{each['loc']}: {each['message']}" for each in errors), errors=errors)
    return msgspec.structs.replace(
        common,
        model=envelope.model,
        inputs=envelope.inputs,
        priority=envelope.priority,
        start_deadline_s=envelope.start_deadline_s,
        then=envelope.then,
        idempotency_key=None if key is None else http.checked_key(key),
        errors=envelope.errors,
    )


async def _view(request: AnyRequest, gateway: Gateway, results: Sequence[Inserted | SpringtideError]) -> BatchView:
    base = base_of(request, headers_of(request))
    items: list[BatchItem] = []
    accepted = 0
    for place, result in enumerate(results):
        if isinstance(result, SpringtideError):
            problem = problems.item_problem(request, result, f"/jobs/{place}")
            items.append(BatchItem(status=problem["status"], problem=problem))
        else:
            accepted += 1
            eta = await gateway.outlook.eta(result.job)
            view = accepted_view(result.job, base, eta=eta)
            items.append(BatchItem(status=202, job=view, replayed=not result.is_new))
    return BatchView(accepted=accepted, refused=len(items) - accepted, items=items)

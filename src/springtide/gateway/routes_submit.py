"""`POST /v1/jobs`: the hot path. JSON or a form in, `202` with every URL out.

A client that goes away cancels nothing: what was accepted runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import post
from litestar.datastructures.headers import MutableScopeHeaders
from litestar.response.base import ASGIResponse

from springtide.domain.errors import CallerError, InvalidInput
from springtide.gateway import body
from springtide.gateway import headers as http
from springtide.gateway.accept_spans import began_s, tell_accepted
from springtide.gateway.accepting import commit_with, filled
from springtide.gateway.context import AnyRequest, Gateway, Headers, base_of, gateway_of, headers_of, tenant_of, text
from springtide.gateway.envelope import FieldErrors, decode_body, in_words, read_envelope
from springtide.gateway.forms import FormReader
from springtide.gateway.multipart import MultipartReader, boundary_of
from springtide.gateway.schemas import AcceptedView
from springtide.gateway.served import ServedModel
from springtide.gateway.standing import Standing
from springtide.gateway.submission import Prepared, SubmitRequest
from springtide.gateway.uploads import Uploads
from springtide.gateway.views import accepted_view, job_url, standing_view
from springtide.ledger.protocol import Inserted

_encoder = msgspec.json.Encoder()
_JSON = (b"content-type", b"application/json")


@post("/v1/jobs", status_code=202, tags=["jobs"], summary="Submit a job")
async def submit(request: AnyRequest) -> ASGIResponse:
    """Accept a job. The answer comes once it is on disk; `Prefer: wait=N` holds it until the job has ended."""
    gateway = gateway_of(request)
    gateway.submission.check_open()  # before an upload is read
    came_s = began_s(gateway.services.clock)
    headers = headers_of(request)
    wait_s = http.wait_preference(text(headers, b"prefer"), max_wait_s=gateway.services.settings.max_wait_s)
    if _is_json(headers):
        inserted = await _submit_json(request, gateway, headers)
    else:
        inserted = await _submit_form(request, gateway, headers)
    if came_s:
        tell_accepted(gateway.services.clock, came_s, [inserted])
    return await answer(gateway, inserted, base=base_of(request, headers), wait_s=wait_s)


async def submit_together(asked: Sequence[tuple[AnyRequest, bytes]]) -> list[ASGIResponse | Exception | None]:
    """Requests that came at one time with their bodies: one insert and one enqueue for all of them. None for those that
    `submit` takes by itself, because they wait for something: their job's end, a file, an earlier step."""
    results: list[ASGIResponse | Exception | None] = [None] * len(asked)
    prepared: list[tuple[int, Headers, Prepared]] = []
    if not asked:
        return results
    gateway = gateway_of(asked[0][0])
    came_s = began_s(gateway.services.clock)
    for place, (request, data) in enumerate(asked):
        headers = headers_of(request)
        if b"prefer" in headers:
            continue
        try:
            if not _is_json(headers):
                continue
            body.refuse_announced(headers, gateway.services.settings.max_json_bytes)
            one = _asked(request, headers, data)
            if not (one.then or gateway.fetching.wants(one) or gateway.submission.served(one.model).model.input_files):
                prepared.append((place, headers, await gateway.submission.prepare(one)))
        except Exception as error:
            results[place] = error
    inserted: Sequence[Inserted | Exception]
    try:
        inserted = await gateway.submission.commit_each([one for _, _, one in prepared])
    except Exception as error:
        inserted = [error] * len(prepared)
    if came_s:
        tell_accepted(gateway.services.clock, came_s, [one for one in inserted if isinstance(one, Inserted)])
    for (place, headers, _), one in zip(prepared, inserted, strict=True):
        try:
            base = base_of(asked[place][0], headers)
            results[place] = one if isinstance(one, Exception) else await answer(gateway, one, base=base, wait_s=0)
        except Exception as error:  # one's own: all are on record
            results[place] = error
    return results


def _is_json(headers: Headers) -> bool:
    """As against a form. Raises CallerError for anything else."""
    kind = http.media_type(text(headers, b"content-type"))
    if kind is None or kind == "application/json" or kind.endswith("+json"):
        return True
    if kind == "multipart/form-data":
        return False
    raise CallerError(
        f"A job is submitted as application/json or multipart/form-data, not as {kind}.",
        code="unsupported_media_type",
    )


def _asked(request: AnyRequest, headers: Headers, data: bytes) -> SubmitRequest:
    raw = decode_body(data)
    if not isinstance(raw, dict):
        raise CallerError("The body must be a JSON object with at least 'model'.", code="malformed_json")
    return _request(request, headers, raw, errors=[])


async def _submit_json(request: AnyRequest, gateway: Gateway, headers: Headers) -> Inserted:
    limit = gateway.services.settings.max_json_bytes
    body.refuse_announced(headers, limit)
    asked = _asked(request, headers, await body.read(request, limit))
    if gateway.fetching.wants(asked):
        async with Uploads(gateway.services, tenant_of(request).id) as uploads:
            return await _submit_files(gateway, asked, uploads)
    return await gateway.submission.commit(await gateway.submission.prepare(asked))


async def _submit_form(request: AnyRequest, gateway: Gateway, headers: Headers) -> Inserted:
    settings = gateway.services.settings
    reader = MultipartReader(body.chunks(request), boundary_of(text(headers, b"content-type") or ""))
    tenant, key = tenant_of(request), text(headers, b"idempotency-key")

    async def check_room(served: ServedModel) -> None:
        if key is None:  # with one it may be accepted already
            await gateway.submission.check_room(served, tenant)

    async with Uploads(gateway.services, tenant_of(request).id) as uploads:
        form = FormReader(
            gateway.submission,
            uploads,
            max_text_bytes=settings.max_json_bytes,
            max_parts=settings.max_parts,
            before_file=check_room,
        )
        filled = await form.read(reader, max_file_bytes=settings.max_upload_bytes)
        asked = _request(request, headers, filled.envelope, errors=filled.errors)
        asked = msgspec.structs.replace(asked, files=uploads.refs.copy())
        return await _submit_files(gateway, asked, uploads)


async def _submit_files(gateway: Gateway, asked: SubmitRequest, uploads: Uploads) -> Inserted:
    ready = await filled(gateway, asked, uploads)
    if isinstance(ready, Inserted):
        return ready
    return await commit_with(gateway.submission, await gateway.submission.prepare(ready), uploads)


def _request(request: AnyRequest, headers: Headers, raw: dict[str, Any], *, errors: FieldErrors) -> SubmitRequest:
    envelope = read_envelope(raw)
    found = [*errors, *envelope.errors]
    if not envelope.model:
        raise InvalidInput(in_words(found), errors=found)
    return SubmitRequest(
        model=envelope.model,
        inputs=envelope.inputs,
        priority=envelope.priority,
        start_deadline_s=envelope.start_deadline_s,
        then=envelope.then,
        idempotency_key=http.idempotency_key(text(headers, b"idempotency-key")),
        tenant=tenant_of(request),
        traceparent=http.traceparent(text(headers, b"traceparent")),
        errors=found,
    )


async def answer(gateway: Gateway, inserted: Inserted, *, base: str, wait_s: float) -> ASGIResponse:
    """What a client is told of a job that was taken in, or had been before; with `wait_s` once it has ended."""
    job = inserted.job
    headers = [(b"location", job_url(job, base).encode("latin-1"))]
    if not inserted.is_new:
        headers.append((b"idempotency-replayed", b"true"))
    if wait_s > 0:
        headers.append((b"preference-applied", b"wait=%.0f" % wait_s))
        job = await gateway.live.wait(job, wait_s, is_new=inserted.is_new)
        if job.status.is_terminal:
            standing = Standing(job=job) if job.plan is None else await gateway.standings.one(job)
            view = standing_view(standing, base, gateway.links)
            return _encoded(view, 200, headers)
    if inserted.is_new and job.plan is None and wait_s == 0:
        eta = gateway.outlook.promise_of(job)
    else:
        eta = await gateway.standings.eta(Standing(job=job) if job.plan is None else await gateway.standings.one(job))
    return _encoded(accepted_view(job, base, eta=eta), 202, headers)


def _encoded(view: AcceptedView, status: int, headers: list[tuple[bytes, bytes]]) -> ASGIResponse:
    return _Encoded(_encoder.encode(view), status, headers)


class _Encoded(ASGIResponse):
    """JSON, ready to send. Built through the framework's `Response` it would cost as much as validating the job, and as
    its `ASGIResponse`, which looks for each header among those there are, a third of that."""

    __slots__ = ()

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        sent = [*headers, _JSON, (b"content-length", b"%d" % len(body))]
        self.headers = MutableScopeHeaders({"headers": sent})  # type: ignore[typeddict-item] - it reads no other key
        self.body, self.content_length, self.status_code = body, len(body), status
        self.background, self.encoding, self.is_head_response = None, "utf-8", False
        self._encoded_cookies = ()

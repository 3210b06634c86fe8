"""One call of OpenAI's as one of our jobs: planned from its parameters, made, waited for.

Promises: what is wrong is said before anything is accepted, by the caller's own parameter names; a client that goes
away cancels nothing. Refuses to make the same job twice where it can know: by `Idempotency-Key`, and for the retries
that the `openai` package makes by itself (it sends no key) by what was asked for, as long as this process remembers.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec

from springtide.domain.errors import BadMedia, InvalidInput, Refused, TooLarge, UrlFailed
from springtide.domain.ids import JobId, TenantId
from springtide.domain.job import Job
from springtide.domain.model import Model
from springtide.gateway import headers as http
from springtide.gateway.accept_spans import began_s, tell_accepted
from springtide.gateway.accepting import commit_with, filled
from springtide.gateway.context import AnyRequest, gateway_of, headers_of, tenant_of, text
from springtide.gateway.envelope import FieldErrors, in_words
from springtide.gateway.fingerprints import fingerprint
from springtide.gateway.openai import pictures, transcripts
from springtide.gateway.openai.choosing import Choice
from springtide.gateway.openai.parameters import translate
from springtide.gateway.openai.reading import Asked, read
from springtide.gateway.openai.references import KINDS, Finder, expected, place
from springtide.gateway.openai.uses import Route
from springtide.gateway.served import ServedModel
from springtide.gateway.submission import Prepared, SubmitRequest
from springtide.gateway.uploads import Uploads
from springtide.ledger.protocol import Inserted

_WISHES: dict[Route, Callable[[Model, Mapping[str, Any]], Any]] = {
    Route.TRANSCRIPTIONS: transcripts.read_wish,
    Route.EDITS: pictures.read_wish,
    Route.GENERATIONS: pictures.read_wish,
}
MOST_REMEMBERED = 4096  # calls whose retry would be recognised; some 200 bytes each
STILL_RUNNING_RETRY_S = 1.0  # the next request waits as long again, so it may come at once


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was understood. `asked` is as it was sent: the answer's shape depends on it."""

    served: ServedModel
    asked: Asked
    request: SubmitRequest
    wish: Any  # how the result is shown: a `transcripts.Wish`, a `pictures.Wish`, or None
    ignored: list[str]
    origin: Mapping[str, str]  # input -> parameter


class Begun(msgspec.Struct, frozen=True):
    """A call and its job."""

    call: Call
    job: Job


class Calls:
    """Makes jobs of calls."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._made: OrderedDict[tuple[TenantId, str], JobId] = OrderedDict()

    async def plan(self, route: Route, asked: Asked, finder: Finder, *, common: SubmitRequest) -> Call:
        """What is to be run. Raises CallerError. `common`: tenant, priority and keys."""
        name = asked.values.get("model")
        served = self.choice.named(
            str(name) if name else None,
            route,
            transparent=asked.values.get("background") == "transparent",
            voice="audio_reference" in asked.values or "audio_reference" in asked.files,
        )
        if asked.values.get("n") not in (None, "", 1, "1"):
            raise InvalidInput("n: one result a call is made here.", errors=[{"loc": "n", "message": "must be 1"}])
        params = [*KINDS, *(field.name for field in served.model.input_files if field.name not in KINDS)]
        given = {name for name in asked.files if name not in params}
        if given:
            name = sorted(given)[0]
            raise InvalidInput(
                f"{served.model.name} takes no file as {name[:64]!r}.",
                code="unknown_parameter",
                errors=[{"loc": name[:64], "message": "is not known here"}],
            )
        translated = translate(served.model, route, asked.values)
        files, file_origin = place(served.model, await finder.find(asked, params))
        return Call(
            served=served,
            asked=asked,
            request=msgspec.structs.replace(common, model=served.queue, inputs={**translated.inputs, **files}),
            wish=read_wish(served.model, asked.values) if (read_wish := _WISHES.get(route)) else None,
            ignored=translated.ignored,
            origin={**expected(served.model, route), **translated.origin, **file_origin},
        )

    async def begin(self, request: AnyRequest, route: Route) -> Begun:
        """Read, plan and accept a request's job, or find the one that it repeats."""
        gateway = gateway_of(request)
        gateway.submission.check_open()  # before an upload is read
        came_s = began_s(gateway.services.clock)
        headers = headers_of(request)
        tenant = tenant_of(request)
        common = SubmitRequest(
            model="",
            inputs={},
            tenant=tenant,
            idempotency_key=http.idempotency_key(text(headers, b"idempotency-key")),
            traceparent=http.traceparent(text(headers, b"traceparent")),
        )
        async with Uploads(gateway.services, tenant.id) as uploads:
            finder = Finder(gateway.services, tenant.id)
            asked = await read(request, uploads)
            call = await self.plan(
                route, asked, finder, common=msgspec.structs.replace(common, files=uploads.refs.copy())
            )
            with told_by_parameter(call):
                ready = await filled(gateway, call.request, uploads)
                if isinstance(ready, Inserted):
                    return Begun(call, ready.job)
                prepared = await gateway.submission.prepare(ready)
            asked_for = _fingerprint(prepared)
            if common.idempotency_key is None and (text(headers, b"x-stainless-retry-count") or "0") != "0":
                known = self._made.get((tenant.id, asked_for))
                [job] = await gateway.services.ledger.get([known]) if known else [None]
                if job is not None:
                    return Begun(call, job)
            inserted = await commit_with(gateway.submission, prepared, uploads)
        tell_accepted(gateway.services.clock, came_s, [inserted])
        self._made[tenant.id, asked_for] = inserted.job.id
        while len(self._made) > MOST_REMEMBERED:
            self._made.popitem(last=False)
        return Begun(call, inserted.job)

    async def ended(self, request: AnyRequest, begun: Begun) -> Job:
        """The job once it has ended. Raises Refused (still_running) where that takes longer than is waited."""
        gateway = gateway_of(request)
        wait_s = gateway.services.settings.openai_wait_s
        job = await gateway.live.wait(begun.job, wait_s)
        if job.status.is_terminal:
            return job
        raise still_running(job, wait_s)


def still_running(job: Job, waited_s: float) -> Refused:
    """What a client is told whose job takes longer than is waited for."""
    return Refused(
        f"The job {job.id} still runs after {waited_s:.0f} s, and goes on: send the same request again to wait "
        f"further, or follow /v1/jobs/{job.id}.",
        code="still_running",
        retry_after_s=STILL_RUNNING_RETRY_S,
    )


@contextlib.contextmanager
def told_by_parameter(call: Call) -> Generator[None]:
    """Errors about the model's fields leave as errors about the caller's parameters."""
    try:
        yield
    except (InvalidInput, BadMedia, TooLarge, UrlFailed) as error:
        found: FieldErrors = error.details.get("errors", [])
        if not found:
            raise
        errors = [{**item, "loc": _param(str(item.get("loc", "")), call.origin)} for item in found]
        raise type(error)(in_words(errors), code=error.code, **{**error.details, "errors": errors}) from error


def _param(loc: str, origin: Mapping[str, str]) -> str:
    field, dot, rest = loc.partition(".")
    return f"{origin.get(field, field)}{dot}{rest}"


def _fingerprint(prepared: Prepared) -> str:
    job = prepared.job
    return fingerprint(job.model, job.inputs, job.input_files)


def told(call: Call) -> dict[str, str]:
    """Headers of an answer to this call."""
    return {"x-springtide-ignored": ", ".join(call.ignored)} if call.ignored else {}

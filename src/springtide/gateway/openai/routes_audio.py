"""`/v1/audio`: sound into text. What other routes of OpenAI's there are, nobody serves here; they say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Response, post

from springtide.domain.errors import NotFound
from springtide.domain.job import Job, JobStatus
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.openai.calls import told
from springtide.gateway.openai.errors import failed
from springtide.gateway.openai.failures import NO_RETRY, failure
from springtide.gateway.openai.service import openai_of
from springtide.gateway.openai.streaming import event, stream_events
from springtide.gateway.openai.transcripts import PLAIN, Wish, events, json_body, text_file
from springtide.gateway.openai.uses import Route


@post("/v1/audio/transcriptions", status_code=200, tags=["openai"], summary="Sound into text")
async def transcribe(request: AnyRequest) -> Response[Any]:
    """As OpenAI's: `file`, `model`, `language`, `prompt`, `keywords[]`, `response_format`, `timestamp_granularities[]`,
    `stream`; also whatever else the model takes. The answer comes when the job has ended."""
    gateway = gateway_of(request)
    calls = openai_of(request).calls
    begun = await calls.begin(request, Route.TRANSCRIPTIONS)
    wish = begun.call.wish
    assert isinstance(wish, Wish)
    if wish.stream:
        return stream_events(gateway, begun.job, _events, headers=told(begun.call))
    job = await calls.ended(request, begun)
    if job.status is not JobStatus.COMPLETED:
        return failed(*failure(job), headers=NO_RETRY)
    if wish.form in PLAIN:
        content = await text_file(gateway.services, job, wish.form)
        return Response(content, media_type=f"{PLAIN[wish.form]}; charset=utf-8", headers=told(begun.call))
    body = msgspec.json.encode(await json_body(gateway.services, job, wish))
    return Response(body, media_type="application/json", headers=told(begun.call))


@post("/v1/audio/translations", status_code=200, tags=["openai"], summary="Sound into English text")
async def translate(request: AnyRequest) -> Response[Any]:
    """No model served here translates; the answer says so."""
    raise NotFound(
        "No model here translates speech. /v1/audio/transcriptions writes it down in its own language.",
        code="not_served",
    )


@post("/v1/audio/speech", status_code=200, tags=["openai"], summary="Text into sound")
async def speak(request: AnyRequest) -> Response[Any]:
    """No model served here speaks; the answer says so."""
    raise NotFound("No model here turns text into speech.", code="not_served")


async def _events(job: Job) -> AsyncIterator[bytes]:
    async def lines() -> AsyncIterator[bytes]:
        for kind, body in events(job):
            yield event(kind, body)

    return lines()

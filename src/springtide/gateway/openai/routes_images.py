"""`/v1/images`: a picture into a picture, and words into a picture where a model does that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Response, post
from litestar.response import Stream

from springtide.domain.errors import NotFound
from springtide.domain.job import Job, JobStatus
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of
from springtide.gateway.openai.calls import told
from springtide.gateway.openai.errors import failed
from springtide.gateway.openai.failures import NO_RETRY, failure
from springtide.gateway.openai.pictures import Wish, body, completed_event, picture_of
from springtide.gateway.openai.service import openai_of
from springtide.gateway.openai.streaming import stream_events
from springtide.gateway.openai.uses import Route


@post("/v1/images/edits", status_code=200, tags=["openai"], summary="A picture into a picture")
async def edit(request: AnyRequest) -> Response[Any]:
    """As OpenAI's: `image` (or `image[]`, or JSON `images`), `model`, `prompt`, `background`, `output_format`,
    `response_format`, `stream`; also whatever else the model takes. The answer comes when the job has ended."""
    return await _picture(request, Route.EDITS, "image_edit.completed")


@post("/v1/images/generations", status_code=200, tags=["openai"], summary="Words into a picture")
async def generate(request: AnyRequest) -> Response[Any]:
    """As OpenAI's, where a served model makes pictures from words."""
    return await _picture(request, Route.GENERATIONS, "image_generation.completed")


@post("/v1/images/variations", status_code=200, tags=["openai"], summary="Variations of a picture")
async def vary(request: AnyRequest) -> Response[Any]:
    """No model served here does it; the answer says so."""
    raise NotFound("No model here makes variations; /v1/images/edits changes a picture.", code="not_served")


async def _picture(request: AnyRequest, route: Route, kind: str) -> Response[Any]:
    gateway = gateway_of(request)
    calls = openai_of(request).calls
    begun = await calls.begin(request, route)
    wish, headers = begun.call.wish, told(begun.call)
    assert isinstance(wish, Wish)
    model = begun.call.served.model
    if wish.stream:

        async def events(job: Job) -> AsyncIterator[bytes]:
            return completed_event(gateway.services, job, picture_of(job, model), wish=wish, kind=kind)

        return stream_events(gateway, begun.job, events, headers=headers)
    job = await calls.ended(request, begun)
    if job.status is not JobStatus.COMPLETED:
        return failed(*failure(job), headers=NO_RETRY)
    ref = picture_of(job, model)
    await gateway.services.blobs.size(ref.id)  # NotFound while it can still be said
    url = base_of(request, headers_of(request)) + gateway.links.sign(ref.id).path
    answer: Any = Stream(
        body(gateway.services, job, ref, wish=wish, url=url), media_type="application/json", headers=headers
    )
    return answer

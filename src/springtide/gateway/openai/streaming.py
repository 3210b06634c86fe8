"""A result as OpenAI's server-sent events: comments while the job runs, events once it has ended, `[DONE]`.

Nobody has a part of the result before the end, so there are no partial events; the stream keeps the connection open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream

from springtide.domain.errors import SpringtideError
from springtide.domain.job import Job, JobStatus
from springtide.gateway.context import Gateway
from springtide.gateway.openai.errors import envelope
from springtide.gateway.openai.failures import failure

Events = AsyncIterator[bytes]
KEEP_ALIVE = b": still running\n\n"


def stream_events(
    gateway: Gateway, job: Job, told: Callable[[Job], Awaitable[Events]], *, headers: dict[str, str]
) -> Response[Any]:
    """The stream for one job; `told` makes the events of its result. The job goes on where the client leaves."""
    stream: Any = Stream(
        _lines(gateway, job, told),
        media_type="text/event-stream",
        headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"},
    )
    return stream


def event(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(body))


async def _lines(gateway: Gateway, job: Job, told: Callable[[Job], Awaitable[Events]]) -> Events:
    settings = gateway.services.settings
    try:
        while not job.status.is_terminal and not gateway.services.closing.is_set():
            job = await gateway.live.wait(job, settings.keep_alive_s)
            if not job.status.is_terminal:
                yield KEEP_ALIVE
        if job.status is JobStatus.COMPLETED:
            async for line in await told(job):
                yield line
        else:
            _, body = failure(job)
            yield event("error", msgspec.to_builtins(body))
    except SpringtideError as error:
        yield event("error", msgspec.to_builtins(envelope(500, error.code, error.message)))
    yield b"data: [DONE]\n\n"

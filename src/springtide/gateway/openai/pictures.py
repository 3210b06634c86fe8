"""Pictures as OpenAI answers them: `{created, data: [{b64_json, url}]}`, written as a stream.

Base64 is made while the blob is read, so an answer takes the same memory however large its picture is. Where
`response_format` is absent both forms are there: programs for gpt-image read `b64_json`, those for dall-e `url`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from springtide.domain.errors import NotFound
from springtide.domain.job import BlobRef, Job
from springtide.domain.model import Model
from springtide.gateway.openai.parameters import flag, one_of
from springtide.gateway.services import GatewayServices
from springtide.gateway.views import output_file

_BOTH = "both"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How the picture is wanted."""

    url: bool = True
    b64: bool = True
    stream: bool = False
    background: str | None = None
    size: str | None = None
    quality: str | None = None


def read_wish(model: Model, values: Mapping[str, Any]) -> Wish:
    """Raises InvalidInput."""
    form = one_of(values, "response_format", ("url", "b64_json"), _BOTH)
    background = values.get("background")
    return Wish(
        url=form != "b64_json",
        b64=form != "url",
        stream=flag(values, "stream"),
        background=background if background in ("transparent", "opaque") else None,
    )


def picture_of(job: Job, model: Model | None) -> BlobRef:
    """The model's primary output. Raises NotFound where the job gave none."""
    names = model.output_files if model else ()
    for name in (*names, *(job.outputs or {})):
        ref = output_file(job, name)
        if ref is not None:
            return ref
    raise NotFound(f"The job {job.id} gave no picture.", code="unknown_file")


def facts(job: Job, wish: Wish, ref: BlobRef) -> dict[str, Any]:
    """What the answer says of the picture beside its bytes."""
    outputs = job.outputs or {}
    found: dict[str, Any] = {"output_format": ref.media_type.partition("/")[2] or None, "background": wish.background}
    if isinstance(outputs.get("width"), int) and isinstance(outputs.get("height"), int):
        found["size"] = f"{outputs['width']}x{outputs['height']}"
    return {name: value for name, value in found.items() if value is not None}


async def body(services: GatewayServices, job: Job, ref: BlobRef, *, wish: Wish, url: str) -> AsyncIterator[bytes]:
    """The whole answer, as JSON."""
    created = int(job.finished_at_s or job.created_at_s)
    yield b'{"created":%d,"data":[{' % created
    if wish.url:
        yield b'"url":%s' % msgspec.json.encode(url)
    if wish.b64:
        yield (b"," if wish.url else b"") + b'"b64_json":"'
        async for chunk in base64_of(services.blobs.read(ref.id)):
            yield chunk
        yield b'"'
    rest = msgspec.json.encode(facts(job, wish, ref))
    yield b"}]" + (b"," + rest[1:] if rest != b"{}" else b"}")


async def completed_event(
    services: GatewayServices, job: Job, ref: BlobRef, *, wish: Wish, kind: str
) -> AsyncIterator[bytes]:
    """The one event of a stream: `image_edit.completed` or `image_generation.completed`."""
    head = {"type": kind, "created_at": int(job.finished_at_s or job.created_at_s), **facts(job, wish, ref)}
    yield b"event: %s\ndata: " % kind.encode()
    yield msgspec.json.encode(head)[:-1] + b',"b64_json":"'
    async for chunk in base64_of(services.blobs.read(ref.id)):
        yield chunk
    yield b'"}\n\n'


async def base64_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Base64 of what comes in pieces."""
    rest = b""
    async for chunk in chunks:
        data = rest + chunk
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        if whole:
            yield base64.b64encode(data[:whole])
    if rest:
        yield base64.b64encode(rest)

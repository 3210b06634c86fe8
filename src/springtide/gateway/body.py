"""Request bodies, as bytes up to a limit or as a stream. Limits hold on what arrives, not on what was announced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from springtide.domain.errors import CallerError, TooLarge


def refuse_announced(headers: dict[bytes, bytes], max_bytes: int) -> None:
    """Refuse by Content-Length alone, before a byte is read: the client need not send what nobody takes."""
    if announced(headers) > max_bytes:
        raise too_large(max_bytes)


def announced(headers: dict[bytes, bytes]) -> int:
    """The length of a body by its header; 0 where that does not say."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def too_large(max_bytes: int, *, what: str = "The body", **details: Any) -> TooLarge:
    return TooLarge(f"{what} is larger than the {max_bytes} bytes allowed.", max_bytes=max_bytes, **details)


async def read(request: Request[Any, Any, Any], max_bytes: int) -> bytes:
    """The whole body. Raises TooLarge past `max_bytes`."""
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # the common case: one message
        body = message["body"]
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        return body
    parts: list[bytes] = []
    size = 0
    async for chunk in _chunks(request, message):
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        parts.append(chunk)
    return b"".join(parts)


async def chunks(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises CallerError (client_disconnected) where the client leaves in the middle."""
    async for chunk in _chunks(request, await request.receive()):
        yield chunk


async def _chunks(request: Request[Any, Any, Any], message: Any) -> AsyncIterator[bytes]:
    while True:
        if message["type"] == "http.disconnect":
            raise CallerError("The client went away before its body was complete.", code="client_disconnected")
        if message["body"]:
            yield message["body"]
        if not message.get("more_body"):
            return
        message = await request.receive()

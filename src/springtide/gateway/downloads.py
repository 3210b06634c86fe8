"""Bytes of a blob over HTTP: streamed, one range at a time, cacheable for ever because a blob never changes.

Refuses to be a way to run somebody's HTML here: always an attachment, never sniffed, in a sandbox.
"""

from __future__ import annotations

from typing import Any

from litestar import Response
from litestar.response import Stream

from springtide.blobs.protocol import Blobs
from springtide.domain.job import BlobRef
from springtide.gateway import headers as http
from springtide.gateway.context import AnyRequest, headers_of, text

SANDBOX = "default-src 'none'; sandbox"


async def download(request: AnyRequest, blobs: Blobs, ref: BlobRef) -> Response[Any]:
    """The blob, or the range of it that was asked for. Raises NotFound where its bytes are gone."""
    size = await blobs.size(ref.id)
    asked = headers_of(request)
    etag = f'"{ref.sha256}"'
    headers = {
        "content-type": ref.media_type,
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
        "content-disposition": http.attachment(ref.name or ref.id),
        "content-security-policy": SANDBOX,
    }
    seen = text(asked, b"if-none-match")
    if seen is not None and (
        seen.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in seen.split(",")]
    ):
        return Response(content=b"", status_code=304, headers=headers)
    condition = text(asked, b"if-range")
    span = http.byte_range(text(asked, b"range"), size) if condition is None or condition == etag else None
    start, end = (span.start, span.end) if span else (0, size)
    headers["content-length"] = str(end - start)
    if span:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    return Stream(
        blobs.read(ref.id, start=start, end=end),
        status_code=206 if span else 200,
        headers=headers,
    )

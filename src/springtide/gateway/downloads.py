"""Bytes of a blob over HTTP: streamed, one range at a time, cacheable for ever because a blob never changes.

Refuses to be a way to run somebody's HTML here: always an attachment, never sniffed, in a sandbox.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response
from litestar.params import QueryParameter
from litestar.response import Stream

from springtide.domain.job import BlobRef
from springtide.gateway import headers as http
from springtide.gateway.asgi import IS_HEAD
from springtide.gateway.context import AnyRequest, headers_of, text
from springtide.gateway.services import GatewayServices

Redirect = Annotated[
    bool | None,
    QueryParameter(description="Answer 307 to a short-lived URL of the blob store, where it has such; else the bytes."),
]
SANDBOX = "default-src 'none'; sandbox"


async def download(
    request: AnyRequest, services: GatewayServices, ref: BlobRef, *, redirect: bool | None
) -> Response[Any]:
    """The blob, or the range of it that was asked for; or where the store itself gives it, if that is wished (None: as
    the settings say) and the store can. Raises NotFound where its bytes are gone."""
    blobs = services.blobs
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
    if services.settings.presigned_downloads if redirect is None else redirect:
        elsewhere = await _elsewhere(request, services, ref)
        if elsewhere is not None:
            return elsewhere
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


async def _elsewhere(request: AnyRequest, services: GatewayServices, ref: BlobRef) -> Response[bytes] | None:
    """A redirect to the store's own short-lived URL. Not for HEAD: the signature is for GET."""
    if IS_HEAD in request.scope:
        return None
    url = await services.blobs.download_url(
        ref.id,
        media_type=ref.media_type,
        disposition=http.attachment(ref.name or ref.id),
        expires_s=services.settings.download_url_s,
    )
    if url is None:
        return None
    return Response(content=b"", status_code=307, headers={"location": url, "cache-control": "no-store"})

"""Uploads whose bytes may go past the gateway: ask at `/v1/blobs/uploads`, PUT, then `/v1/blobs/{id}/complete`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, post, put
from litestar.params import FromPath, QueryParameter

from springtide.domain.errors import CallerError
from springtide.gateway import body
from springtide.gateway.access import OPEN
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, tenant_of
from springtide.gateway.direct import DirectUploads
from springtide.gateway.envelope import decode_json
from springtide.gateway.headers import iso8601
from springtide.gateway.schemas_files import BlobView, UploadView
from springtide.gateway.views import blob_view


@post("/v1/blobs/uploads", status_code=201, tags=["blobs"], summary="Ask where to upload a file")
async def begin_upload(request: AnyRequest) -> UploadView:
    """Where to PUT the bytes: the blob store itself where it can be reached so, else this server. Complete it then."""
    services = gateway_of(request).services
    headers = headers_of(request)
    limit = services.settings.max_json_bytes
    body.refuse_announced(headers, limit)
    raw = decode_json(await body.read(request, limit))
    if not isinstance(raw, dict):
        raise CallerError("The body must be a JSON object with at least 'bytes'.", code="malformed_json")
    upload, url, secret = await DirectUploads(services).begin(raw, tenant_of(request).id)
    base = base_of(request, headers)
    return UploadView(
        id=upload.id,
        url=url or f"{base}/v1/blobs/uploads/{upload.id}?token={secret}",
        method="PUT",
        headers={},
        bytes=upload.bytes,
        expires_at=iso8601(upload.expires_at_s),
        expires_at_s=upload.expires_at_s,
        complete_url=f"{base}/v1/blobs/{upload.id}/complete",
    )


@put(
    "/v1/blobs/uploads/{blob_id:str}",
    status_code=200,
    tags=["blobs"],
    summary="Upload the bytes of a file",
    opt={"access": OPEN},
)
async def receive_upload(
    request: AnyRequest,
    blob_id: FromPath[str],
    token: Annotated[str, QueryParameter(description="From the `url` that this is.")],
) -> Response[bytes]:
    """Exactly the announced number of bytes, once. The URL is its own permission."""
    written = await DirectUploads(gateway_of(request).services).receive(blob_id, token, body.chunks(request))
    return Response(content=b"", status_code=200, headers={"etag": f'"{written.sha256}"'})


@post("/v1/blobs/{blob_id:str}/complete", status_code=201, tags=["blobs"], summary="Complete an upload")
async def complete_upload(request: AnyRequest, blob_id: FromPath[str]) -> Response[BlobView]:
    """The file is looked at, and from now on a job may name it. 200 where it was complete already."""
    stored, is_new = await DirectUploads(gateway_of(request).services).complete(blob_id, tenant_of(request).id)
    view = blob_view(stored, base_of(request, headers_of(request)), gateway_of(request).links)
    return Response(view, status_code=201 if is_new else 200, headers={"location": view.url})

"""Uploads ahead of a job, and downloads of what is on record: `/v1/blobs`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from litestar import Response, get, post
from litestar.params import FromPath, QueryParameter

from springtide.domain.errors import CallerError, InvalidInput
from springtide.domain.ids import BlobId, is_blob_id
from springtide.domain.job import BlobRef
from springtide.gateway import body, downloads
from springtide.gateway import headers as http
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, tenant_of, text
from springtide.gateway.downloads import Redirect
from springtide.gateway.keeping import is_kept, missing_blob
from springtide.gateway.multipart import MultipartReader, boundary_of
from springtide.gateway.schemas_files import BlobView
from springtide.gateway.uploads import Uploads
from springtide.gateway.views import blob_view
from springtide.ledger.protocol import StoredBlob


@post("/v1/blobs", status_code=201, tags=["blobs"], summary="Upload a file")
async def upload_blob(
    request: AnyRequest,
    name: Annotated[str | None, QueryParameter(description="File name to show; never used as a path.")] = None,
) -> Response[BlobView]:
    """Store the body (or the one file of a form). Name its id in a job's inputs: what it must be is checked then."""
    gateway = gateway_of(request)
    services = gateway.services
    headers = headers_of(request)
    content_type = text(headers, b"content-type")
    limit = services.settings.max_upload_bytes
    body.refuse_announced(headers, limit)
    await services.metering.upload(tenant_of(request).id, body.announced(headers))
    async with Uploads(services, tenant_of(request).id) as uploads:
        if http.media_type(content_type) == "multipart/form-data":
            reader = MultipartReader(body.chunks(request), boundary_of(content_type or ""))
            ref = await _one_file(reader, uploads, max_bytes=limit)
        else:
            ref = await _store(uploads, body.chunks(request), name=name, content_type=content_type, max_bytes=limit)
        if ref.bytes == 0:
            raise InvalidInput("The file is empty.", code="empty_file")
        now_s = services.clock.now_s()
        stored = StoredBlob(ref=ref, tenant=tenant_of(request).id, created_at_s=now_s, loose_since_s=now_s)
        await services.ledger.put_blobs([stored])
        uploads.keep()
    view = blob_view(stored, base_of(request, headers), gateway.links)
    return Response(view, status_code=201, headers={"location": view.url})


@get("/v1/blobs/{blob_id:str}", tags=["blobs"], summary="Download a file", media_type="application/octet-stream")
async def download_blob(request: AnyRequest, blob_id: FromPath[str], redirect: Redirect = None) -> Response[bytes]:
    """The bytes, whole or one range of them."""
    services = gateway_of(request).services
    if is_blob_id(blob_id):
        [blob] = await services.ledger.get_blobs([BlobId(blob_id)])
        if blob is not None and blob.tenant == tenant_of(request).id and is_kept(blob, services):
            return await downloads.download(request, services, blob.ref, redirect=redirect)
    raise missing_blob(blob_id, services)


async def _one_file(reader: MultipartReader, uploads: Uploads, *, max_bytes: int) -> BlobRef:
    """The one file part of a form; other parts are an error, so that nothing sent is silently dropped."""
    ref: BlobRef | None = None
    while (part := await reader.next_part()) is not None:
        if part.filename is None or ref is not None:
            raise InvalidInput(
                "An upload takes one file part and nothing else.",
                errors=[{"loc": part.name, "message": "is one part too many" if ref else "is not a file"}],
            )
        ref = await _store(
            uploads, reader.data(), name=part.filename, content_type=part.content_type, max_bytes=max_bytes
        )
    if ref is None:
        raise CallerError("The form has no file part.", code="missing_file")
    return ref


async def _store(
    uploads: Uploads, chunks: AsyncIterator[bytes], *, name: str | None, content_type: str | None, max_bytes: int
) -> BlobRef:
    return await uploads.store(chunks, field="file", name=name, claimed_type=content_type, max_bytes=max_bytes)

"""`/v1/files`: upload ahead of a call or a batch; what batches give is there, too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Response, delete, get, post
from litestar.params import FromPath, QueryParameter

from springtide.gateway import downloads
from springtide.gateway.context import AnyRequest, gateway_of, tenant_of
from springtide.gateway.openai import files
from springtide.gateway.openai.files import FileDeleted, FileList, FileObject
from springtide.gateway.openai.reading import read
from springtide.gateway.openai.references import wrong
from springtide.gateway.uploads import Uploads
from springtide.ledger.openai import Kind
from springtide.ledger.protocol import StoredBlob


@post("/v1/files", status_code=200, tags=["openai"], summary="Upload a file")
async def upload(request: AnyRequest) -> FileObject:
    """As OpenAI's: `file`, `purpose`, `expires_after`. Its id may stand wherever a file is named, in any API here."""
    services, tenant = gateway_of(request).services, tenant_of(request)
    async with Uploads(services, tenant.id) as uploads:
        asked = await read(request, uploads)
        purpose, expires_s = files.purpose_of(asked), files.expiry_of(asked.values, "expires_after")
        sent = asked.files.get("file", [])
        if len(sent) != 1 or len(uploads.refs) != 1:
            raise wrong("file", "one file is uploaded at a time")
        if sent[0].bytes == 0:
            raise wrong("file", "is empty")
        now_s = services.clock.now_s()
        blob = StoredBlob(ref=sent[0], tenant=tenant.id, created_at_s=now_s, loose_since_s=now_s)
        await services.ledger.put_blobs([blob])
        uploads.keep()
    return files.shown(await files.keep(services, tenant, blob, purpose=purpose, expires_s=expires_s))


@get("/v1/files", tags=["openai"], summary="List files")
async def list_files(
    request: AnyRequest,
    *,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 1000,
    order: Annotated[Literal["asc", "desc"], QueryParameter(description="By time of creation.")] = "desc",
    purpose: Annotated[str | None, QueryParameter(description="Only files for this.")] = None,
) -> FileList:
    """Files of the tenant, newest first unless asked otherwise."""
    found = await gateway_of(request).services.openai.list(
        tenant_of(request).id, Kind.FILE, label=purpose, after=after, limit=limit + 1, oldest_first=order == "asc"
    )
    page = [files.shown(record) for record in found[:limit]]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return FileList(data=page, first_id=first, last_id=last, has_more=len(found) > limit)


@get("/v1/files/{file_id:str}", tags=["openai"], summary="One file")
async def retrieve(request: AnyRequest, file_id: FromPath[str]) -> FileObject:
    """What is known of it."""
    return files.shown(await files.find(gateway_of(request).services, tenant_of(request), file_id))


@get(
    "/v1/files/{file_id:str}/content", tags=["openai"], summary="Bytes of a file", media_type="application/octet-stream"
)
async def content(request: AnyRequest, file_id: FromPath[str]) -> Response[Any]:
    """The bytes, whole or one range of them."""
    services = gateway_of(request).services
    blob = await files.content(services, tenant_of(request), file_id)
    return await downloads.download(request, services, blob.ref, redirect=None)


@delete("/v1/files/{file_id:str}", status_code=200, tags=["openai"], summary="Delete a file")
async def remove(request: AnyRequest, file_id: FromPath[str]) -> FileDeleted:
    """Gone from here; jobs that have it keep it as long as they are kept."""
    services = gateway_of(request).services
    record = await files.find(services, tenant_of(request), file_id)
    await services.openai.drop(Kind.FILE, record.id, services.clock.now_s())
    return FileDeleted(id=record.id)

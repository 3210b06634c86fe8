"""`GET /v1/links/{blob}`: a file by a signed link, which is its own permission."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get
from litestar.params import FromPath, QueryParameter

from springtide.domain.ids import BlobId, is_blob_id
from springtide.gateway import downloads
from springtide.gateway.access import OPEN
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.keeping import is_kept, missing_blob


@get(
    "/v1/links/{blob_id:str}",
    tags=["blobs"],
    summary="Download a file by a signed link",
    media_type="application/octet-stream",
    opt={"access": OPEN},
)
async def open_link(
    request: AnyRequest,
    blob_id: FromPath[str],
    *,
    expires: Annotated[str, QueryParameter(description="As in the `signed_url`.")],
    signature: Annotated[str, QueryParameter(description="As in the `signed_url`.")],
) -> Response[Any]:
    """The bytes, whole or one range of them. 403 where the link was not made here, 410 once it has expired."""
    gateway = gateway_of(request)
    services = gateway.services
    gateway.links.check(blob_id, expires, signature)
    [blob] = await services.ledger.get_blobs([BlobId(blob_id)]) if is_blob_id(blob_id) else [None]
    if blob is None or not is_kept(blob, services):
        raise missing_blob(blob_id, services)
    return await downloads.download(request, services, blob.ref, redirect=False)

"""Uploads of one request: streamed to the blob store while they arrive, removed again unless the request is accepted.

Promises: constant memory; the limit holds on the bytes that arrive; a rejected or broken-off request leaves no blob.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from springtide.domain.errors import SpringtideError, TooLarge
from springtide.domain.ids import BlobId, TenantId
from springtide.domain.job import BlobRef
from springtide.gateway.body import too_large
from springtide.gateway.headers import media_type, safe_name
from springtide.gateway.services import GatewayServices
from springtide.media.probe import sniff
from springtide.runtime.ids import new_blob_id

log = logging.getLogger(__name__)

HEAD_BYTES = 4096  # what `sniff` looks at
UNKNOWN_TYPE = "application/octet-stream"


class Uploads:
    """An async context: what is still in it on leaving is deleted, unless `keep` was called."""

    def __init__(self, services: GatewayServices, tenant: TenantId) -> None:
        """tenant: whose they are, and whose quota they count for."""
        self._blobs = services.blobs
        self._metering = services.metering
        self._tenant = tenant
        self.refs: dict[BlobId, BlobRef] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()

    def keep(self) -> dict[BlobId, BlobRef]:
        """The uploads, now somebody else's."""
        kept, self.refs = self.refs, {}
        return kept

    async def discard(self) -> None:
        """Delete what was not kept."""
        for blob in self.keep():
            try:
                await self._blobs.delete(blob)
            except SpringtideError as error:
                log.warning("upload %s could not be removed: %s", blob, error)

    async def store(
        self, chunks: AsyncIterator[bytes], *, field: str, name: str | None, claimed_type: str | None, max_bytes: int
    ) -> BlobRef:
        """Stream one file in, sent for `field`. Its media type is what the bytes say; what the client says counts only
        where they say nothing. Raises TooLarge past `max_bytes`, and then nothing is stored; Refused (quota_exceeded).
        """
        await self._metering.upload(self._tenant)
        blob = new_blob_id()
        head = bytearray()
        try:
            written = await self._blobs.put(blob, _remembering(chunks, head), max_bytes=max_bytes)
        except TooLarge as error:
            errors = [{"loc": field, "message": f"has more than the {max_bytes} bytes taken"}]
            raise too_large(max_bytes, what=f"The file for {field}", errors=errors) from error
        self._metering.uploaded(self._tenant, written.bytes)
        ref = BlobRef(
            id=blob,
            media_type=media_type_of(bytes(head), claimed_type),
            bytes=written.bytes,
            sha256=written.sha256,
            name=safe_name(name),
        )
        self.refs[blob] = ref
        return ref

    async def drop(self, ref: BlobRef) -> None:
        """Delete one upload after all."""
        if self.refs.pop(ref.id, None) is not None:
            await self._blobs.delete(ref.id)


async def _remembering(chunks: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        yield chunk


def media_type_of(head: bytes, claimed: str | None) -> str:
    """What the first bytes say; what the client says counts only where they say nothing."""
    sniffed = sniff(head)
    if sniffed is not None:
        return sniffed
    said = media_type(claimed) or UNKNOWN_TYPE
    # Media is recognised by its bytes: a picture that does not look like one is not one.
    return UNKNOWN_TYPE if said.startswith(("image/", "audio/", "video/")) else said

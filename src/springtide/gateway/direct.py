"""Uploads in three steps, so that the bytes may go past the gateway: ask for a URL, PUT the bytes there, say that it is
done.

Promises: what becomes a blob has the announced size and SHA-256, its media type is what its bytes say, and it lies
where the URL cannot write any more; before that no job can name it. Where the store has no URLs of its own, or they
are switched off, the URL is the gateway's: a client needs one protocol.

The bytes are read once from the store to be hashed: nothing that a client says of a file is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from springtide.blobs.protocol import Written
from springtide.domain.errors import Conflict, InvalidInput, NotFound, TooLarge
from springtide.domain.ids import BlobId, TenantId, is_blob_id
from springtide.domain.job import BlobRef
from springtide.gateway.body import too_large
from springtide.gateway.envelope import FieldErrors, in_words
from springtide.gateway.headers import media_type, safe_name
from springtide.gateway.services import GatewayServices
from springtide.gateway.uploads import HEAD_BYTES, media_type_of
from springtide.ledger.protocol import PendingUpload, StoredBlob
from springtide.runtime.ids import new_blob_id, new_secret

KEYS = ("bytes", "name", "media_type", "sha256")
CLAIM_S = 3600.0  # as long as an upload URL holds: no PUT may begin while an older one is still under way


class DirectUploads:
    """The three steps, without HTTP."""

    def __init__(self, services: GatewayServices) -> None:
        self._services = services

    async def begin(self, raw: Mapping[str, Any], tenant: TenantId) -> tuple[PendingUpload, str | None, str]:
        """Note an upload; returns it with the store's own URL (or None) and the secret for the gateway's."""
        settings = self._services.settings
        now_s = self._services.clock.now_s()
        secret = new_secret()
        upload = _declared(raw, tenant, now_s, now_s + settings.upload_url_s, secret)
        if upload.bytes > settings.max_upload_bytes:
            raise too_large(settings.max_upload_bytes, what="The file")
        await self._services.metering.upload(tenant, upload.bytes)
        url = None
        if settings.presigned_uploads:
            url = await self._services.blobs.upload_url(upload.id, size=upload.bytes, expires_s=settings.upload_url_s)
        await self._services.ledger.put_upload(upload)
        return upload, url, secret

    async def receive(self, blob: str, secret: str, chunks: AsyncIterator[bytes]) -> Written:
        """Take the bytes in by the gateway's own URL. Raises NotFound for a wrong or expired one."""
        upload = await self._upload(blob)
        if not hmac.compare_digest(_digest(secret), upload.token_sha256):
            raise _unknown(blob)
        if self._services.clock.now_s() >= upload.expires_at_s:
            raise NotFound("The upload URL has expired; ask for a new one.", code="upload_expired")
        async with self._claimed(upload):
            try:
                written = await self._services.blobs.put(upload.id, chunks, max_bytes=upload.bytes)
            except TooLarge as error:
                raise too_large(upload.bytes, what="The file, as it was announced,") from error
            if written.bytes != upload.bytes:
                await self._services.blobs.delete(upload.id)
                raise _wrong_size(upload, written.bytes)
            return written

    async def complete(self, blob: str, tenant: TenantId) -> tuple[StoredBlob, bool]:
        """The blob, and whether it is one only now. Raises Conflict where the bytes are not there yet, InvalidInput
        where they are not the announced ones; then they are gone."""
        stored = await self._stored(blob, tenant)
        if stored is not None:
            return stored, False
        try:
            upload = await self._upload(blob)
        except NotFound:
            stored = await self._stored(blob, tenant)  # completed between the two looks
            if stored is None:
                raise
            return stored, False
        if upload.tenant != tenant:
            raise _unknown(blob)
        now_s = self._services.clock.now_s()
        if now_s >= upload.expires_at_s + CLAIM_S / 2:  # the sweep takes it soon
            raise NotFound("The upload has expired; ask for a new one.", code="upload_expired")
        async with self._claimed(upload):
            try:
                stored = await self._looked_at(upload)
                await self._services.ledger.finish_upload(stored)
                self._services.metering.uploaded(tenant, stored.ref.bytes)
            except InvalidInput:
                await self._services.blobs.delete(upload.id)
                await self._services.ledger.drop_uploads([upload.id])
                raise
        await self._services.blobs.forget_upload(upload.id)
        return stored, True

    @contextlib.asynccontextmanager
    async def _claimed(self, upload: PendingUpload) -> AsyncGenerator[None]:
        """One request at a time has an upload in hand, so that nothing is written while it is looked at."""
        ledger, now_s = self._services.ledger, self._services.clock.now_s()
        if not await ledger.claim_upload(upload.id, now_s, stale_before_s=now_s - CLAIM_S):
            raise Conflict("Another request has this upload in hand; ask again.", code="upload_busy")
        try:
            yield
        finally:
            await asyncio.shield(ledger.release_upload(upload.id))  # of one that was finished: nothing is there

    async def _looked_at(self, upload: PendingUpload) -> StoredBlob:
        blobs = self._services.blobs
        try:
            await blobs.adopt(upload.id)
        except NotFound as error:
            raise Conflict(
                "The bytes are not there yet: PUT them to the upload's url first.", code="upload_missing"
            ) from error
        size = await blobs.size(upload.id)
        if size != upload.bytes:
            raise _wrong_size(upload, size)
        digest = hashlib.sha256()
        head = b""
        async for chunk in blobs.read(upload.id):
            head = head or chunk[:HEAD_BYTES]
            await asyncio.to_thread(digest.update, chunk)
        sha256 = digest.hexdigest()
        if upload.sha256 is not None and sha256 != upload.sha256:
            raise InvalidInput(
                f"The file has the SHA-256 {sha256}; announced was {upload.sha256}. Upload it again.",
                code="wrong_checksum",
            )
        ref = BlobRef(
            id=upload.id,
            media_type=media_type_of(head, upload.media_type),
            bytes=size,
            sha256=sha256,
            name=upload.name,
        )
        now_s = self._services.clock.now_s()
        return StoredBlob(ref=ref, tenant=upload.tenant, created_at_s=now_s, loose_since_s=now_s)

    async def _upload(self, blob: str) -> PendingUpload:
        upload = await self._services.ledger.get_upload(BlobId(blob)) if is_blob_id(blob) else None
        if upload is None:
            raise _unknown(blob)
        return upload

    async def _stored(self, blob: str, tenant: TenantId) -> StoredBlob | None:
        if not is_blob_id(blob):
            return None
        [stored] = await self._services.ledger.get_blobs([BlobId(blob)])
        return stored if stored is not None and stored.tenant == tenant else None


def _declared(
    raw: Mapping[str, Any], tenant: TenantId, now_s: float, expires_at_s: float, secret: str
) -> PendingUpload:
    """What a client says of a file. Raises InvalidInput that lists everything wrong."""
    errors: FieldErrors = [
        {"loc": str(key), "message": f"unknown field; an upload has {', '.join(KEYS)}"}
        for key in raw
        if key not in KEYS
    ]
    size, name, kind, sha256 = (raw.get(key) for key in KEYS)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        errors.append({"loc": "bytes", "message": "missing" if size is None else "must be a whole number from 1"})
    if name is not None and not isinstance(name, str):
        errors.append({"loc": "name", "message": "must be a text"})
    if kind is not None and (not isinstance(kind, str) or media_type(kind) is None):
        errors.append({"loc": "media_type", "message": "must be a media type such as image/png"})
    if sha256 is not None and not (isinstance(sha256, str) and _is_sha256(sha256)):
        errors.append({"loc": "sha256", "message": "must be 64 hexadecimal digits"})
    if errors:
        raise InvalidInput(in_words(errors), errors=errors)
    return PendingUpload(
        id=new_blob_id(),
        tenant=tenant,
        bytes=int(str(size)),
        name=safe_name(name),
        media_type=kind,
        sha256=None if sha256 is None else str(sha256).lower(),
        created_at_s=now_s,
        expires_at_s=expires_at_s,
        token_sha256=_digest(secret),
    )


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _unknown(blob: str) -> NotFound:
    return NotFound(f"There is no upload {blob[:64]!r}.", code="unknown_upload")


def _wrong_size(upload: PendingUpload, size: int) -> InvalidInput:
    return InvalidInput(
        f"The file has {size:,} bytes; announced were {upload.bytes:,}. Upload it again.", code="wrong_size"
    )

"""Files as OpenAI has them: blobs of ours with a purpose, kept until they are deleted or past their time."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from springtide.domain.errors import NotFound
from springtide.domain.ids import BlobId
from springtide.domain.tenant import Tenant
from springtide.gateway.openai.reading import Asked
from springtide.gateway.openai.references import wrong
from springtide.gateway.services import GatewayServices
from springtide.ledger.openai import Kind, OpenAiRecord
from springtide.ledger.protocol import StoredBlob

PURPOSES = ("batch", "batch_output", "vision", "user_data", "assistants", "assistants_output", "fine-tune", "evals")
EXPIRY_S = (3600, 2_592_000)  # an hour to 30 days, as OpenAI


class FileObject(msgspec.Struct, kw_only=True):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FileList(msgspec.Struct, kw_only=True):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, kw_only=True):
    """A file that is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


async def keep(
    services: GatewayServices, tenant: Tenant, blob: StoredBlob, *, purpose: str, expires_s: float | None = None
) -> OpenAiRecord:
    """Make a blob that is on record a file. Without a time of its own it is kept as long as ended jobs are."""
    kept_s = services.settings.keep_s if expires_s is None else expires_s
    record = OpenAiRecord(
        id=blob.ref.id,
        tenant=tenant.id,
        kind=Kind.FILE,
        label=purpose,
        created_at_s=blob.created_at_s,
        expires_at_s=None if kept_s is None else blob.created_at_s + kept_s,
        body={"bytes": blob.ref.bytes, "name": blob.ref.name or blob.ref.id},
    )
    await services.openai.put(record, holds=[blob.ref.id])
    return record


async def find(services: GatewayServices, tenant: Tenant, id: str) -> OpenAiRecord:
    """The tenant's file. Raises NotFound; another tenant's looks like none, and so does one past its time."""
    record = await services.openai.get(Kind.FILE, id)
    is_over = record is not None and record.expires_at_s is not None and record.expires_at_s < services.clock.now_s()
    if record is None or record.tenant != tenant.id or is_over:
        raise NotFound(f"There is no file {id[:64]!r}.", code="unknown_file")
    return record


async def content(services: GatewayServices, tenant: Tenant, id: str) -> StoredBlob:
    """The file's blob. Raises NotFound."""
    record = await find(services, tenant, id)
    [blob] = await services.ledger.get_blobs([BlobId(record.id)])
    if blob is None:
        raise NotFound(f"There is no file {id[:64]!r}.", code="unknown_file")
    return blob


def shown(record: OpenAiRecord) -> FileObject:
    return FileObject(
        id=record.id,
        bytes=int(record.body["bytes"]),
        created_at=int(record.created_at_s),
        expires_at=None if record.expires_at_s is None else int(record.expires_at_s),
        filename=str(record.body["name"]),
        purpose=record.label,
    )


def purpose_of(asked: Asked) -> str:
    """Raises InvalidInput."""
    value = asked.values.get("purpose")
    if value not in PURPOSES:
        raise wrong("purpose", f"must be one of {', '.join(PURPOSES)}")
    return str(value)


def expiry_of(values: dict[str, Any], name: str) -> float | None:
    """`expires_after` and `output_expires_after`: seconds from creation. Raises InvalidInput."""
    given = values.get(name)
    if given in (None, ""):
        return None
    least, most = EXPIRY_S
    given = given if isinstance(given, dict) else {}
    seconds = str(given.get("seconds"))
    is_number = seconds.isdecimal() and least <= int(seconds) <= most
    if given.get("anchor", "created_at") != "created_at" or not is_number:
        raise wrong(name, f'must be {{"anchor": "created_at", "seconds": {least} to {most}}}')
    return float(seconds)

"""The files a submit names: found, owned by the tenant, within the field's limits and really what they claim to be.

Promises: every wrong file is reported, each with its field; a blob of another tenant looks like one that is not there.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from springtide.blobs.protocol import Written
from springtide.domain.errors import BadMedia, TooLarge
from springtide.domain.ids import BlobId, TenantId, is_blob_id
from springtide.domain.job import BlobRef
from springtide.domain.model import FileField
from springtide.engines.protocol import InputFile
from springtide.gateway.body import too_large
from springtide.gateway.envelope import FieldErrors
from springtide.gateway.keeping import is_kept
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """Files by blob id. A wrong file has a stand-in here and its error beside it, so that binding can go on."""

    refs: dict[BlobId, BlobRef]
    files: dict[BlobId, InputFile]
    errors: FieldErrors
    bad_media: BadMedia | None = None  # set where every error is about what a file holds


def named_blobs(served: ServedModel, inputs: Mapping[str, Any]) -> list[tuple[FileField, BlobId]]:
    """Which blob each file field names, in the order of the fields. What is no blob id is left to binding."""
    named: list[tuple[FileField, BlobId]] = []
    for field in served.model.input_files:
        value = inputs.get(field.name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and is_blob_id(item):
                named.append((field, BlobId(item)))
    return named


async def take_in(
    services: GatewayServices,
    named: list[tuple[FileField, BlobId]],
    *,
    fresh: Mapping[BlobId, BlobRef],
    tenant: TenantId,
) -> Intake:
    """Look up and inspect every named blob. Raises TooLarge where one has more bytes than its field takes."""
    known = await _look_up(services, [blob for _, blob in named if blob not in fresh], tenant)
    known.update(fresh)
    intake = Intake(refs={}, files={}, errors=[])
    first: BadMedia | None = None
    absent = False
    for field, blob in named:
        ref = known.get(blob)
        if ref is None:
            absent = True
            intake.errors.append({"loc": field.name, "message": f"there is no blob {blob}", "value": blob})
            intake.files.setdefault(blob, _stand_in())
            continue
        if ref.bytes > field.max_bytes:
            raise _over_limit(field, ref)
        try:
            file = await inspect_blob(services, ref, field)
        except BadMedia as error:
            first = first or error
            intake.errors.append({"loc": field.name, "message": error.message, "code": error.code})
            file = _stand_in()
        intake.files[blob] = file
        intake.refs[blob] = msgspec.structs.replace(ref, media_type=file.media_type)
    return intake if absent else msgspec.structs.replace(intake, bad_media=first)


async def inspect_blob(services: GatewayServices, ref: BlobRef, field: FileField) -> InputFile:
    """What a stored blob really is. Raises BadMedia where the field does not take it."""
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="springtide-intake-")
    try:
        path = await services.blobs.fetch(ref.id, Path(folder.name), expected=Written(ref.bytes, ref.sha256))
        probe = await services.inspector.inspect(path, field)
    except TooLarge as error:
        raise _over_limit(field, ref) from error
    finally:
        await asyncio.to_thread(folder.cleanup)
    return InputFile(
        path=path,
        media_type=probe.media_type,
        bytes=ref.bytes,
        name=ref.name,
        width=probe.width,
        height=probe.height,
        duration_s=probe.duration_s,
    )


async def _look_up(services: GatewayServices, blobs: list[BlobId], tenant: TenantId) -> dict[BlobId, BlobRef]:
    if not blobs:
        return {}
    stored = await services.ledger.get_blobs(blobs)
    mine = [blob for blob in stored if blob is not None and blob.tenant == tenant and is_kept(blob, services)]
    return {blob.ref.id: blob.ref for blob in mine}


def _over_limit(field: FileField, ref: BlobRef) -> TooLarge:
    message = f"has {ref.bytes} bytes, at most {field.max_bytes} are taken"
    return too_large(
        field.max_bytes, what=f"The file for {field.name}", errors=[{"loc": field.name, "message": message}]
    )


def _stand_in() -> InputFile:
    return InputFile(path=Path(), media_type="application/octet-stream", bytes=0)

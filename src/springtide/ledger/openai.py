"""What OpenAI's API keeps and we have no place for: files with a purpose, and batches made from them.

A record may hold blobs: they stay as long as it does, whatever jobs come and go.

Promises: what was put is on disk when the call returns; putting it again changes nothing. Raises what
`ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from springtide.domain.ids import BlobId, TenantId


class Kind(StrEnum):
    """What a record is of."""

    FILE = "file"
    BATCH = "batch"


class OpenAiRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file (its id is its blob's) or a batch (its id is that of the batch in `ledger.batches`)."""

    id: str
    tenant: TenantId
    kind: Kind
    label: str  # a file's purpose, a batch's endpoint
    created_at_s: float
    is_open: bool = False  # a batch that is not done
    expires_at_s: float | None = None
    body: dict[str, Any] = {}


class OpenAiRecords(Protocol):
    """Records of OpenAI's routes."""

    async def put(self, record: OpenAiRecord, holds: Sequence[BlobId] = ()) -> None:
        """Write a record down, in place of the one of that id, and hold blobs that are on record for it."""
        ...

    async def get(self, kind: Kind, id: str) -> OpenAiRecord | None: ...

    async def list(
        self, tenant: TenantId, kind: Kind, *, label: str | None, after: str | None, limit: int, oldest_first: bool
    ) -> list[OpenAiRecord]:
        """In the order of creation, which is that of ids; `after` is the last id of the page before."""
        ...

    async def open(self, *, limit: int) -> list[OpenAiRecord]:
        """Batches that are not done, oldest first."""
        ...

    async def claim(self, id: str, now_s: float, *, until_s: float) -> bool:
        """Whether a batch is ours to drive: of several processes that ask one gets it, until `until_s`."""
        ...

    async def expired(self, now_s: float, *, limit: int) -> list[OpenAiRecord]:
        """Records past their time."""
        ...

    async def drop(self, kind: Kind, id: str, now_s: float) -> bool:
        """Delete a record and let go of its blobs; those that nobody else has are loose since `now_s`. False where
        there was none."""
        ...

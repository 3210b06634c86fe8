"""What every blob store does. Siblings: `files` (a folder), `s3` (a bucket). `testing.blobs_suite` holds them all.

Promises:

- Constant memory, whatever the size.
- A blob is whole or absent: it appears under its id only when every byte is stored (atomic rename, or the store's own).
- Ids are ours (`domain.ids`), never a client's path.
- A blob never changes once stored.

Raises `NotFound` for an unknown id, `TooLarge` past `max_bytes`, `Unavailable` where the store cannot be used (disk
full included: the partial blob is removed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from springtide.domain.ids import BlobId


class Written(msgspec.Struct, frozen=True):
    """What a `put` stored: size in bytes and SHA-256 in hex."""

    bytes: int
    sha256: str


class Blobs(Protocol):
    """A store of immutable files."""

    async def start(self) -> None:
        """Make sure the store can be written; remove what a crash left half written."""
        ...

    async def stop(self) -> None: ...

    async def put(self, blob: BlobId, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        """Store a stream under a new id."""
        ...

    async def put_file(self, blob: BlobId, path: Path) -> Written:
        """Store a local file; the file may be moved (same disk: a rename, no copy)."""
        ...

    def read(self, blob: BlobId, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes `start` to `end` (exclusive) in chunks of at most 1 MiB."""
        ...

    async def size(self, blob: BlobId) -> int: ...

    async def fetch(self, blob: BlobId, folder: Path, *, expected: Written | None = None) -> Path:
        """A local file with the blob's bytes, to be read only: in `folder`, or the store's own where it is local.
        The caller removes `folder` when done. Raises Unavailable where the bytes are not those of `expected`: of a
        local file the size is looked at, what came over a network is also hashed."""
        ...

    # --- bytes that go past the gateway; a store that clients cannot reach says None ---

    async def upload_url(self, blob: BlobId, *, size: int, expires_s: float) -> str | None:
        """Where a client may PUT exactly `size` bytes by itself. They are no blob before `adopt`, and what is put there
        afterwards changes nothing."""
        ...

    async def adopt(self, blob: BlobId) -> None:
        """Make what was put at the `upload_url` the blob. Again is no error. Raises NotFound without an upload."""
        ...

    async def forget_upload(self, blob: BlobId) -> None:
        """The upload was adopted and looked at: what still lies at its `upload_url` may go. Raises nothing."""
        ...

    async def download_url(self, blob: BlobId, *, media_type: str, disposition: str, expires_s: float) -> str | None:
        """Where a client may GET the blob by itself, with these headers on the answer."""
        ...

    async def remove_leftovers(self, *, before_s: float) -> int:
        """Remove what was begun before then and broken off; returns how much."""
        ...

    async def delete(self, blob: BlobId) -> None:
        """Remove a blob; nothing happens where it is not there."""
        ...

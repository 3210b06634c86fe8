"""Blobs in an S3 bucket: what a cluster uses, so that media go from any gateway to any worker.

    s3://bucket/prefix/
    ├── incoming/blob_0198…7a     put by a client itself, not looked at yet: no job can name it
    └── 7a/blob_0198…7a           whole, never written again; fan-out by the random end of the id

Promises what `blobs.protocol` does. An object appears when S3 has all of it (a single PUT, or the completion of a
multipart upload), each piece signed with its own SHA-256. An upload that fails is aborted, one that a crash left open
is by `remove_leftovers`. Memory: two parts of 5 MiB an upload, two pieces of 4 MiB a download.

Refuses: to overwrite (one HEAD before each upload; ids are never given twice), any id that is not one of ours, and, as
ConfigError at the start, a bucket or keys that do not work.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import stat
from collections import deque
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from springtide.blobs.protocol import Written
from springtide.blobs.s3_feed import Feed
from springtide.blobs.s3_place import Credentials, S3Keys, parse_endpoint, parse_place
from springtide.blobs.s3_signing import signed_url
from springtide.blobs.s3_unfinished import abort_unfinished
from springtide.domain.errors import ConfigError, Conflict, NotFound, SpringtideError, Unavailable
from springtide.domain.ids import BlobId, is_blob_id
from springtide.runtime.ids import new_blob_id

MIB = 1 << 20
PART_BYTES = 5 * MIB  # the least that S3 takes as a part
MOST_PUT_BYTES = 5 << 30  # in one request, by S3's rules; also what it copies at once
MOST_PARTS = 10_000  # of one upload, by S3's rules
FILE_PARTS_AT_ONCE = 4  # a worker's result is on its disk: four connections fill most networks
PIECE_BYTES = 4 * MIB  # of a download: large against a round trip, small against memory
FETCH_AHEAD = 4  # pieces on their way while one is written to disk; a stream to a client gets two
READ_BYTES = MIB  # what `read` hands out at most

_CODE = re.compile(r"<Code>(\w+)</Code>")
_KEYS_REFUSED = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_WRONG_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"})


class S3Blobs:
    """`blobs.protocol.Blobs` in a bucket."""

    def __init__(self, url: str, *, keys: S3Keys | None = None, public_endpoint: str | None = None) -> None:
        """public_endpoint: how clients reach the server, where that is not how we do."""
        self.place = parse_place(url)
        self._public = self.place
        if public_endpoint is not None:
            endpoint = parse_endpoint(public_endpoint, key="blobs.public_endpoint")
            self._public = msgspec.structs.replace(self.place, endpoint=endpoint)
        self._credentials = Credentials(keys)
        self._store = S3Store(
            self.place.bucket,
            config={
                "endpoint": self.place.base if self.place.is_virtual_hosted else self.place.server,
                "region": self.place.region,
                "virtual_hosted_style_request": self.place.is_virtual_hosted,
                "disable_bulk_delete": True,  # not every store knows it, and we delete one at a time
            },
            client_options={
                "allow_http": self.place.server.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": timedelta(seconds=30),  # of silence
                "timeout": timedelta(minutes=10),  # of one request: 4 or 5 MiB on the slowest line
            },
            # A restart of the store is a few seconds; the callers have patience of their own beyond that.
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=20),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
            credential_provider=self._credentials,
        )

    async def start(self) -> None:
        await self._credentials.frozen()  # what is wrong with them is said before anything goes over the network
        probe = f"{self.place.prefix}incoming/{new_blob_id()}"
        try:
            await obstore.put_async(self._store, probe, b"can this bucket be written?", use_multipart=False)
            await obstore.head_async(self._store, probe)
            await obstore.delete_async(self._store, probe)
        except (BaseError, FileNotFoundError) as error:
            raise self._not_to_be_used(error) from error

    async def stop(self) -> None:
        """Nothing is held between calls."""

    async def put(self, blob: BlobId, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        return await self._put(blob, chunks, max_bytes=max_bytes, part_bytes=PART_BYTES, parts_at_once=1)

    async def put_file(self, blob: BlobId, path: Path) -> Written:
        file, size = await _in_thread(_open_regular, path)
        with contextlib.closing(file):
            part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))
            return await self._put(
                blob,
                _chunks_of(file),
                max_bytes=MOST_PARTS * part_bytes,
                part_bytes=part_bytes,
                parts_at_once=FILE_PARTS_AT_ONCE,
            )

    async def read(self, blob: BlobId, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        async for piece in self._pieces(blob, start, end, ahead=1):
            for at in range(0, len(piece), READ_BYTES):
                yield bytes(piece[at : at + READ_BYTES])

    async def size(self, blob: BlobId) -> int:
        with self._translated(absent="There is no such blob."):
            meta = await obstore.head_async(self._store, self._key_to_read(blob))
        return meta["size"]

    async def fetch(self, blob: BlobId, folder: Path, *, expected: Written | None = None) -> Path:
        digest = hashlib.sha256()
        path = folder / blob
        file: BinaryIO | None = None
        size = 0
        try:
            async for piece in self._pieces(blob, 0, None, ahead=FETCH_AHEAD):
                if file is None:
                    file = await _in_thread(path.open, "wb")
                await _in_thread(_hash_and_write, piece, digest, file)
                size += len(piece)
            if file is None:
                await _in_thread(path.touch)
            else:
                await _in_thread(file.close)
        except BaseException:
            if file is not None:
                file.close()
            raise
        if expected is not None and expected != Written(size, digest.hexdigest()):
            raise Unavailable(
                f"The blob store gave other bytes for {blob} than were stored: {size:,} with SHA-256 "
                f"{digest.hexdigest()}, stored were {expected.bytes:,} with {expected.sha256}."
            )
        return path

    async def upload_url(self, blob: BlobId, *, size: int, expires_s: float) -> str | None:
        if size > MOST_PUT_BYTES:
            return None
        # The length is signed: S3 refuses a body of any other, so nobody can fill the bucket through a signed URL.
        headers = {"content-length": str(size)}
        keys, key = await self._credentials.frozen(), self._incoming(blob)
        return signed_url(self._public, keys, "PUT", key, expires_s=expires_s, headers=headers)

    async def adopt(self, blob: BlobId) -> None:
        """Copied inside S3 to where no client can write. (A signed URL can be used again until it expires.)"""
        with contextlib.suppress(NotFound):
            await self.size(blob)
            return
        with self._translated(absent="Nothing was uploaded."):
            await obstore.copy_async(self._store, self._incoming(blob), self._key(blob))

    async def forget_upload(self, blob: BlobId) -> None:
        with contextlib.suppress(BaseError, FileNotFoundError):  # else it goes with the leftovers
            await obstore.delete_async(self._store, self._incoming(blob))

    async def download_url(self, blob: BlobId, *, media_type: str, disposition: str, expires_s: float) -> str | None:
        keys = await self._credentials.frozen()
        parameters = {"response-content-type": media_type, "response-content-disposition": disposition}
        key = self._key_to_read(blob)
        return signed_url(self._public, keys, "GET", key, expires_s=expires_s, parameters=parameters)

    async def remove_leftovers(self, *, before_s: float) -> int:
        count = 0
        with self._translated(absent=None):
            async for page in obstore.list(self._store, prefix=f"{self.place.prefix}incoming/"):
                for meta in page:
                    if meta["last_modified"].timestamp() < before_s:
                        await obstore.delete_async(self._store, meta["path"])
                        count += 1
        return count + await abort_unfinished(self.place, await self._credentials.frozen(), before_s)

    async def delete(self, blob: BlobId) -> None:
        if not is_blob_id(blob):
            return
        for key in (self._key(blob), self._incoming(blob)):
            with self._translated(absent="gone"), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _put(
        self, blob: BlobId, chunks: AsyncIterator[bytes], *, max_bytes: int, part_bytes: int, parts_at_once: int
    ) -> Written:
        key = self._key(blob)
        await self._refuse_if_taken(blob)
        feed = Feed(chunks, max_bytes=min(max_bytes, MOST_PARTS * part_bytes))
        first = await feed.begin(part_bytes)
        with self._translated(absent=None):
            if feed.is_over:
                # Not "create only if absent": a try again after a lost answer would find its own first try.
                await obstore.put_async(self._store, key, b"".join(first), use_multipart=False)
            else:
                await feed.through(
                    lambda source: obstore.put_async(
                        self._store, key, source, chunk_size=part_bytes, max_concurrency=parts_at_once
                    ),
                    first,
                )
        return feed.written()

    async def _refuse_if_taken(self, blob: BlobId) -> None:
        with contextlib.suppress(NotFound):
            await self.size(blob)
            raise Conflict("A blob with this id is stored already; blobs never change.")

    async def _pieces(self, blob: BlobId, start: int, end: int | None, *, ahead: int) -> AsyncIterator[Any]:
        """The bytes in order, in pieces of PIECE_BYTES, the next `ahead` of them already on their way."""
        key = self._key_to_read(blob)
        first, size = await self._first_piece(key, start, end)
        stop = size if end is None else min(end, size)
        starts = iter(range(start + PIECE_BYTES, stop, PIECE_BYTES))
        coming: deque[asyncio.Future[Any]] = deque()

        def order() -> None:
            at = next(starts, None)
            if at is not None:
                to = min(at + PIECE_BYTES, stop)
                coming.append(asyncio.ensure_future(obstore.get_range_async(self._store, key, start=at, end=to)))

        try:
            for _ in range(ahead):
                order()
            if len(first):
                yield first
            del first
            while coming:
                with self._translated(absent="The blob is gone."):
                    piece = await coming.popleft()
                order()
                yield memoryview(piece)
                del piece
        finally:
            for each in coming:
                each.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def _first_piece(self, key: str, start: int, end: int | None) -> tuple[Any, int]:
        """The first bytes of the range and the size of the whole, by one request where the range is not empty."""
        to = start + PIECE_BYTES if end is None else min(end, start + PIECE_BYTES)
        with self._translated(absent="There is no such blob."):
            if to > start:
                try:
                    result = await obstore.get_async(self._store, key, options={"range": (start, to)})
                    return memoryview(await result.bytes_async()), result.meta["size"]
                except BaseError as error:
                    if "416" not in str(error).partition("\n")[0]:  # the range begins behind the end
                        raise
            meta = await obstore.head_async(self._store, key)
            return b"", min(meta["size"], start)

    def _key(self, blob: BlobId) -> str:
        if not is_blob_id(blob):
            raise ValueError(f"{blob!r} is not the id of a blob")
        return f"{self.place.prefix}{blob[-2:]}/{blob}"

    def _key_to_read(self, blob: BlobId) -> str:
        if not is_blob_id(blob):
            raise NotFound("There is no such blob.")
        return self._key(blob)

    def _incoming(self, blob: BlobId) -> str:
        if not is_blob_id(blob):
            raise ValueError(f"{blob!r} is not the id of a blob")
        return f"{self.place.prefix}incoming/{blob}"

    @contextlib.contextmanager
    def _translated(self, *, absent: str | None) -> Generator[None]:
        """obstore's errors in our words. absent: what a 404 means; None: the bucket itself is gone."""
        try:
            yield
        except FileNotFoundError as error:
            if absent is not None:
                raise NotFound(absent) from error
            raise Unavailable(f"The blob store cannot be used: there is no bucket {self.place.bucket!r}.") from error
        except BaseError as error:
            raise Unavailable(f"The blob store cannot be used: {_reason(error)}.") from error

    def _not_to_be_used(self, error: Exception) -> SpringtideError:
        """Why the store cannot be used from the start: a wrong setting, or a server that is down."""
        code = _code(error)
        if code in _WRONG_REGION:
            return ConfigError(f"blobs.url: {self.place} is not in the region {self.place.region!r}: {_reason(error)}")
        if isinstance(error, FileNotFoundError):
            return ConfigError(f"blobs.url: there is no bucket {self.place.bucket!r} ({self.place}). Make it first")
        if code in _KEYS_REFUSED:
            return ConfigError(f"blobs: {self.place} does not take the access key or its secret ({code})")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return ConfigError(
                f"blobs: these keys may not use {self.place} ({code or 'refused'}). They need s3:PutObject, "
                "s3:GetObject, s3:DeleteObject, s3:ListBucket, s3:ListBucketMultipartUploads and "
                "s3:AbortMultipartUpload"
            )
        return Unavailable(f"The blob store {self.place} cannot be reached: {_reason(error)}.")


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found[1] if found else None


def _reason(error: Exception) -> str:
    """obstore's first line; the rest is Rust's own view of it."""
    return str(error).partition("\n")[0].strip().rstrip(".")


async def _in_thread(call: Any, *args: Any) -> Any:
    """Run local file I/O off the event loop, its errors in our words."""
    try:
        return await asyncio.to_thread(call, *args)
    except OSError as error:
        raise Unavailable(f"A local file cannot be used: {error.strerror or error}.") from error


def _open_regular(path: Path) -> tuple[BinaryIO, int]:
    try:
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(f"There is no file {path.name!r} to store.") from error
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        file.close()
        raise NotFound(f"{path.name!r} is not a regular file.")
    return file, info.st_size


async def _chunks_of(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await _in_thread(file.read, MIB):
        yield chunk


def _hash_and_write(piece: Any, digest: Any, file: BinaryIO) -> None:
    digest.update(piece)
    file.write(piece)

"""What every blob store must do, as tests: subclass `BlobsSuite` and give it a `blobs` fixture.

    class TestMyStore(BlobsSuite):
        @pytest.fixture
        async def blobs(self, tmp_path):
            store = MyStore(...)
            await store.start()
            yield store
            await store.stop()

Promises nothing about speed; `benchmarks/` does that.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.blobs.protocol import Blobs, Written
from springtide.domain.errors import Conflict, NotFound, TooLarge, Unavailable
from springtide.domain.ids import BlobId
from springtide.runtime.ids import new_blob_id

MIB = 1 << 20
NO_LIMIT = 1 << 40


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read_all(blobs: Blobs, blob: BlobId, *, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(blob, start=start, end=end)])


class BlobsSuite:
    """The contract. `blobs` is a started store, empty or not."""

    @pytest.mark.parametrize("size", [0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
    async def test_what_goes_in_comes_out(self, blobs: Blobs, size: int) -> None:
        content = _pattern(size)
        blob = new_blob_id()
        written = await blobs.put(blob, stream(*_pieces(content, 64 * 1024)), max_bytes=NO_LIMIT)
        assert written.bytes == size == await blobs.size(blob)
        assert written.sha256 == hashlib.sha256(content).hexdigest()
        assert await read_all(blobs, blob) == content

    async def test_a_stream_in_one_large_chunk_is_stored_whole(self, blobs: Blobs) -> None:
        content = _pattern(5 * MIB)
        blob = new_blob_id()
        await blobs.put(blob, stream(b"", content, b""), max_bytes=NO_LIMIT)
        assert await read_all(blobs, blob) == content

    async def test_chunks_read_are_at_most_a_mebibyte(self, blobs: Blobs) -> None:
        blob = new_blob_id()
        await blobs.put(blob, stream(_pattern(3 * MIB + 5)), max_bytes=NO_LIMIT)
        sizes = [len(chunk) async for chunk in blobs.read(blob)]
        assert sum(sizes) == 3 * MIB + 5
        assert max(sizes) <= MIB

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, 0), (0, 1), (5, 10), (MIB - 1, MIB + 1), (100, None), (2 * MIB, None), (3 * MIB, None), (0, 9 * MIB)],
    )
    async def test_a_range_is_what_a_slice_would_be(self, blobs: Blobs, start: int, end: int | None) -> None:
        content = _pattern(2 * MIB + 100)
        blob = new_blob_id()
        await blobs.put(blob, stream(content), max_bytes=NO_LIMIT)
        assert await read_all(blobs, blob, start=start, end=end) == content[start:end]

    async def test_a_blob_may_be_exactly_as_large_as_the_limit(self, blobs: Blobs) -> None:
        blob = new_blob_id()
        assert (await blobs.put(blob, stream(b"12345", b"67890"), max_bytes=10)).bytes == 10

    @pytest.mark.parametrize("size", [11, 4 * MIB])
    async def test_past_the_limit_nothing_is_stored(self, blobs: Blobs, size: int) -> None:
        blob = new_blob_id()
        with pytest.raises(TooLarge):
            await blobs.put(blob, stream(*_pieces(_pattern(size), 64 * 1024)), max_bytes=size - 1)
        await _assert_absent(blobs, blob)

    async def test_a_stream_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield _pattern(2 * MIB)
            raise ConnectionResetError("the client went away")

        blob = new_blob_id()
        with pytest.raises(ConnectionResetError):
            await blobs.put(blob, broken(), max_bytes=NO_LIMIT)
        await _assert_absent(blobs, blob)

    async def test_a_cancelled_put_leaves_nothing_and_its_id_is_free(self, blobs: Blobs) -> None:
        reached = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield _pattern(2 * MIB)
            reached.set()
            await asyncio.Event().wait()

        blob = new_blob_id()
        put = asyncio.create_task(blobs.put(blob, endless(), max_bytes=NO_LIMIT))
        await reached.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await _assert_absent(blobs, blob)
        await blobs.put(blob, stream(b"again"), max_bytes=NO_LIMIT)
        assert await read_all(blobs, blob) == b"again"

    async def test_a_blob_is_absent_until_it_is_whole(self, blobs: Blobs) -> None:
        half_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield _pattern(2 * MIB)
            half_way.set()
            await go_on.wait()
            yield b"the end"

        blob = new_blob_id()
        put = asyncio.create_task(blobs.put(blob, slow(), max_bytes=NO_LIMIT))
        await half_way.wait()
        await _assert_absent(blobs, blob)
        go_on.set()
        await put
        assert await blobs.size(blob) == 2 * MIB + len(b"the end")

    async def test_a_blob_never_changes_once_stored(self, blobs: Blobs, tmp_path: Path) -> None:
        blob = new_blob_id()
        await blobs.put(blob, stream(b"first"), max_bytes=NO_LIMIT)
        with pytest.raises(Conflict):
            await blobs.put(blob, stream(b"second"), max_bytes=NO_LIMIT)
        other = tmp_path / "other"
        other.write_bytes(b"third")
        with pytest.raises(Conflict):
            await blobs.put_file(blob, other)
        assert await read_all(blobs, blob) == b"first"

    @pytest.mark.parametrize("size", [0, 10, 2 * MIB + 3])
    async def test_a_local_file_is_stored(self, blobs: Blobs, tmp_path: Path, size: int) -> None:
        content = _pattern(size)
        source = tmp_path / "made by an engine.bin"
        source.write_bytes(content)
        blob = new_blob_id()
        written = await blobs.put_file(blob, source)
        assert (written.bytes, written.sha256) == (size, hashlib.sha256(content).hexdigest())
        assert await read_all(blobs, blob) == content

    async def test_a_local_file_behind_a_link_is_stored_as_a_file(self, blobs: Blobs, tmp_path: Path) -> None:
        original, link = tmp_path / "original", tmp_path / "link"
        original.write_bytes(b"kept")
        link.symlink_to(original)
        blob = new_blob_id()
        await blobs.put_file(blob, link)
        original.write_bytes(b"changed later")
        assert await read_all(blobs, blob) == b"kept"

    async def test_a_local_file_that_has_a_second_name_is_copied(self, blobs: Blobs, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.write_bytes(b"kept")
        second.hardlink_to(first)
        blob = new_blob_id()
        await blobs.put_file(blob, first)
        second.write_bytes(b"changed later")
        assert await read_all(blobs, blob) == b"kept"

    async def test_a_local_file_that_is_not_there_is_said_to_be_missing(self, blobs: Blobs, tmp_path: Path) -> None:
        blob = new_blob_id()
        with pytest.raises(NotFound, match="gone"):
            await blobs.put_file(blob, tmp_path / "gone")
        with pytest.raises(NotFound):
            await blobs.put_file(blob, tmp_path)
        await _assert_absent(blobs, blob)

    async def test_a_fetched_file_holds_the_blob(self, blobs: Blobs, tmp_path: Path) -> None:
        content = _pattern(2 * MIB + 9)
        blob = new_blob_id()
        await blobs.put(blob, stream(content), max_bytes=NO_LIMIT)
        folder = tmp_path / "attempt"
        folder.mkdir()
        assert (await blobs.fetch(blob, folder)).read_bytes() == content

    @pytest.mark.parametrize("size", [0, 10, 9 * MIB + 1])
    async def test_a_fetched_file_is_checked_against_what_was_stored(
        self, blobs: Blobs, tmp_path: Path, size: int
    ) -> None:
        content = _pattern(size)
        blob = new_blob_id()
        written = await blobs.put(blob, stream(*_pieces(content, MIB)), max_bytes=NO_LIMIT)
        assert (await blobs.fetch(blob, tmp_path, expected=written)).read_bytes() == content
        with pytest.raises(Unavailable, match=str(blob)):
            await blobs.fetch(blob, tmp_path, expected=Written(size + 1, written.sha256))

    async def test_an_unknown_blob_is_not_found(self, blobs: Blobs) -> None:
        await _assert_absent(blobs, new_blob_id())

    @pytest.mark.parametrize(
        "text", ["", "..", "/etc/passwd", "../../etc/passwd", "blob_", "blob_" + "0" * 31, "blob_../../../etc/passwd\0"]
    )
    async def test_a_text_that_is_no_id_never_becomes_a_path(self, blobs: Blobs, text: str) -> None:
        await _assert_absent(blobs, BlobId(text))
        await blobs.delete(BlobId(text))
        with pytest.raises(ValueError, match="not the id"):
            await blobs.put(BlobId(text), stream(b"x"), max_bytes=10)

    async def test_a_deleted_blob_is_gone_and_deleting_again_is_no_error(self, blobs: Blobs) -> None:
        blob = new_blob_id()
        await blobs.put(blob, stream(b"x"), max_bytes=10)
        await blobs.delete(blob)
        await blobs.delete(blob)
        await _assert_absent(blobs, blob)

    async def test_leftovers_are_removed_and_blobs_and_uploads_under_way_are_not(self, blobs: Blobs) -> None:
        half_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield _pattern(2 * MIB)
            half_way.set()
            await go_on.wait()
            yield b"the end"

        kept, coming = new_blob_id(), new_blob_id()
        await blobs.put(kept, stream(b"kept"), max_bytes=NO_LIMIT)
        put = asyncio.create_task(blobs.put(coming, slow(), max_bytes=NO_LIMIT))
        await half_way.wait()
        assert await blobs.remove_leftovers(before_s=time.time() - 3600) == 0
        go_on.set()
        await put
        assert await read_all(blobs, kept) == b"kept"
        assert await blobs.size(coming) == 2 * MIB + len(b"the end")

    async def test_a_reader_may_stop_half_way(self, blobs: Blobs) -> None:
        blob = new_blob_id()
        await blobs.put(blob, stream(_pattern(4 * MIB)), max_bytes=NO_LIMIT)
        reader = blobs.read(blob)
        first = await anext(reader)
        await reader.aclose()  # type: ignore[attr-defined]  # a generator, as every store's is
        assert _pattern(4 * MIB).startswith(first)

    async def test_many_at_once_do_not_mix(self, blobs: Blobs) -> None:
        contents = {new_blob_id(): _pattern(n * 70_000, seed=n) for n in range(24)}
        await asyncio.gather(
            *(blobs.put(blob, stream(*_pieces(c, 30_000)), max_bytes=NO_LIMIT) for blob, c in contents.items())
        )
        back = await asyncio.gather(*(read_all(blobs, blob) for blob in contents))
        assert back == list(contents.values())

    async def test_memory_stays_flat_for_a_large_blob(self, blobs: Blobs) -> None:
        piece = _pattern(256 * 1024)

        async def large() -> AsyncIterator[bytes]:
            for _ in range(256):
                yield piece

        blob = new_blob_id()
        tracemalloc.start()
        try:
            await blobs.put(blob, large(), max_bytes=NO_LIMIT)
            size = 0
            async for chunk in blobs.read(blob):
                size += len(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size == 64 * MIB
        assert peak < 12 * MIB  # S3 takes parts of 5 MiB: one on its way, one being filled


async def _assert_absent(blobs: Blobs, blob: BlobId) -> None:
    with pytest.raises(NotFound):
        await blobs.size(blob)
    with pytest.raises(NotFound):
        await read_all(blobs, blob)
    with pytest.raises(NotFound):
        await blobs.fetch(blob, Path())


def _pattern(size: int, *, seed: int = 0) -> bytes:
    """Bytes whose repetition does not line up with any chunk size."""
    block = bytes((n * 7 + seed) % 251 for n in range(10_007))
    return (block * (size // len(block) + 1))[:size]


def _pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]

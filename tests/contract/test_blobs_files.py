"""The folder of files keeps the blob contract, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.blobs.files import FileBlobs
from springtide.domain.errors import Unavailable
from springtide.runtime.ids import new_blob_id
from springtide.testing.blobs_suite import MIB, NO_LIMIT, BlobsSuite, read_all, stream


class TestFileBlobs(BlobsSuite):
    @pytest.fixture
    async def blobs(self, tmp_path: Path) -> AsyncIterator[FileBlobs]:
        store = FileBlobs(tmp_path / "store")
        await store.start()
        yield store
        await store.stop()
        assert list((tmp_path / "store" / "incoming").iterdir()) == []


@pytest.fixture
async def store(tmp_path: Path) -> FileBlobs:
    store = FileBlobs(tmp_path / "store")
    await store.start()
    return store


def incoming(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store" / "incoming").iterdir())


async def test_a_file_on_the_same_disk_is_moved_not_copied(store: FileBlobs, tmp_path: Path) -> None:
    source = tmp_path / "result.png"
    source.write_bytes(b"x" * 1000)
    inode = source.stat().st_ino
    blob = new_blob_id()
    await store.put_file(blob, source)
    assert not source.exists()
    assert (await store.fetch(blob, tmp_path)).stat().st_ino == inode


async def test_a_file_on_another_disk_is_copied(
    store: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    source = tmp_path / "result.png"
    source.write_bytes(b"x" * 1000)
    linked = os.link
    monkeypatch.setattr(os, "link", lambda a, b: other_disk(a, b) if Path(a) == source else linked(a, b))
    blob = new_blob_id()
    assert (await store.put_file(blob, source)).bytes == 1000
    assert await read_all(store, blob) == b"x" * 1000
    assert not source.exists()


async def test_a_disk_without_hard_links_works_too(
    store: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    blob, other = new_blob_id(), new_blob_id()
    await store.put(blob, stream(b"one"), max_bytes=10)
    (tmp_path / "two").write_bytes(b"two")
    await store.put_file(other, tmp_path / "two")
    assert await read_all(store, blob) == b"one"
    assert await read_all(store, other) == b"two"
    assert incoming(tmp_path) == []


@pytest.mark.parametrize("size", [100, 3 * MIB])
async def test_a_full_disk_is_said_to_be_full_and_the_partial_blob_is_removed(
    store: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(Unavailable, match="full"):
        patch.setattr(os, "fsync", full)
        await store.put(new_blob_id(), stream(b"x" * size), max_bytes=NO_LIMIT)
    assert incoming(tmp_path) == []
    assert not list((tmp_path / "store").glob("??/*"))
    await store.put(new_blob_id(), stream(b"x" * size), max_bytes=NO_LIMIT)


async def test_a_blob_of_one_chunk_costs_one_thread_hop_each_way(
    store: FileBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops = 0
    to_thread = asyncio.to_thread

    async def counted(*args: object, **kwargs: object) -> object:
        nonlocal hops
        hops += 1
        return await to_thread(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", counted)
    blob = new_blob_id()
    await store.put(blob, stream(b"x" * 100, b"y" * 100_000), max_bytes=NO_LIMIT)
    assert hops == 1
    await read_all(store, blob)
    assert hops == 2


async def test_a_cancel_in_the_last_moment_leaves_no_blob_that_nobody_knows(
    store: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    fsync = os.fsync

    def announced(handle: int) -> None:
        loop.call_soon_threadsafe(reached.set)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", announced)
    put = asyncio.create_task(store.put(new_blob_id(), stream(b"x"), max_bytes=10))
    await reached.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert not list((tmp_path / "store").glob("??/*"))
    assert incoming(tmp_path) == []


async def test_what_a_killed_process_left_is_removed_at_start_and_what_a_live_one_writes_is_not(
    store: FileBlobs, tmp_path: Path
) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from springtide.blobs.files import FileBlobs
        from springtide.runtime.ids import new_blob_id

        async def chunks():
            yield b"x" * (2 << 20)
            yield b"x" * (2 << 20)  # asked for while the first is being written
            yield b"x"
            print("half way", flush=True)
            await asyncio.Event().wait()

        asyncio.run(FileBlobs(Path(sys.argv[1])).put(new_blob_id(), chunks(), max_bytes=1 << 30))
    """
    child = subprocess.Popen(  # noqa: ASYNC220 - a moment, in a test of its own
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "store")], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half way\n"
        await FileBlobs(tmp_path / "store").start()
        assert len(incoming(tmp_path)) == 1
        child.send_signal(signal.SIGKILL)
        child.wait()
        await FileBlobs(tmp_path / "store").start()
        assert incoming(tmp_path) == []
    finally:
        child.kill()
        child.communicate()


async def test_a_store_that_cannot_be_written_says_so_at_start(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    with pytest.raises(Unavailable):
        await FileBlobs(tmp_path / "store").start()


async def test_stored_files_are_read_only(store: FileBlobs, tmp_path: Path) -> None:
    blob = new_blob_id()
    await store.put(blob, stream(b"x"), max_bytes=10)
    assert (await store.fetch(blob, tmp_path)).stat().st_mode & 0o777 == 0o440

"""Blobs as files in one folder: what a laptop uses, and a cluster with a shared volume.

    folder/
    ├── incoming/                 what is being written; whoever writes a file here holds its lock (flock)
    ├── 00/ … ff/                 fan-out by the last two digits of the id: random ones, the first are the time
    │   └── blob_0198…7a          whole, read-only, never written again

Promises what `blobs.protocol` does. A blob is written under `incoming`, flushed to disk, given its name in one step,
and the name is flushed too: after `put` returns, a power cut takes nothing away. Several processes may use one folder.
A file that a crash left in `incoming` is removed at the next start: nobody holds its lock any more.

Refuses: any id that is not one of ours, so that no text of a client ever becomes a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import itertools
import logging
import math
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from springtide.blobs.protocol import Written
from springtide.domain.errors import Conflict, NotFound, TooLarge, Unavailable
from springtide.domain.ids import BlobId, is_blob_id

CHUNK_BYTES = 1 << 20  # a thread hop costs 50 to 100 µs, a MiB 300 µs to hash: smaller chunks would pay more for hops
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})

_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class FileBlobs:
    """`blobs.protocol.Blobs` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._incoming = self._folder / "incoming"

    async def start(self) -> None:
        await _in_thread(self._prepare)

    async def stop(self) -> None:
        """Nothing is held between calls."""

    async def put(self, blob: BlobId, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        upload = _Upload(self._incoming, self._path(blob))
        waiting: list[bytes] = []
        waiting_bytes = total = 0
        writing: asyncio.Future[None] | None = None  # hashed and written while the next chunk comes in
        async with _abandoned_unless_done(upload):
            async for chunk in chunks:
                total += len(chunk)
                if total > max_bytes:
                    raise TooLarge(
                        f"The file has more than {max_bytes:,} bytes, which is the limit here. Send a smaller one.",
                        max_bytes=max_bytes,
                    )
                waiting.append(chunk)
                waiting_bytes += len(chunk)
                if waiting_bytes >= CHUNK_BYTES:
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(_in_thread(upload.write, b"".join(waiting)))
                    writing.add_done_callback(_look_at)
                    waiting, waiting_bytes = [], 0
            if writing is not None:
                await writing
            return await _in_thread(upload.finish, b"".join(waiting))

    async def put_file(self, blob: BlobId, path: Path) -> Written:
        upload = _Upload(self._incoming, self._path(blob))
        async with _abandoned_unless_done(upload):
            return await _in_thread(upload.take, path)

    async def read(self, blob: BlobId, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        path = self._path_to_read(blob)
        file, chunk = await _in_thread(_open_and_read, path, start, end)
        try:
            at = start
            while chunk:
                yield chunk
                at += len(chunk)
                if file is None:
                    return
                chunk = await _in_thread(file.read, _wanted(at, end))
        finally:
            if file is not None:
                # Waits for a read that a cancel left running, hence not here.
                await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, file.close))

    async def size(self, blob: BlobId) -> int:
        return await _in_thread(_stored_size, self._path_to_read(blob))

    async def fetch(self, blob: BlobId, folder: Path, *, expected: Written | None = None) -> Path:
        """The store's own file: nothing is copied, `folder` stays empty."""
        path = self._path_to_read(blob)
        size = await _in_thread(_stored_size, path)
        if expected is not None and size != expected.bytes:
            raise Unavailable(f"The file of {blob} is damaged: it has {size:,} bytes, {expected.bytes:,} were stored.")
        return path

    async def upload_url(self, blob: BlobId, *, size: int, expires_s: float) -> str | None:
        """None: the folder is reached through the gateway."""
        return None

    async def adopt(self, blob: BlobId) -> None:
        """What the gateway stored is a blob already."""
        await self.size(blob)

    async def forget_upload(self, blob: BlobId) -> None:
        """There is nothing besides the blob."""

    async def download_url(self, blob: BlobId, *, media_type: str, disposition: str, expires_s: float) -> str | None:
        """None: the folder is reached through the gateway."""
        return None

    async def remove_leftovers(self, *, before_s: float) -> int:
        return await _in_thread(_remove_abandoned, self._incoming, before_s)

    async def delete(self, blob: BlobId) -> None:
        if is_blob_id(blob):
            await _in_thread(self._path(blob).unlink, missing_ok=True)

    def _path(self, blob: BlobId) -> Path:
        if not is_blob_id(blob):
            raise ValueError(f"{blob!r} is not the id of a blob")
        return self._folder / blob[-2:] / blob

    def _path_to_read(self, blob: BlobId) -> Path:
        if not is_blob_id(blob):
            raise NotFound("There is no such blob.")
        return self._path(blob)

    def _prepare(self) -> None:
        for folder in (self._folder, self._incoming, *(self._folder / f"{n:02x}" for n in range(256))):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        _flush_folder(self._folder)
        _remove_abandoned(self._incoming)
        probe = _Upload(self._incoming, self._incoming / "never-named")
        try:
            probe.write(b"can this folder be written?")
        finally:
            probe.abandon()


class _Upload:
    """One file on its way in. Used from one thread after another; `abandon` may come at any time and waits its turn."""

    def __init__(self, incoming: Path, target: Path) -> None:
        self._incoming = incoming
        self._target = target
        self._turn = threading.Lock()  # a cancelled caller leaves its thread running
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._is_named = False
        self._is_over = False

    def write(self, chunk: bytes) -> None:
        with self._turn:
            self._write(chunk)

    def finish(self, last: bytes) -> Written:
        """Write the last chunk and give the blob its name."""
        with self._turn:
            file = self._write(last)
            path = self._path
            assert path is not None
            file.flush()
            self._publish(path, file)
            self._close()
            return Written(self._bytes, self._hash.hexdigest())

    def take(self, source: Path) -> Written:
        """Move a local file in: by renaming where that is possible, else by copying."""
        try:
            opened = source.open("rb", buffering=0)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound(f"There is no file {source.name!r} to store.") from error
        with opened as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise NotFound(f"{source.name!r} is not a regular file.")
            # A link would be moved as a link, and a file with two names could still be written by the other one.
            is_ours_alone = not source.is_symlink() and info.st_nlink == 1
            if is_ours_alone and info.st_dev == self._incoming.stat().st_dev:
                written = self._move(source, file)
                if written is not None:
                    return written
                file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                self.write(chunk)
        written = self.finish(b"")
        with contextlib.suppress(OSError):
            source.unlink()
        return written

    def abandon(self) -> None:
        """Leave nothing behind: nobody has been told of this blob."""
        with self._turn:
            self._is_over = True
            with contextlib.suppress(OSError):
                if self._is_named:
                    self._target.unlink(missing_ok=True)
                self._close()

    def _move(self, source: Path, file: BinaryIO) -> Written | None:
        digest = hashlib.sha256()
        size = 0
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
        with self._turn:
            self._refuse_if_over()
            try:
                self._publish(source, file)
            except OSError as error:
                if self._is_named or error.errno not in _NO_LINK | {errno.EXDEV}:
                    raise
                return None  # somebody else's file, or two mounts of one disk: copy
            source.unlink(missing_ok=True)
        return Written(size, digest.hexdigest())

    def _publish(self, path: Path, file: BinaryIO) -> None:
        os.fchmod(file.fileno(), 0o440)
        os.fsync(file.fileno())
        _name(path, self._target)
        self._is_named = True
        _flush_folder(self._target.parent)

    def _write(self, chunk: bytes) -> BinaryIO:
        self._refuse_if_over()
        if self._file is None:
            self._path, self._file = _open_locked(self._incoming, self._target.name)
        self._hash.update(chunk)
        self._file.write(chunk)
        if sys.platform == "linux" and len(chunk) >= CHUNK_BYTES:
            # Linux begins to write these pages out now, without waiting: at the end fsync finds them on disk already
            # (50 MB: 3 ms instead of 20 ms).
            os.posix_fadvise(self._file.fileno(), self._bytes, len(chunk), os.POSIX_FADV_DONTNEED)
        self._bytes += len(chunk)
        return self._file

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise Unavailable("The upload was broken off.")

    def _close(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()
        self._path = self._file = None


@contextlib.asynccontextmanager
async def _abandoned_unless_done(upload: _Upload) -> AsyncGenerator[None]:
    try:
        yield
    except BaseException:
        # Handed to a thread before the first await, so that it happens even where this task is cancelled again.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, upload.abandon))
        raise


def _look_at(done: asyncio.Future[None]) -> None:
    """An error of the write is raised where it is awaited, or an earlier one is on its way already."""
    if not done.cancelled():
        done.exception()


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking file I/O off the event loop, its errors in our words."""
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable("The blob store is full. Free some disk space and try again.") from error
        raise Unavailable(f"The blob store cannot be used: {error.strerror or error}.") from error


def _open_and_read(path: Path, start: int, end: int | None) -> tuple[BinaryIO | None, bytes]:
    """The first chunk, and the open file where there is more: a small blob costs one hop."""
    file = _open(path)
    try:
        size = os.fstat(file.fileno()).st_size
        file.seek(start)
        chunk = file.read(_wanted(start, end))
        if start + len(chunk) < (size if end is None else min(size, end)):
            return file, chunk
    except BaseException:
        file.close()
        raise
    file.close()
    return None, chunk


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound("There is no such blob.") from error


def _stored_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        raise NotFound("There is no such blob.") from error


def _wanted(at: int, end: int | None) -> int:
    return CHUNK_BYTES if end is None else max(0, min(CHUNK_BYTES, end - at))


def _open_locked(incoming: Path, name: str) -> tuple[Path, BinaryIO]:
    """A new file in `incoming` whose lock we hold. A start-up elsewhere may remove it before the lock is ours."""
    for number in itertools.count():
        path = incoming / f"{name}.{os.getpid()}.{number}"
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink == 1:
                return path, file
        file.close()
    raise AssertionError("counting never ends")


def _remove_abandoned(incoming: Path, before_s: float = math.inf) -> int:
    """Remove what nobody writes any more and was last written before then."""
    count = 0
    for leftover in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < before_s and _is_abandoned(leftover):
                _log.info("removing %s, which a crash left half written", leftover.name)
                leftover.unlink()
                count += 1
    return count


def _is_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # somebody is writing it, or has just finished
        return False


def _name(path: Path, target: Path) -> None:
    """Give the file at `path` the name `target` as well."""
    try:
        os.link(path, target)  # unlike a rename, never replaces a blob
    except FileExistsError as error:
        raise _taken() from error
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        if target.exists():  # a disk without hard links
            raise _taken() from error
        path.rename(target)


def _taken() -> Conflict:
    return Conflict("A blob with this id is stored already; blobs never change.")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

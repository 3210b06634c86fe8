"""Files as a caller gives them (a path, bytes, an open file), made into something that can be sent more than once.

Promises: a request that is tried again sends the same bytes from their beginning; an open file is read from where it
stands and left open. Refuses text files and folders, with the reason. A plain `str` is a value, never a path.
"""

from __future__ import annotations

import contextlib
import io
import mimetypes
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, cast

import msgspec

from springtide.client.errors import ClientError

FileInput: TypeAlias = "os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"
SPOOL_BYTES = 8 << 20  # of a pipe, more than this waits on disk
PIECE = 1 << 18


class Source(msgspec.Struct, frozen=True):
    """A file to send. opened: a fresh reader at its beginning, each time."""

    name: str
    size: int
    opened: Callable[[], AbstractContextManager[BinaryIO]]

    @property
    def media_type(self) -> str:
        """By its name; the server looks at the bytes."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


def is_file(value: Any) -> bool:
    """Whether a value of a job's inputs is a file to send."""
    return isinstance(value, os.PathLike | bytes | bytearray | memoryview) or hasattr(value, "read")


def source(value: FileInput, *, name: str | None = None) -> Source:
    """What to send for it. name: shown by the server, never used as a path. Raises ClientError."""
    if isinstance(value, os.PathLike):
        return _of_path(Path(value), name)
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return Source(name or "file", len(data), lambda: contextlib.nullcontext(io.BytesIO(data)))
    if not hasattr(value, "read"):
        raise ClientError(f"a file is a Path, bytes or a file opened for reading in binary, not {type(value).__name__}")
    return _of_reader(value, name)


def _of_path(path: Path, name: str | None) -> Source:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}", code="unreadable_file") from error
    return Source(name or path.name, size, lambda: path.open("rb"))


def _of_reader(reader: IO[bytes], name: str | None) -> Source:
    if isinstance(reader, io.TextIOBase) or isinstance(reader.read(0), str):
        raise ClientError("the file is open as text; open it in binary: open(path, 'rb')", code="unreadable_file")
    own = getattr(reader, "name", None)
    name = name or (Path(own).name if isinstance(own, str) else "file")
    if not _can_seek(reader):
        spool = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - lives as long as the source
        while piece := reader.read(PIECE):
            spool.write(piece)
        spool.seek(0)
        reader = spool
    start = reader.tell()
    size = reader.seek(0, os.SEEK_END) - start
    reader.seek(start)
    return Source(name, size, lambda: contextlib.nullcontext(cast("BinaryIO", _Part(reader, start, size))))


def _can_seek(reader: IO[bytes]) -> bool:
    try:
        return reader.seekable()
    except AttributeError:
        return False


class _Part:
    """An open file from `start` on, as a file of its own: what a form part is read from."""

    def __init__(self, reader: IO[bytes], start: int, size: int) -> None:
        self._reader, self._start, self._size = reader, start, size
        reader.seek(start)

    def read(self, size: int = -1) -> bytes:
        return self._reader.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self._reader.seek(self._start + self._size + offset) - self._start
        return self._reader.seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return self._reader.tell() - self._start

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE):
            yield piece

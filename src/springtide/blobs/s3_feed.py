"""A stream on its way into the store: counted, hashed, and handed over in pieces.

The store's library pulls from an iterator of its own; the source is read in the caller's task. So a source that breaks
off, a limit that is passed and a caller who is cancelled all end the upload in the same way: the library's iterator
raises, and the library aborts what it had begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from springtide.blobs.protocol import Written
from springtide.domain.errors import TooLarge

PIECE_BYTES = 1 << 20  # each piece costs a hop to the library and one to a thread that hashes


class _BrokenOff(Exception):
    """Nobody wants the upload any more."""


class Feed:
    """One stream, read once: `begin` with what a single request may hold, then `through` for the rest."""

    def __init__(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self._bytes = 0
        self._hash = hashlib.sha256()
        self.is_over = False

    def written(self) -> Written:
        return Written(self._bytes, self._hash.hexdigest())

    async def begin(self, size: int) -> deque[bytes]:
        """At least the first `size` bytes, or all there are (then `is_over`). Raises TooLarge past the limit."""
        pieces: deque[bytes] = deque()
        count = 0
        while count < size and (piece := await self._next()):
            pieces.append(piece)
            count += len(piece)
        return pieces

    async def through(self, upload: Callable[[AsyncIterator[bytes]], Awaitable[object]], first: deque[bytes]) -> None:
        """Hand `first` and the rest of the stream to `upload`. Whatever ends this early makes `upload` abort."""
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        is_broken_off = False

        async def source() -> AsyncIterator[bytes]:
            while (piece := await pieces.get()) is not None:
                yield piece
                del piece
            if is_broken_off:
                raise _BrokenOff

        uploading = asyncio.ensure_future(upload(source()))
        try:
            while first:
                await _offer(pieces, first.popleft(), uploading)
            while piece := await self._next():
                await _offer(pieces, piece, uploading)
            await _offer(pieces, None, uploading)
            await asyncio.shield(uploading)
        except BaseException:
            is_broken_off = True
            while not pieces.empty():
                pieces.get_nowait()
            pieces.put_nowait(None)
            with contextlib.suppress(Exception):  # an error of the upload that matters is being raised already
                await asyncio.shield(uploading)
            raise

    async def _next(self) -> bytes:
        """At least PIECE_BYTES, or what is left."""
        taken: list[bytes] = []
        count = 0
        while count < PIECE_BYTES and not self.is_over:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.is_over = True
                break
            count += len(chunk)
            self._bytes += len(chunk)
            if self._bytes > self._max_bytes:
                raise TooLarge(
                    f"The file has more than {self._max_bytes:,} bytes, which is the limit here. Send a smaller one.",
                    max_bytes=self._max_bytes,
                )
            taken.append(chunk)
        piece = taken[0] if len(taken) == 1 else b"".join(taken)
        if piece:
            await asyncio.to_thread(self._hash.update, piece)
        return piece


async def _offer(pieces: asyncio.Queue[bytes | None], piece: bytes | None, uploading: asyncio.Future[object]) -> None:
    """Put `piece` in the queue, unless the upload fails first: then its error."""
    if not pieces.full():
        pieces.put_nowait(piece)
        return
    waiting = asyncio.ensure_future(pieces.put(piece))
    try:
        await asyncio.wait([waiting, uploading], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await uploading
    finally:
        waiting.cancel()

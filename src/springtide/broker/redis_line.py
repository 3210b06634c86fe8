"""A short way for scripts, for an idle worker's wait and for messages: a connection past the client library's layers,
which carries many calls at once.

The library takes some 150 µs of processor for a call (pool, retries, telemetry of its own), and a job waits for
four of them. It still makes the connection, so addresses, passwords, TLS and Sentinels stay its business, and it hands
over a socket that is logged in. Promises: what is no plain reply raises `LineBroken`, and the caller does the call
again the library's way, which alone decides what an error means: every call may happen twice. Refuses Clusters: which
node has the keys is more than a line should know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

import hiredis

log = logging.getLogger(__name__)
Arg = str | bytes | int | float

_pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)  # its stub knows only tuples of one
READ_BYTES = 1 << 16
AGAIN_S = 1.0  # between tries to open it: until then there is the long way


async def heard(connection: Any) -> AsyncIterator[Any]:
    """What comes on a connection of the library's that has subscribed, until it breaks (ConnectionError). The library
    takes as long for each message as a script does."""
    stream: asyncio.StreamReader = connection._reader
    reader = hiredis.Reader()
    while data := await stream.read(READ_BYTES):
        reader.feed(data)
        while (message := reader.gets()) is not False:
            yield message
    raise ConnectionError("the connection was closed")


class LineBroken(Exception):
    """There was no plain reply; the call may have happened."""


class ScriptLine:
    """Opens itself in the background when it is first wanted, and again after it broke."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        """connect: gives a connection of the library's that nobody else uses, logged in."""
        self._connect = connect
        self._opening: asyncio.Task[None] | None = None
        self._open: _Open | None = None
        self._is_closed = False

    async def evaluate(self, sha: str, tag: str, args: Sequence[Arg], within_s: float) -> Any:
        """The reply of a script that the server knows. Raises LineBroken."""
        opened = self._there()
        return _plain(opened, await opened.call(_pack(("EVALSHA", sha, 1, tag, *args)), within_s))

    async def wait(self, command: tuple[Arg, ...], within_s: float) -> Any:
        """The reply of a command that waits, on a line that has nothing else to do meanwhile. Called off, it ends the
        line: the server must not give anything to nobody. Raises LineBroken."""
        opened = self._there()
        if opened.is_busy:
            raise LineBroken
        try:
            return _plain(opened, await opened.call(_pack(command), within_s))
        except asyncio.CancelledError:
            opened.drop()
            raise

    def _there(self) -> _Open:
        if self._open is None or self._open.is_lost:
            self._open_soon()
            raise LineBroken
        return self._open

    async def close(self) -> None:
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening
        if self._open is not None:
            self._open.drop()

    def _open_soon(self) -> None:
        if not self._is_closed and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._open_once(), name="redis-line")

    async def _open_once(self) -> None:
        try:
            self._open = _Open(await self._connect())
        except Exception as error:  # the long way meets the same one and says it
            log.debug("no short way to the broker: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_S)


def _plain(opened: _Open, reply: Any) -> Any:
    if isinstance(reply, hiredis.HiredisError):
        if not str(reply).startswith("NOSCRIPT"):  # a replica now, or not for this user: find out anew who is master
            opened.drop()
        raise LineBroken
    return reply


class _Open(asyncio.Protocol):
    """The connection while it lasts: replies come in the order of the calls."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # kept: it would close the socket when it is collected
        self._transport = cast("asyncio.Transport", connection._writer.transport)
        self._before = self._transport.get_protocol()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self.is_lost = self._transport.is_closing()
        self._transport.set_protocol(self)

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting)

    async def call(self, command: bytes, within_s: float) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        self._transport.write(command)
        timer = self._loop.call_later(within_s, self.drop)  # who does not answer one call answers none
        try:
            return await future
        finally:
            timer.cancel()

    def drop(self) -> None:
        if not self.is_lost:
            self._transport.abort()
            self.connection_lost(None)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(LineBroken())
        self._waiting.clear()
        self._connection._close()
        self._before.connection_lost(exc)

"""A loopback proxy that breaks the network on command: what stands between a process and its server in tests.

    with FaultProxy(("127.0.0.1", server.port)) as line:
        connect_to(line.port)
        line.stall()        # connections stay open, nothing gets through any more
        line.delay(0.2)     # every piece comes this many seconds later
        line.cut()          # every connection is reset, new ones are refused
        line.half_close()   # the server's half of every open connection ends; the client may go on talking
        line.lose_replies() # what clients send arrives, no answer comes back
        line.mend()         # new connections pass; those that were stalled are reset, as after a real partition

With a TLS context it also speaks TLS towards its clients, for servers built without. It runs in a thread of its own,
so that a test may block. A target may also be the path of a Unix socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType

PIECE = 1 << 16


class Mode(StrEnum):
    """What happens to a piece of data on its way."""

    WHOLE = "whole"
    STALL = "stall"
    CUT = "cut"
    LOSE_REPLIES = "lose_replies"


class FaultProxy:
    """Passes bytes to `target` (host and port, or a Unix socket's path) until told otherwise."""

    def __init__(self, target: tuple[str, int] | Path, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._mode = Mode.WHOLE
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.passed = 0  # bytes, both ways

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stall(self) -> None:
        self._call(lambda: self._become(Mode.STALL))

    def lose_replies(self) -> None:
        self._call(lambda: self._become(Mode.LOSE_REPLIES))

    def cut(self) -> None:
        self._call(lambda: self._become(Mode.CUT))

    def delay(self, seconds: float) -> None:
        def slow() -> None:
            self._delay_s = seconds

        self._call(slow)

    def half_close(self) -> None:
        def end() -> None:
            for line in self._lines:
                line.end_replies()

        self._call(end)

    def mend(self) -> None:
        def whole() -> None:
            if self._mode is not Mode.WHOLE:
                self._reset_all()
            self._mode, self._delay_s = Mode.WHOLE, 0.0

        self._call(whole)

    @property
    def connections(self) -> int:
        return len(self._lines)

    # --- inside the thread --------------------------------------------------------------------------------------

    def _call(self, change: Callable[[], None]) -> None:
        async def run() -> None:
            change()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # they end with their connections

    def _become(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.CUT:
            self._reset_all()

    def _reset_all(self) -> None:
        for line in list(self._lines):
            line.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            if isinstance(self._target, Path):
                there = await asyncio.open_unix_connection(self._target)
            else:
                there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, there[1])
        self._lines.add(line)
        try:
            await asyncio.gather(
                self._pump(reader, there[1], is_reply=False), self._pump(there[0], writer, is_reply=True)
            )
        finally:
            self._lines.discard(line)
            line.reset()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_reply: bool) -> None:
        try:
            while piece := await source.read(PIECE):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._mode is Mode.STALL or (is_reply and self._mode is Mode.LOSE_REPLIES):
                    continue
                target.write(piece)
                await target.drain()
                self.passed += len(piece)
            if self._mode is not Mode.STALL and target.can_write_eof():
                target.write_eof()
        except OSError:  # reset, as by a client's death in the middle of an answer: the other side hears of it too
            if self._mode is not Mode.STALL:
                target.transport.abort()
        except RuntimeError:  # this half was ended by half_close
            pass


class _Line:
    """One client's connection and its other half."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server

    def reset(self) -> None:
        for half in (self._client, self._server):
            half.transport.abort()

    def end_replies(self) -> None:
        if self._client.can_write_eof():
            with contextlib.suppress(OSError):
                self._client.write_eof()
        else:  # TLS knows no half-closed connection
            self._client.transport.abort()

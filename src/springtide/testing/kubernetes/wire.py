"""HTTP/1.1 on loopback, by hand: the double must be able to die in the middle of an answer and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read to its end."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """JSON at once, or `lines` of it for as long as they come."""

    code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    lines: AsyncIterator[bytes] | None = None


class Dropped(Exception):
    """Raised by an answerer: the connection is cut without an answer."""


class Wire:
    """A listener that can be killed and started again on the same port."""

    def __init__(self, answer: Callable[[Request], Awaitable[Reply]]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def kill(self) -> None:
        """Nobody listens any more, and every connection is reset."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        talks = dict(self._talks)
        for task, writer in talks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        try:
            while (request := await _read(reader)) is not None:
                await _write(writer, await self._answer(request))
        except (Dropped, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side has gone, or is meant to believe that we have
        finally:
            del self._talks[task]
            writer.transport.abort() if task.cancelling() else writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method=method, path=unquote(parts.path), query=query, headers=headers, body=body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = {"Content-Type": "application/json", **reply.headers}
    headers |= {"Transfer-Encoding": "chunked"} if reply.lines else {"Content-Length": str(len(reply.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.code} X\r\n{lines}\r\n".encode("latin-1") + reply.body)
    await writer.drain()
    if reply.lines is None:
        return
    async with contextlib.aclosing(reply.lines) as chunks:  # type: ignore[type-var]  # a generator, as all are here
        async for line in chunks:
            writer.write(b"%x\r\n%b\n\r\n" % (len(line) + 1, line))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()

"""Small HTTP servers on loopback that answer as they are told, well or badly, and remember what they were sent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


def answering(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> Reply:
    """A plain answer; length: what the header says in place of the truth."""

    async def reply(got: Got, writer: asyncio.StreamWriter) -> None:
        said = {"Content-Length": str(len(body) if length is None else length), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)

    return reply


async def endless(got: Got, writer: asyncio.StreamWriter) -> None:
    """A body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def silent(got: Got, writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    await asyncio.Event().wait()


async def trickling(got: Got, writer: asyncio.StreamWriter) -> None:
    """A head, one byte, and then nothing more: as the slowest of bodies looks at any one moment."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    await asyncio.Event().wait()


async def broken(got: Got, writer: asyncio.StreamWriter) -> None:
    """An answer that breaks off."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")


async def nonsense(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")


@dataclass
class WebServer:
    """What is set as `reply` answers; `got` is what came."""

    port: int
    scheme: str
    reply: Reply = field(default_factory=answering)
    got: list[Got] = field(default_factory=list)
    by_path: dict[str, Reply] = field(default_factory=dict)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def wait_for(self, count: int) -> list[Got]:
        """Wait until so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.got) >= count)
        return self.got


@contextlib.asynccontextmanager
async def web_server(reply: Reply | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[WebServer]:
    """A server on a free port of 127.0.0.1."""
    here: WebServer | None = None
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert here is not None
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            got = Got(method, path, headers, body)
            async with here.arrived:
                here.got.append(got)
                here.arrived.notify_all()
            await here.by_path.get(path.partition("?")[0], here.reply)(got, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    here = WebServer(server.sockets[0].getsockname()[1], "https" if tls else "http", reply or answering())
    try:
        yield here
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

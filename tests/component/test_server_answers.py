"""Answers on the wire: what is there as a whole leaves in one piece, and nothing else about an answer differs."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from springtide.gateway.server import MOST_COPIED, serve

OK = {"type": "http.response.start", "status": 200}
LENGTH_2 = (b"content-length", b"2")
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def served(*messages: Any) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of a server whose app answers with these; a function among them is called in its place."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await (message() if callable(message) else send(message))

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ready, stop = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(app, listener, stop, grace_s=1.0, on_ready=ready.set))
    await ready.wait()
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        stop.set()
        await serving


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Any:
    return {**OK, "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What each write to a server's transport held."""
    found: list[bytes] = []
    made: Callable[..., None] = asyncio.selector_events._SelectorSocketTransport.write  # type: ignore[attr-defined]

    def write(self: Any, data: Any) -> None:
        if bytes(data[:5]) != b"GET /" and bytes(data[:6]) != b"HEAD /":
            found.append(bytes(data))
        made(self, data)

    monkeypatch.setattr(asyncio.selector_events._SelectorSocketTransport, "write", write)  # type: ignore[attr-defined]
    return found


async def test_an_answer_that_is_whole_leaves_in_one_write(writes: list[bytes]) -> None:
    async with served(start((b"x-a", b"1"), LENGTH_2), body(b"hi")) as (reader, writer):
        for _ in range(2):
            writer.write(ASK)
            assert await reader.readuntil(b"hi") == b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nhi"
    assert len(writes) == 2


async def test_a_long_answer_is_not_copied_to_leave_in_one_write(writes: list[bytes]) -> None:
    data = b"x" * (MOST_COPIED + 1)
    async with served(start((b"content-length", b"%d" % len(data))), body(data)) as (reader, writer):
        writer.write(ASK)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(data)) == data
    assert [len(each) for each in writes][1:] == [len(data)]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served(start(LENGTH_2), body(b"hi")) as (reader, writer):
        writer.write(ASK * 3)
        for _ in range(3):
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 OK")


async def test_an_answer_in_parts_begins_with_its_first_part() -> None:
    go_on = asyncio.Event()
    async with served(start(), body(b"one", more=True), go_on.wait, body(b"two")) as (reader, writer):
        writer.write(ASK)
        assert (await reader.readuntil(b"one\r\n")).endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("asked", "answer", "told"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", start(LENGTH_2), b"content-length: 2\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", start(LENGTH_2), b"content-length: 2\r\n"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", start(LENGTH_2), b"content-length: 2\r\n"),
        (ASK, start(LENGTH_2, (b"connection", b"close")), b"content-length: 2\r\n"),
    ],
    ids=["HEAD", "close", "HTTP/1.0", "closed by the app"],
)
async def test_what_is_asked_for_otherwise_is_answered_as_ever(asked: bytes, answer: Any, told: bytes) -> None:
    async with served(answer, body(b"hi")) as (reader, writer):
        writer.write(asked)
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert told in head and b"connection: close" in head
        assert rest == (b"" if asked.startswith(b"HEAD") else b"hi")


@pytest.mark.parametrize(
    "messages",
    [
        (start(LENGTH_2, (b"x-a", b"1\r\nset-cookie: b")), body(b"hi")),
        (start(LENGTH_2), body(b"more than was said")),
        (start(LENGTH_2), body(b"1")),
        (start(LENGTH_2),),
        (start(LENGTH_2), start(LENGTH_2)),
    ],
    ids=["a header with a line break", "too long", "too short", "without a body", "two heads"],
)
async def test_an_answer_that_is_none_is_never_sent_as_one(messages: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL + 1, "uvicorn.error"):
        async with served(*messages) as (reader, writer):
            writer.write(ASK)
            told = await reader.read()
    assert b"set-cookie" not in told and not told.endswith(b"\r\n\r\nhi")


async def test_a_client_that_left_meanwhile_is_written_to_no_more() -> None:
    left = asyncio.Event()
    async with served(left.wait, start(LENGTH_2), body(b"hi"), left.clear) as (_, writer):
        writer.write(ASK)
        writer.transport.abort()
        for _ in range(5):
            await asyncio.sleep(0)
        left.set()
        while left.is_set():
            await asyncio.sleep(0)

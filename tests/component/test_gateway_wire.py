"""What clients do to a socket: heads without end, requests that fall silent, uploads past every limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world, served

from springtide.gateway.server import MOST_HEAD_BYTES

SILENCE_S = 0.2
TRICKLE_S = 1.5  # a machine that does something else for a second between two bytes is not silence
LIMIT = 2 << 30  # as [server] max_upload_mb
HEAD = b"POST /v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_upload_bytes=LIMIT) as made:
        yield made


@pytest.fixture
async def address(world: World) -> AsyncGenerator[tuple[str, int]]:
    async with served(world, silence_s=SILENCE_S) as found:
        yield found


async def answer_to(address: tuple[str, int], *sent: bytes) -> tuple[int, dict[str, Any]]:
    """The status and problem that a server answers with before it hangs up."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in sent:
            writer.write(part)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"application/problem+json" in head, head
        return int(head.split(b" ")[1]), json.loads(body)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"X-Much: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(1000)) + b"\r\n",
        b"X-Much: " + b"x" * (1 << 20),
        b"X-Much: " + b"x" * (MOST_HEAD_BYTES + 1) + b"\r\n\r\n",
    ],
    ids=["one header", "many headers", "without an end", "just too much"],
)
async def test_a_megabyte_of_headers_is_431(address: tuple[str, int], head: bytes) -> None:
    status, problem = await answer_to(address, b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n", head)
    assert (status, problem["code"]) == (431, "headers_too_large")


async def test_a_head_that_fits_is_read_and_the_next_request_too(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Much: " + b"x" * 60_000 + b"\r\n\r\n"
    for _ in range(2):
        writer.write(asked)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"status":"ok"}'))
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /v1/jobs HTTP/1.1\r\nHo",
        HEAD + b"Content-Length: 1000\r\n\r\nfirst bytes",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD.replace(b"/v1/blobs", b"/v1/jobs/batches").replace(b"octet-stream", b"x-ndjson")
        + b"Content-Length: 1000\r\n\r\n{}\n",
    ],
    ids=["nothing", "half a head", "half an upload", "half a chunked upload", "half a batch"],
)
async def test_a_request_that_falls_silent_is_given_up_and_nothing_is_kept(
    world: World, address: tuple[str, int], sent: bytes
) -> None:
    status, problem = await answer_to(address, sent)
    assert (status, problem["code"]) == (408, "request_stalled") and f"{SILENCE_S:g} s" in problem["detail"]
    while world.stored():
        await asyncio.sleep(0)
    assert (await world.http.get("/v1/jobs/batches")).json()["data"] == []


async def test_a_client_that_trickles_is_heard_out(world: World) -> None:
    async with served(world, silence_s=TRICKLE_S) as patient:
        reader, writer = await asyncio.open_connection(*patient)
        writer.write(HEAD + b"Content-Length: 8\r\n\r\n")
        for byte in b"hear me!":
            await asyncio.sleep(TRICKLE_S / 6)
            writer.write(bytes([byte]))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")
        writer.close()


async def test_a_client_that_waits_for_its_answer_is_not_silent(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    body = b'{"model": "synthetic"}'
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nPrefer: wait=%d\r\nContent-Length: %d\r\n\r\n" % (1, len(body))
    writer.write(head + body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")  # after a second of silence
    writer.close()


async def test_three_gigabytes_announced_are_refused_before_a_byte_is_read(
    world: World, address: tuple[str, int]
) -> None:
    announced = HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (3 << 30)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(announced)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413") and b"100 Continue" not in head
    assert world.stored() == []
    writer.close()


async def test_an_upload_without_an_end_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    limit = 4 << 20
    async with gateway_world(tmp_path, max_upload_bytes=limit) as world:
        sent = 0

        async def endless() -> AsyncGenerator[bytes]:
            nonlocal sent
            while True:
                sent += 1 << 16
                yield bytes(1 << 16)

        answer = await world.http.post("/v1/blobs", content=endless())
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert sent <= limit + (1 << 20) and world.stored() == []

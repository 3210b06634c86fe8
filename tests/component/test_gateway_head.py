"""HEAD answers as GET does, without a body; and what is no HTTP, or too long a URL, is answered as a problem too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gateway_world import World, gateway_world, served

from springtide.gateway.context import Gateway

VARIES = {"x-request-id", "content-length"}  # an age or an estimate in the body is as long as it is


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
async def address(world: World) -> AsyncGenerator[tuple[str, int]]:
    async with served(world) as where:
        yield where


async def talk(address: tuple[str, int], request: bytes) -> tuple[bytes, bytes]:
    """Send bytes, read to the end: head and body of the answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_whatever_answers_get_answers_head_with_the_same_headers_and_no_body(world: World) -> None:
    job = await world.submit()
    blob = (await world.http.post("/v1/blobs", content=b"x" * 100_000)).json()["id"]
    paths = ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/models", "/v1/models/sketch", "/v1/jobs"]
    paths += [f"/v1/jobs/{job['id']}{rest}" for rest in ("", "/result", "/attempts")]
    paths += [f"/v1/blobs/{blob}", "/nowhere", "/v1/jobs?limit=0"]
    for path in paths:
        get, head = await world.http.get(path), await world.http.head(path)
        assert head.content == b"" and head.status_code == get.status_code, path
        ours, theirs = ({k: v for k, v in each.headers.items() if k not in VARIES} for each in (head, get))
        assert ours == theirs and ("content-length" in head.headers) == ("content-length" in get.headers), path


async def test_head_of_a_download_tells_its_size_and_range(world: World) -> None:
    blob = (await world.http.post("/v1/blobs", content=b"x" * 100_000)).json()["id"]
    whole = await world.http.head(f"/v1/blobs/{blob}")
    assert whole.headers["content-length"] == "100000" and whole.headers["accept-ranges"] == "bytes"
    part = await world.http.head(f"/v1/blobs/{blob}", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.headers["content-range"] == "bytes 10-19/100000"


async def test_head_of_a_live_stream_ends_at_once(world: World) -> None:
    job = await world.submit()
    answer = await world.http.head(f"/v1/jobs/{job['id']}/events")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    gateway: Gateway = world.app.state["gateway"]
    assert gateway.live.streams == 0


async def test_head_where_only_post_is_served_is_405_and_get_names_head(world: World) -> None:
    job = await world.submit()
    assert (await world.http.head(f"/v1/jobs/{job['id']}/cancel")).status_code == 405
    wrong = await world.http.delete("/v1/jobs")
    assert wrong.status_code == 405 and "HEAD" in wrong.headers["allow"]
    assert "HEAD" not in (await world.http.delete(f"/v1/jobs/{job['id']}/cancel")).headers["allow"]


async def test_over_a_socket_the_next_request_follows_a_head(address: tuple[str, int]) -> None:
    once = b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    head, rest = await talk(address, once + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"content-length" in head
    assert rest.startswith(b"HTTP/1.1 200") and rest.endswith(b'{"status":"ok"}')


async def test_a_url_that_is_too_long_is_a_problem(address: tuple[str, int]) -> None:
    head, body = await talk(address, b"GET /v1/jobs?x=%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"y" * 100_000))
    assert head.startswith(b"HTTP/1.1 414") and b"application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (414, "uri_too_long") and "100011 bytes" in problem["detail"]


async def test_what_is_no_http_is_a_problem(address: tuple[str, int]) -> None:
    head, body = await talk(address, b"\x16\x03\x01\x02 hello?\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["code"] == "malformed_request"

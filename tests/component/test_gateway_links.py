"""Signed links: a file without a key, for a time, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Forbidden, NotFound
from springtide.domain.ids import BlobId
from springtide.gateway.links import STEADY_S, Links
from springtide.gateway.services import Keyless
from springtide.testing.clock import ManualClock

BLOB = BlobId("blob_" + "0" * 32)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def finished(world: World) -> dict[str, Any]:
    """The one file of a job that has ended, as it is read now."""
    job = await world.submit()
    drawing = await world.output(b"0123456789", media_type="image/png", name="夏 1.png")
    await world.complete(await world.lease(), {"drawing": drawing.id}, (drawing,))
    return (await world.http.get(job["result_url"])).json()["drawing"]


def parts(url: str) -> tuple[str, str, str]:
    parsed = httpx.URL(url)
    return parsed.path.rpartition("/")[2], parsed.params["expires"], parsed.params["signature"]


async def test_a_link_opens_its_file_without_a_key_whole_or_a_range_of_it(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        file = await finished(world)
        blob = (await world.http.post("/v1/blobs", content=b"abc")).json()
        world.app.state["gateway"].access._keyless = Keyless.REFUSED
        assert (await world.http.get(file["url"])).status_code == 401
        answer = await world.http.get(file["signed_url"], headers={"range": "bytes=2-4"})
        assert (answer.status_code, answer.content) == (206, b"234") and answer.headers["content-type"] == "image/png"
        assert "filename*=UTF-8''%E5%A4%8F%201.png" in answer.headers["content-disposition"]
        assert (await world.http.head(file["signed_url"])).headers["content-length"] == "10"
        assert (await world.http.get(blob["signed_url"])).content == b"abc"
        for shown in (file, blob):
            assert shown["expires_at_s"] > world.services.clock.now_s() + 3500 and shown["expires_at"].endswith("Z")


async def test_a_link_that_was_changed_opens_nothing(world: World) -> None:
    file, other = await finished(world), await finished(world)
    blob, expires, signature = parts(file["signed_url"])
    for path, query in (
        (parts(other["signed_url"])[0], {"expires": expires, "signature": signature}),
        (blob, {"expires": str(int(expires) + 1), "signature": signature}),
        (blob, {"expires": expires, "signature": signature[:-1]}),
        (blob, {"expires": expires, "signature": ""}),
        (blob, {"expires": "never", "signature": "é"}),
        ("blob_x", {"expires": expires, "signature": signature}),
    ):
        answer = await world.http.get(f"/v1/links/{path}", params=query)
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_link"), path
    assert (await world.http.get(f"/v1/links/{blob}")).status_code == 400


async def test_a_link_dies_with_its_job(world: World) -> None:
    file = await finished(world)
    job = file["url"].split("/")[-3]
    assert (await world.http.delete(f"/v1/jobs/{job}")).status_code == 204
    assert (await world.http.get(file["signed_url"])).status_code == 404


async def test_a_link_expires_and_stays_the_same_for_a_while() -> None:
    clock = ManualClock(1_000_000.0)
    links = Links("secret", link_s=3600, clock=clock)
    signed = links.sign(BLOB)
    assert 3600 <= signed.expires_at_s - clock.now_s() <= 3600 + STEADY_S
    await clock.advance(1.0)
    assert links.sign(BLOB) == signed
    blob, expires, signature = parts(f"http://x{signed.path}")
    Links("secret", link_s=1, clock=clock).check(blob, expires, signature)  # another gateway with the same key
    with pytest.raises(Forbidden):
        Links("other", link_s=3600, clock=clock).check(blob, expires, signature)
    await clock.advance(3600 + STEADY_S)
    assert links.sign(BLOB) != signed
    with pytest.raises(NotFound) as caught:
        links.check(blob, expires, signature)
    assert caught.value.code == "link_expired"

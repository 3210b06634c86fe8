"""Uploads and downloads that go past the gateway: one protocol for every store, and nothing believed that is sent."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncGenerator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.blobs.s3 import S3Blobs
from springtide.blobs.s3_place import S3Keys
from springtide.domain.errors import Unavailable
from springtide.testing.media import picture
from springtide.testing.s3 import KEY, SECRET, S3Server

Send = Callable[..., Any]
_prefixes = count(1)


def png() -> bytes:
    file = io.BytesIO()
    picture().save(file, "PNG")
    return file.getvalue()


def on_s3(s3: S3Server, **more: Any) -> S3Blobs:
    keys = S3Keys(access_key_id=KEY, secret_access_key=SECRET)
    return S3Blobs(s3.url(f"direct/{next(_prefixes)}"), keys=keys, **more)


@pytest.fixture(params=["files", "s3", "s3 through the gateway"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World]:
    blobs = None if request.param == "files" else on_s3(request.getfixturevalue("s3"))
    direct = request.param == "s3"
    async with gateway_world(tmp_path, blobs=blobs, presigned_uploads=direct, max_upload_bytes=8_000_000) as made:
        yield made


async def ask(world: World, **said: Any) -> dict[str, Any]:
    answer = await world.http.post("/v1/blobs/uploads", json=said)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def put(world: World, upload: dict[str, Any], data: Any) -> httpx.Response:
    """As a client that knows nothing but the answer: to the store itself, or back to the gateway."""
    if upload["url"].startswith("http://media.test"):
        return await world.http.put(upload["url"], content=data, headers=upload["headers"])
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.put(upload["url"], content=data, headers=upload["headers"])


async def complete(world: World, upload: dict[str, Any]) -> httpx.Response:
    return await world.http.post(upload["complete_url"])


async def test_a_file_is_announced_sent_completed_and_used(world: World) -> None:
    data = png()
    upload = await ask(
        world,
        bytes=len(data),
        name="../me.png",
        media_type="text/plain",
        sha256=hashlib.sha256(data).hexdigest().upper(),
    )
    assert (upload["method"], upload["bytes"]) == ("PUT", len(data))
    assert (await put(world, upload, data)).is_success
    completed = await complete(world, upload)
    assert completed.status_code == 201, completed.text
    view = completed.json()
    assert (view["id"], view["media_type"], view["name"]) == (upload["id"], "image/png", "me.png")
    assert (await complete(world, upload)).json() == view
    assert (await complete(world, upload)).status_code == 200
    assert (await world.http.get(view["url"])).content == data
    accepted = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": view["id"]}})
    assert accepted.status_code == 202, accepted.text


async def test_what_is_not_completed_is_no_blob(world: World) -> None:
    data = png()
    upload = await ask(world, bytes=len(data))
    await put(world, upload, data)
    assert (await world.http.get(f"/v1/blobs/{upload['id']}")).status_code == 404
    named = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": upload["id"]}})
    assert named.status_code == 422


async def test_bad_media_reaches_no_engine_by_this_way_either(world: World) -> None:
    data = b"<html>no picture at all</html>"
    upload = await ask(world, bytes=len(data), media_type="image/png", name="a.png")
    await put(world, upload, data)
    view = (await complete(world, upload)).json()
    assert view["media_type"] != "image/png"
    refused = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": view["id"]}})
    assert refused.status_code == 422 and refused.json()["code"] in {"wrong_media_type", "broken_media", "bad_media"}


async def test_completed_before_the_bytes_are_there_it_may_be_completed_later(world: World) -> None:
    upload = await ask(world, bytes=3)
    early = await complete(world, upload)
    assert (early.status_code, early.json()["code"]) == (409, "upload_missing")
    assert (await put(world, upload, b"abc")).is_success
    assert (await complete(world, upload)).status_code == 201


async def test_another_length_than_announced_is_not_taken(world: World) -> None:
    for data in (b"ab", b"abcd"):
        upload = await ask(world, bytes=3)
        assert (await put(world, upload, data)).status_code in {403, 413, 422}  # a signature of S3 covers the length
        assert (await complete(world, upload)).json()["code"] == "upload_missing"


async def test_other_bytes_than_announced_are_discarded(world: World) -> None:
    upload = await ask(world, bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    assert (await put(world, upload, b"abd")).is_success
    refused = await complete(world, upload)
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_checksum")
    assert (await complete(world, upload)).json()["code"] == "unknown_upload"
    assert (await world.http.get(f"/v1/blobs/{upload['id']}")).status_code == 404


async def test_what_is_put_after_completion_changes_nothing(world: World) -> None:
    upload = await ask(world, bytes=3)
    await put(world, upload, b"abc")
    view = (await complete(world, upload)).json()
    await put(world, upload, b"xyz")
    await complete(world, upload)
    assert (await world.http.get(view["url"])).content == b"abc"


async def test_of_many_completions_at_once_one_is_the_first(world: World) -> None:
    upload = await ask(world, bytes=3)
    await put(world, upload, b"abc")
    answers = await asyncio.gather(*(complete(world, upload) for _ in range(8)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(201) == 1 and set(codes) <= {200, 201, 409}


async def test_a_store_that_fails_in_the_middle_lets_it_be_completed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await ask(world, bytes=3)
    await put(world, upload, b"abc")

    async def down(*_: Any) -> None:
        raise Unavailable("the ledger is down")

    with monkeypatch.context() as patch:
        patch.setattr(world.services.ledger, "finish_upload", down)
        assert (await complete(world, upload)).status_code == 503
    assert (await complete(world, upload)).status_code == 201


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({}, ["bytes"]),
        ({"bytes": 0}, ["bytes"]),
        ({"bytes": True}, ["bytes"]),
        ({"bytes": "3"}, ["bytes"]),
        ({"bytes": 3, "size": 3}, ["size"]),
        ({"bytes": -1, "name": 3, "media_type": "png", "sha256": "abc"}, ["bytes", "name", "media_type", "sha256"]),
    ],
)
async def test_everything_wrong_in_an_announcement_is_told_at_once(
    tmp_path: Path, said: dict[str, Any], wrong: list[str]
) -> None:
    async with gateway_world(tmp_path) as world:
        answer = await world.http.post("/v1/blobs/uploads", json=said)
        assert answer.status_code == 422
        assert [item["loc"] for item in answer.json()["errors"]] == wrong
        assert (await world.http.post("/v1/blobs/uploads", content=b"[1]")).status_code == 400


async def test_too_much_is_refused_before_a_byte_is_sent(world: World) -> None:
    answer = await world.http.post("/v1/blobs/uploads", json={"bytes": 8_000_001})
    assert answer.status_code == 413


async def test_the_gateways_url_opens_only_to_its_token_and_only_for_its_time(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        upload = await ask(world, bytes=3)
        for token in ("wrong", "", "ä"):
            refused = await world.http.put(f"/v1/blobs/uploads/{upload['id']}", params={"token": token}, content=b"abc")
            assert (refused.status_code, refused.json()["code"]) == (404, "unknown_upload")
        assert world.stored() == []
    async with gateway_world(tmp_path, upload_url_s=0.0) as world:
        upload = await ask(world, bytes=3)
        late = await world.http.put(upload["url"], content=b"abc")
        assert (late.status_code, late.json()["code"]) == (410, "upload_expired")


async def test_while_one_request_writes_an_upload_no_other_does_and_it_is_not_completed(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        upload = await ask(world, bytes=6)
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncGenerator[bytes]:
            yield b"abc"
            reached.set()
            await go_on.wait()
            yield b"def"

        first = asyncio.create_task(world.http.put(upload["url"], content=slow()))
        await reached.wait()
        second = await world.http.put(upload["url"], content=b"xxxxxx")
        assert (second.status_code, second.json()["code"]) == (409, "upload_busy")
        assert (await complete(world, upload)).json()["code"] == "upload_busy"
        go_on.set()
        assert (await first).is_success
        assert (await complete(world, upload)).status_code == 201


# --- downloads --------------------------------------------------------------------------------------------------------


async def test_a_download_is_redirected_to_the_store_where_that_is_asked_for(s3: S3Server, tmp_path: Path) -> None:
    async with gateway_world(tmp_path, blobs=on_s3(s3)) as world:
        data = png()
        blob = (await world.http.post("/v1/blobs?name=猫.png", content=data)).json()
        plain = await world.http.get(blob["url"])
        assert (plain.status_code, plain.content) == (200, data)
        redirected = await world.http.get(blob["url"], params={"redirect": "1"})
        assert redirected.status_code == 307 and redirected.headers["cache-control"] == "no-store"
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(redirected.headers["location"], headers={"Range": "bytes=0-3"})
            assert (answer.status_code, answer.content) == (206, data[:4])
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["content-disposition"] == plain.headers["content-disposition"]
            changed = redirected.headers["location"].replace(blob["id"], "blob_" + "0" * 32)
            assert (await http.get(changed)).status_code == 403
        assert (await world.http.head(blob["url"], params={"redirect": "1"})).status_code == 200
        seen = {"If-None-Match": f'"{blob["sha256"]}"'}
        assert (await world.http.get(blob["url"], params={"redirect": "1"}, headers=seen)).status_code == 304


async def test_redirects_may_be_the_rule_and_a_client_may_still_ask_for_the_bytes(s3: S3Server, tmp_path: Path) -> None:
    async with gateway_world(tmp_path, blobs=on_s3(s3), presigned_downloads=True) as world:
        blob = (await world.http.post("/v1/blobs", content=b"abc")).json()
        assert (await world.http.get(blob["url"])).status_code == 307
        assert (await world.http.get(blob["url"], params={"redirect": "0"})).content == b"abc"


async def test_a_store_without_urls_of_its_own_gives_the_bytes(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, presigned_downloads=True) as world:
        blob = (await world.http.post("/v1/blobs", content=b"abc")).json()
        for parameters in ({}, {"redirect": "1"}):
            assert (await world.http.get(blob["url"], params=parameters)).content == b"abc"


async def test_signed_urls_name_the_address_that_clients_use(s3: S3Server, tmp_path: Path) -> None:
    public = "https://media.example.org"
    async with gateway_world(tmp_path, blobs=on_s3(s3, public_endpoint=public)) as world:
        assert (await ask(world, bytes=3))["url"].startswith(f"{public}/{s3.bucket}/direct/")


async def test_signed_urls_expire(s3: S3Server, tmp_path: Path) -> None:
    store = on_s3(s3)
    await store.start()
    url = await store.upload_url("blob_" + "1" * 32, size=3, expires_s=1)
    assert url is not None
    ends_at = time.monotonic() + 30
    async with httpx.AsyncClient(trust_env=False) as http:
        while (await http.put(url, content=b"abc")).is_success:
            assert time.monotonic() < ends_at
            await asyncio.sleep(0.05)

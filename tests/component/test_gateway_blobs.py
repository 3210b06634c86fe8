"""Uploads and downloads: streamed, ranged, cached, and never a way to run somebody's HTML."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Unavailable
from springtide.domain.ids import BlobId, TenantId
from springtide.domain.job import BlobRef
from springtide.ledger.protocol import StoredBlob
from springtide.testing.media import picture

DATA = bytes(range(256)) * 10_000  # 2.5 MB: more than two chunks


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_upload_bytes=3_000_000) as made:
        yield made


async def upload(world: World, data: bytes = DATA, **kwargs: Any) -> dict[str, Any]:
    answer = await world.http.post("/v1/blobs", content=data, **kwargs)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_upload_is_stored_as_it_is_and_described(world: World) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(DATA), 100_000):
            yield DATA[start : start + 100_000]

    answer = await world.http.post("/v1/blobs?name=a/b%5Cdata.bin", content=chunks())
    body = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == body["url"]
    assert (body["bytes"], body["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (body["name"], body["media_type"]) == ("data.bin", "application/octet-stream")
    back = await world.http.get(body["url"])
    assert back.content == DATA and back.headers["content-length"] == str(len(DATA))
    assert back.headers["etag"] == f'"{body["sha256"]}"'


async def test_the_media_type_is_what_the_bytes_say(world: World, tmp_path: Path) -> None:
    picture().save(tmp_path / "p.png")
    png = (tmp_path / "p.png").read_bytes()
    told = await upload(world, png, headers={"content-type": "image/jpeg"})
    lied = await upload(world, b"just words", headers={"content-type": "image/png"})
    srt = await upload(world, b"1\n00:00 --> 00:01\nHi\n", headers={"content-type": "application/x-subrip"})
    assert told["media_type"] == "image/png"
    assert lied["media_type"] != "image/png" and srt["media_type"] != "image/png"


async def test_a_form_with_one_file_is_an_upload_too(world: World) -> None:
    answer = await world.http.post("/v1/blobs", files={"file": ("x.bin", DATA)})
    assert answer.status_code == 201 and answer.json()["name"] == "x.bin" and answer.json()["bytes"] == len(DATA)


@pytest.mark.parametrize(
    "files",
    [[("a", ("a", b"1")), ("b", ("b", b"2"))], [("a", (None, "text"))], [("a", ("a", b"1")), ("n", (None, "x"))]],
    ids=["two files", "no file", "a text beside it"],
)
async def test_a_form_that_is_not_one_file_is_refused(world: World, files: Any) -> None:
    assert (await world.http.post("/v1/blobs", files=files)).status_code == 422
    assert world.stored() == []


async def test_an_empty_and_a_too_large_upload_are_refused_and_removed(world: World) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(31):
            yield bytes(100_000)

    empty = await world.http.post("/v1/blobs", content=b"")
    announced = await world.http.post("/v1/blobs", content=bytes(3_000_001))
    streamed = await world.http.post("/v1/blobs", content=chunks())
    assert (empty.status_code, empty.json()["code"]) == (422, "empty_file")
    assert announced.status_code == streamed.status_code == 413
    assert world.stored() == []


async def test_an_upload_that_cannot_be_recorded_is_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any) -> None:
        raise Unavailable("the ledger is down")

    monkeypatch.setattr(world.services.ledger, "put_blobs", down)
    assert (await world.http.post("/v1/blobs", content=DATA)).status_code == 503
    assert world.stored() == []


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, len(DATA)), ("bytes=-5", len(DATA) - 5, len(DATA))],
)
async def test_one_range_is_sent(world: World, asked: str, start: int, end: int) -> None:
    url = (await upload(world))["url"]
    answer = await world.http.get(url, headers={"Range": asked})
    assert answer.status_code == 206 and answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


async def test_ranges_that_cannot_be_sent(world: World) -> None:
    url = (await upload(world))["url"]
    outside = await world.http.get(url, headers={"Range": f"bytes={len(DATA)}-"})
    assert outside.status_code == 416 and outside.headers["content-range"] == f"bytes */{len(DATA)}"
    for ignored in ("bytes=0-1,5-6", "lines=1-2", "bytes=9-1", "bytes=-"):
        answer = await world.http.get(url, headers={"Range": ignored})
        assert answer.status_code == 200 and len(answer.content) == len(DATA)
    changed = await world.http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert changed.status_code == 200


async def test_what_the_client_has_is_not_sent_again(world: World) -> None:
    body = await upload(world)
    answer = await world.http.get(body["url"], headers={"If-None-Match": f'W/"x", "{body["sha256"]}"'})
    assert answer.status_code == 304 and answer.content == b""


async def test_uploaded_html_cannot_run_here(world: World) -> None:
    body = await upload(
        world, b"<script>alert(1)</script>", headers={"content-type": "text/html"}, params={"name": 'x".html'}
    )
    answer = await world.http.get(body["url"])
    assert answer.headers["content-disposition"].startswith('attachment; filename="x_.html"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "tail",
    [
        b"<html><script>alert(1)</script></html>",
        b"PK\x03\x04" + bytes(26) + b"evil.class",
        b"<?php system($_GET[0]); ?>",
    ],
    ids=["HTML", "zip", "PHP"],
)
async def test_a_polyglot_is_a_picture_here_and_nothing_else(world: World, tmp_path: Path, tail: bytes) -> None:
    picture().save(tmp_path / "p.png")
    both = (tmp_path / "p.png").read_bytes() + tail
    body = await upload(world, both, headers={"content-type": "text/html"}, params={"name": "p.png.html"})
    answer = await world.http.get(body["url"])
    assert body["media_type"] == answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_a_page_that_begins_like_a_picture_is_none(world: World) -> None:
    body = await upload(world, b"GIF89a/*" + bytes(64) + b"*/=1;alert(1)")
    job = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": body["id"]}})
    assert job.status_code == 422 and job.json()["code"] in {"broken_media", "wrong_media_type"}


@pytest.mark.parametrize(
    "name", ["../../../etc/cron.d/x", "/etc/passwd", "..\\..\\boot.ini", "a\x00b/../c", "....//x", ".."]
)
async def test_a_path_in_a_file_name_leads_nowhere(world: World, tmp_path: Path, name: str) -> None:
    before = _copies_outside(tmp_path)
    body = await upload(world, params={"name": name})
    form = await world.http.post("/v1/blobs", files={"file": (name, DATA)})
    assert form.status_code == 201
    for told in (body, form.json()):
        shown = told["name"] or ""
        assert not {"/", "\\", "\x00"} & set(shown) and shown not in {".", ".."}
        answer = await world.http.get(told["url"])
        assert answer.content == DATA and ".." not in answer.headers["content-disposition"].split(";")
    assert _copies_outside(tmp_path) <= before


def _copies_outside(folder: Path) -> set[Path]:
    """Files beside `folder`, however deep, that hold what is uploaded here: whatever else is there may come and go."""
    found = set[Path]()
    for path in folder.parent.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not path.is_relative_to(folder) and path.is_file() and path.stat().st_size == len(DATA):
                found |= {path} if path.read_bytes() == DATA else set()
    return found


async def test_a_blob_of_another_tenant_is_not_there(world: World) -> None:
    ref = BlobRef(id=BlobId("blob_" + "1" * 32), media_type="image/png", bytes=1, sha256="0" * 64)
    other = StoredBlob(ref=ref, tenant=TenantId("other"), created_at_s=0.0)
    await world.services.ledger.put_blobs([other])
    for blob in (ref.id, "blob_" + "2" * 32, "..%2fetc"):
        assert (await world.http.get(f"/v1/blobs/{blob}")).status_code == 404
    answer = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": ref.id}})
    assert answer.status_code == 422 and "no blob" in answer.json()["detail"]

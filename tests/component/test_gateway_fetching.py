"""Inputs by URL: fetched, inspected and kept like uploads, or refused with nothing stored."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world, soon
from web_servers import Got, WebServer, answering, endless, silent, trickling, web_server

from springtide.domain.ids import JobId
from springtide.egress.client import Egress
from springtide.testing.media import picture


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    picture((64, 48)).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


@pytest.fixture
async def web(photo: bytes) -> AsyncGenerator[WebServer]:
    async with web_server(answering(200, photo, {"Content-Type": "text/html"})) as made:
        yield made


async def submit(world: World, inputs: Any, *, model: str = "sketch", **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    return await world.http.post("/v1/jobs", json={"model": model, "inputs": inputs, **more}, headers=headers)


async def refused(world: World, url: Any, code: str, *, status: int = 422) -> dict[str, Any]:
    answer = await submit(world, {"picture": url})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["errors"][0]["loc"] == "picture" and body["errors"][0]["code"] == code
    assert world.stored() == []
    return body


@pytest.mark.parametrize("as_object", [False, True])
async def test_a_url_becomes_a_file_of_the_job(world: World, web: WebServer, as_object: bool) -> None:
    url = web.url("/folder/holiday.png?X-Amz-Signature=abc%2Fd")
    answer = await submit(world, {"picture": {"url": url} if as_object else url})
    assert answer.status_code == 202, answer.text
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None
    [ref] = job.input_files
    assert (ref.media_type, ref.name, job.inputs["picture"]) == ("image/png", "holiday.png", ref.id)
    assert job.predicted_s == pytest.approx(64 * 48 / 1000)  # it was looked at
    assert "X-Amz" not in answer.text and web.got[0].path.endswith("?X-Amz-Signature=abc%2Fd")
    assert len(world.stored()) == 1


async def test_a_data_url_is_a_file_too(world: World, photo: bytes) -> None:
    await refused(world, "data:image/png;base64,@@@@", "url_refused")
    large = base64.b64encode(b"x" * 300_001).decode()
    await refused(world, f"data:image/png;base64,{large}", "url_too_large", status=413)
    answer = await submit(world, {"picture": f"data:image/png;base64,{base64.b64encode(photo).decode()}"})
    assert answer.status_code == 202, answer.text


async def test_several_urls_in_a_list_and_in_a_form(world: World, web: WebServer, photo: bytes) -> None:
    urls = [web.url(f"/{n}.png") for n in range(6)]
    answer = await submit(world, {"pictures": [*urls, urls[0]]}, model="album")
    assert answer.status_code == 202, answer.text
    assert len(web.got) == 6  # the same one twice is fetched once
    form = await world.http.post("/v1/jobs", data={"model": "sketch", "picture": urls[0]}, files={"mask": photo})
    assert form.status_code == 202, form.text


async def test_a_step_of_a_pipeline_may_name_a_url(world: World, web: WebServer) -> None:
    step = {"model": "sketch", "inputs": {"picture": {"$from": "drawing"}, "mask": web.url("/mask.png")}}
    answer = await submit(world, {"picture": web.url("/a.png")}, then=[step])
    assert answer.status_code == 202, answer.text
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None and len(job.input_files) == 2
    wrong = await submit(
        world, {"picture": web.url()}, then=[{**step, "inputs": {**step["inputs"], "mask": "https://10.0.0.1/"}}]
    )
    assert wrong.json()["errors"][0]["loc"] == "then.0.inputs.mask"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "https://[fd00:ec2::254]/latest/",
        "https://10.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://user:pw@1.1.1.1/",
        "https://1.1.1.1:6379/",
        {"url": "file:///etc/passwd"},
    ],
)
async def test_a_url_to_the_inside_is_refused(world: World, url: Any) -> None:
    await refused(world, url, "url_refused")


async def test_a_redirect_to_the_inside_is_not_followed(world: World, web: WebServer) -> None:
    web.reply = answering(302, headers={"Location": "http://169.254.169.254/latest/?token=t"})
    body = await refused(world, web.url("/?sig=hidden"), "url_bad_answer")
    assert "hidden" not in str(body) and "token" not in str(body)


async def test_a_body_that_never_ends_or_never_comes_leaves_nothing(tmp_path: Path, web: WebServer) -> None:
    async with gateway_world(tmp_path) as world:
        web.reply = endless
        await refused(world, web.url(), "url_too_large", status=413)
    async with gateway_world(tmp_path, fetch_s=0.5) as world:
        for reply in (trickling, silent):
            web.reply = reply
            await refused(world, web.url(), "url_timed_out")
    assert web.got, "the others may have been given up before they came so far"


async def test_what_comes_is_inspected_like_an_upload(world: World, web: WebServer) -> None:
    web.reply = answering(200, b"<html>sign in first</html>", {"Content-Type": "image/png"})
    answer = await submit(world, {"picture": web.url()})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_media_type"), answer.text
    assert world.stored() == []


async def test_every_url_that_fails_is_told(world: World, web: WebServer) -> None:
    web.by_path["/gone"] = answering(404)
    answer = await submit(world, {"picture": web.url("/gone"), "mask": "https://192.168.0.1/"})
    told = {item["loc"]: item["code"] for item in answer.json()["errors"]}
    assert told == {"picture": "url_bad_answer", "mask": "url_refused"}
    assert world.stored() == []


async def test_a_wrong_field_beside_a_url_leaves_no_file(world: World, web: WebServer) -> None:
    answer = await submit(world, {"picture": web.url(), "strength": 7})
    assert answer.status_code == 422 and world.stored() == []
    assert (await submit(world, {"picture": {"url": 7}})).status_code == 422


async def test_a_repeated_key_is_answered_though_the_url_has_expired(world: World, web: WebServer) -> None:
    first = await submit(world, {"picture": web.url("/?sig=1")}, headers={"Idempotency-Key": "k"})
    again = await submit(world, {"picture": web.url("/?sig=2")}, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == first.json()["id"]  # the same bytes by another signature are the same request
    web.reply = answering(403)
    late = await submit(world, {"picture": web.url("/?sig=1")}, headers={"Idempotency-Key": "k"})
    assert (late.status_code, late.json()["id"]) == (202, first.json()["id"])
    other = await submit(world, {"picture": web.url("/?sig=1")}, headers={"Idempotency-Key": "other"})
    assert other.json()["code"] == "url_bad_answer"
    assert len(world.stored()) == 1


async def test_a_batch_fetches_too_and_a_wrong_item_takes_no_other_along(world: World, web: WebServer) -> None:
    jobs: list[Any] = [
        {"model": "sketch", "inputs": {"picture": web.url("/1.png")}},
        {"model": "sketch", "inputs": {"picture": "https://10.0.0.1/x"}},
        {"model": "sketch", "inputs": {"picture": web.url("/2.png"), "strength": 9}},
        {"model": "synthetic", "inputs": {}},
    ]
    batch = (await world.http.post("/v1/jobs/batches", json={"jobs": jobs})).json()
    items = (await world.http.get(batch["items_url"])).json()["data"]
    assert [item["status"] for item in items] == ["queued", "refused", "refused", "queued"], items
    assert items[1]["problem"]["code"] == "url_refused"
    assert len(world.stored()) == 1


async def test_a_tenant_cannot_hold_the_gateway_with_slow_servers(tmp_path: Path, web: WebServer) -> None:
    enough = asyncio.Event()

    async def slow_reply(got: Got, writer: asyncio.StreamWriter) -> None:
        await enough.wait()
        await answering(404)(got, writer)

    web.by_path["/slow"] = slow_reply
    async with gateway_world(tmp_path, max_tenant_fetches=1) as world:
        slow = await soon(submit(world, {"picture": web.url("/slow")}))
        await web.wait_for(1)
        busy = await submit(world, {"picture": web.url("/quick.png")})
        assert (busy.status_code, busy.json()["code"]) == (429, "too_many_fetches") and busy.headers["retry-after"]
        assert (await submit(world, {}, model="synthetic")).status_code == 202
        enough.set()
        assert (await slow).json()["code"] == "url_bad_answer"
        assert (await submit(world, {"picture": web.url("/quick.png")})).status_code == 202


async def test_no_log_holds_a_signature(world: World, web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await submit(world, {"picture": web.url("/a.png?X-Amz-Signature=topsecret")})
        web.reply = answering(500)
        await submit(world, {"picture": web.url("/a.png?X-Amz-Signature=topsecret")})
    assert len(web.got) == 2
    ours = [record for record in caplog.records if not record.name.startswith("asyncio")]
    assert "topsecret" not in "\n".join(record.getMessage() for record in ours)


async def test_without_leave_nothing_on_this_machine_is_fetched(tmp_path: Path, web: WebServer) -> None:
    async with gateway_world(tmp_path, egress=Egress()) as world:
        await refused(world, web.url(), "url_refused")
    assert web.got == []

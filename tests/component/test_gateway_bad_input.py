"""Whatever a client sends: a clear 4xx with a stable code, never a 500, and nothing left in the blob store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Refused
from springtide.domain.ids import ModelName
from springtide.gateway.envelope import in_words
from springtide.testing.media import picture
from springtide.testing.media_makers import BAD_PICTURES, BAD_SOUNDS, ODD_PICTURES, ODD_SOUNDS, Maker

JSON = {"content-type": "application/json"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    picture((64, 48)).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:springtide:problem:{code}" and body["status"] == status
    assert body["title"] and body["detail"] and body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def locs(body: dict[str, Any]) -> set[str]:
    return {item["loc"] for item in body["errors"]}


async def post_file(world: World, model: str, field: str, path: Path) -> httpx.Response:
    data = await asyncio.to_thread(path.read_bytes)
    return await world.http.post("/v1/jobs", data={"model": model}, files={field: (path.name, data, "image/jpeg")})


async def test_every_bad_picture_is_refused_with_its_code_and_removed(world: World, tmp_path: Path) -> None:
    for name, (make, code) in BAD_PICTURES.items():
        answer = await post_file(world, "sketch", "picture", make(tmp_path))
        if answer.status_code == 413:  # larger than this model takes: refused before it is looked at
            continue
        body = is_problem(answer, 422, code)
        assert locs(body) == {"picture"}, name
    assert world.stored() == []


async def test_every_odd_picture_is_accepted(world: World, tmp_path: Path) -> None:
    for name, make in ODD_PICTURES.items():
        path = make(tmp_path)
        answer = await world.http.post("/v1/jobs", data={"model": "album"}, files={"pictures": path.read_bytes()})
        assert answer.status_code == 202, (name, answer.text)


@pytest.mark.parametrize("name", BAD_SOUNDS)
async def test_a_bad_sound_is_refused_with_its_code(world: World, tmp_path: Path, name: str) -> None:
    make, code = BAD_SOUNDS[name]
    is_problem(await post_file(world, "listen", "audio", make(tmp_path)), 422, code)
    assert world.stored() == []


@pytest.mark.parametrize("make", ODD_SOUNDS.values(), ids=ODD_SOUNDS)
async def test_an_odd_sound_is_accepted(world: World, tmp_path: Path, make: Maker) -> None:
    answer = await post_file(world, "listen", "audio", make(tmp_path))
    assert answer.status_code == 202, answer.text


async def test_bad_media_by_blob_id_is_refused_and_the_blob_stays_its_owners(world: World) -> None:
    blob = (await world.http.post("/v1/blobs", content=b"not a picture")).json()["id"]
    answer = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": blob, "strength": 7}})
    body = is_problem(answer, 422, "invalid_input")
    assert locs(body) == {"picture", "strength"}
    assert len(world.stored()) == 1


async def test_a_file_for_a_field_that_is_not_there_is_told_with_those_there_are(world: World, photo: bytes) -> None:
    answer = await world.http.post("/v1/jobs", data={"model": "sketch"}, files={"photo": photo})
    detail = is_problem(answer, 422, "invalid_input")["detail"]
    assert "photo: is not a field of this model; it takes picture, mask, strength, tags" in detail


def test_what_is_wrong_with_the_whole_has_no_name_before_it() -> None:
    errors = [{"loc": "then.0", "message": "is odd"}, {"loc": "", "message": "give image or video"}]
    assert in_words(errors) == "then.0: is odd; give image or video"


async def test_an_unknown_model_is_404_and_names_those_there_are(world: World, photo: bytes) -> None:
    for answer in (
        await world.http.post("/v1/jobs", json={"model": "nope"}),
        await world.http.post("/v1/jobs", data={"model": "nope"}, files={"picture": photo}),
        await world.http.post("/v1/jobs", files=[("picture", photo), ("model", (None, "nope"))]),
        await world.http.get("/v1/models/nope"),
    ):
        body = is_problem(answer, 404, "unknown_model")
        assert body["models"] == ["album", "listen", "sketch", "synthetic"] and "sketch" in body["detail"]
    assert world.stored() == []


async def test_every_wrong_field_is_named_at_once(world: World) -> None:
    answer = await world.http.post(
        "/v1/jobs",
        json={
            "model": "sketch",
            "inputs": {"strength": "much", "colour": 1, "tags": [1]},
            "priority": "urgent",
            "start_deadline_s": -1,
            "prioritty": "batch",
        },
    )
    body = is_problem(answer, 422, "invalid_input")
    assert locs(body) == {"picture", "strength", "colour", "tags.0", "priority", "start_deadline_s", "prioritty"}


async def test_a_missing_file_and_a_missing_model_are_named(world: World) -> None:
    without_file = await world.http.post("/v1/jobs", files=[("model", (None, "sketch"))])
    assert locs(is_problem(without_file, 422, "invalid_input")) == {"picture"}
    without_model = await world.http.post("/v1/jobs", json={"inputs": {}})
    assert locs(is_problem(without_model, 422, "invalid_input")) == {"model"}


@pytest.mark.parametrize("model_first", [True, False])
async def test_two_files_where_one_is_meant_are_refused(world: World, photo: bytes, model_first: bool) -> None:
    files: list[Any] = [("picture", ("1.png", photo)), ("picture", ("2.png", photo))]
    files.insert(0 if model_first else 2, ("model", (None, "sketch")))
    body = is_problem(await world.http.post("/v1/jobs", files=files), 422, "invalid_input")
    assert body["errors"] == [{"loc": "picture", "message": "takes one file, 2 were sent"}]
    assert world.stored() == []


async def test_a_file_for_a_value_an_unknown_part_and_a_value_given_twice_are_refused(
    world: World, photo: bytes
) -> None:
    files = [
        ("model", (None, "sketch")),
        ("inputs", (None, '{"tags": ["a"]}')),
        ("picture", ("1.png", photo)),
        ("strength", ("2.png", photo)),
        ("portrait", ("3.png", photo)),
        ("tags", (None, "b")),
    ]
    body = is_problem(await world.http.post("/v1/jobs", files=files), 422, "invalid_input")
    assert locs(body) == {"strength", "portrait", "tags"}
    assert world.stored() == []


async def test_a_file_over_its_fields_limit_is_413_whichever_way_it_comes(world: World, photo: bytes) -> None:
    large = photo + bytes(300_000)
    blob = (await world.http.post("/v1/blobs", content=large)).json()["id"]
    for answer in (
        await world.http.post("/v1/jobs", data={"model": "sketch"}, files={"picture": large}),
        await world.http.post("/v1/jobs", files=[("picture", ("p", large)), ("model", (None, "sketch"))]),
        await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": blob}}),
    ):
        body = is_problem(answer, 413, "too_large")
        assert body["max_bytes"] == 300_000 and locs(body) == {"picture"}
    assert len(world.stored()) == 1


async def test_a_json_body_over_the_limit_is_413_announced_or_not(world: World) -> None:
    huge = b'{"model": "synthetic", "inputs": {"x": "' + b"y" * (1 << 20) + b'"}}'

    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(huge), 65536):
            yield huge[start : start + 65536]

    is_problem(await world.http.post("/v1/jobs", content=huge, headers=JSON), 413, "too_large")
    is_problem(await world.http.post("/v1/jobs", content=chunks(), headers=JSON), 413, "too_large")
    text = [("model", (None, "synthetic")), ("x", (None, "y" * (1 << 20)))]
    is_problem(await world.http.post("/v1/jobs", files=text), 413, "too_large")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b"null", b'{"model": "\xff"}', b"[" * 100_000, b'{"model": NaN}', b'{"a": 1e999}'],
    ids=["cut", "list", "null", "not UTF-8", "deep", "NaN", "huge number"],
)
async def test_a_body_that_is_no_json_object_is_400(world: World, body: bytes) -> None:
    is_problem(await world.http.post("/v1/jobs", content=body, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_a_submit_without_a_body_is_told_what_to_send(world: World, body: bytes) -> None:
    for headers in ({}, JSON):
        problem = is_problem(await world.http.post("/v1/jobs", content=body, headers=headers), 400, "missing_body")
        assert "no body" in problem["detail"] and "model" in problem["detail"]


async def test_a_query_parameter_nobody_knows_is_named_with_those_there_are(world: World) -> None:
    job = await world.submit()
    body = is_problem(await world.http.get("/v1/jobs?limt=3&stauts=queued&model="), 400, "unknown_parameter")
    assert body["unknown"] == ["limt", "stauts"] and set(body["known"]) == {
        "after",
        "limit",
        "model",
        "status",
        "parent",
        "batch",
        "created_after",
        "created_before",
    }
    assert "'limt', 'stauts'" in body["detail"] and "limit" in body["detail"]
    for path in (f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/attempts", "/v1/models", "/v1/models/synthetic"):
        body = is_problem(await world.http.get(f"{path}?verbose"), 400, "unknown_parameter")
        assert "takes no parameters" in body["detail"]
    is_problem(await world.http.post("/v1/jobs?wait=1", json={"model": "synthetic"}), 400, "unknown_parameter")
    is_problem(await world.http.post(f"/v1/jobs/{job['id']}/cancel?now"), 400, "unknown_parameter")
    assert (await world.http.get("/v1/jobs?limit=3&status=queued&status=failed&model=synthetic")).status_code == 200
    assert (await world.http.get("/healthz?t=1")).status_code == 200


async def test_a_filter_by_a_model_that_never_was_is_404_and_by_one_without_jobs_is_empty(world: World) -> None:
    body = is_problem(await world.http.get("/v1/jobs?model=nope"), 404, "unknown_model")
    assert "synthetic" in body["detail"]
    assert (await world.http.get("/v1/jobs?model=sketch")).json()["data"] == []
    await world.submit()
    world.services.models.pop(ModelName("synthetic"))  # type: ignore[attr-defined]  # served no more
    assert len((await world.http.get("/v1/jobs?model=synthetic")).json()["data"]) == 1
    assert (await world.http.get("/v1/jobs?model=synthetic&status=failed")).json()["data"] == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
async def test_another_content_type_is_415(world: World, kind: str) -> None:
    answer = await world.http.post("/v1/jobs", content=b"x=1", headers={"content-type": kind})
    is_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"garbage"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="picture"\r\n\r\ncut'),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\xff\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=" + "b" * 300, b""),
    ],
    ids=["no boundary", "empty", "garbage", "cut", "no name", "not UTF-8", "long boundary"],
)
async def test_a_form_that_cannot_be_read_is_400(world: World, kind: str, body: bytes) -> None:
    is_problem(await world.http.post("/v1/jobs", content=body, headers={"content-type": kind}), 400, "malformed_form")
    assert world.stored() == []


async def test_a_form_cut_in_the_middle_of_a_file_leaves_nothing(world: World, photo: bytes) -> None:
    request = world.http.build_request("POST", "/v1/jobs", files=[("model", (None, "sketch")), ("picture", photo)])
    cut = (await request.aread())[:-60]
    headers = {"content-type": request.headers["content-type"]}
    is_problem(await world.http.post("/v1/jobs", content=cut, headers=headers), 400, "malformed_form")
    assert world.stored() == []


async def test_a_client_that_goes_away_in_the_middle_of_an_upload_leaves_nothing(world: World, photo: bytes) -> None:
    request = world.http.build_request("POST", "/v1/jobs", files=[("model", (None, "sketch")), ("picture", photo)])
    body = await request.aread()
    messages = [{"type": "http.request", "body": body[:200], "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", request.headers["content-type"].encode())]
    scope: Any = {"type": "http", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "root_path": ""}
    scope |= {"query_string": b"", "headers": headers, "scheme": "http", "server": None, "client": None, "state": {}}
    await world.app(scope, receive, send)
    assert sent[0]["status"] == 400 and world.stored() == []


async def test_too_many_parts_are_refused(world: World) -> None:
    files = [("model", (None, "synthetic")), *((f"f{n}", (None, "x")) for n in range(300))]
    is_problem(await world.http.post("/v1/jobs", files=files), 400, "malformed_form")


async def test_inputs_that_are_no_object_and_integers_beyond_64_bits_are_refused(world: World) -> None:
    is_problem(await world.http.post("/v1/jobs", json={"model": "synthetic", "inputs": [1]}), 422, "invalid_input")
    part = [("model", (None, "synthetic")), ("inputs", (None, "{"))]
    is_problem(await world.http.post("/v1/jobs", files=part), 400, "malformed_json")
    huge = json.dumps({"model": "synthetic", "inputs": {"memory_mb": 10**30}}).encode()
    answer = await world.http.post("/v1/jobs", content=huge, headers=JSON)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "\u00e9".encode("latin-1")])
async def test_an_idempotency_key_that_is_none_is_400(world: World, key: Any) -> None:
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=[("Idempotency-Key", key)])
    is_problem(answer, 400, "bad_idempotency_key")


async def test_a_blob_that_is_not_there_looks_like_a_wrong_field(world: World) -> None:
    for blob in ("blob_" + "0" * 32, "../../etc/passwd", 7, None):
        answer = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": blob}})
        assert locs(is_problem(answer, 422, "invalid_input")) == {"picture"}


async def test_what_is_not_there_and_what_is_not_allowed_are_problems_too(world: World) -> None:
    is_problem(await world.http.get("/nothing/here"), 404, "not_found")
    wrong = await world.http.delete("/v1/jobs")
    is_problem(wrong, 405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"] and "POST" in wrong.headers["allow"]
    listed = is_problem(await world.http.get("/v1/jobs?limit=0&status=lost"), 400, "invalid_request")
    assert "status: Invalid enum value 'lost'; it takes queued, in_progress, completed, " in listed["detail"]
    for path in ("", "/result", "/events", "/attempts", "/files/x"):
        for job in ("job_" + "0" * 32, "x", "job_%2e%2e"):
            is_problem(await world.http.get(f"/v1/jobs/{job}{path}"), 404, "unknown_job")
    is_problem(await world.http.post("/v1/jobs/x/cancel"), 404, "unknown_job")


async def test_a_refusal_says_when_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> Any:
        raise Refused("the queue is full", retry_after_s=2.5, queued=7)

    monkeypatch.setattr(world.services.ledger, "insert", refuse)
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic"})
    body = is_problem(answer, 429, "refused")
    assert answer.headers["retry-after"] == "3" and body["queued"] == 7


async def test_a_bug_is_a_500_that_shows_nothing_but_its_reference(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.services.ledger, "get", broken)
    answer = await world.http.get("/v1/jobs/job_" + "0" * 32, headers={"X-Request-Id": "mine-1"})
    body = is_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text and body["request_id"] == "mine-1"
    assert "mine-1" in caplog.text and "secret detail" in caplog.text


async def test_many_bad_requests_at_once_all_get_their_answer(world: World) -> None:
    posts = [world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": n}}) for n in range(50)]
    assert {answer.status_code for answer in await asyncio.gather(*posts)} == {422}

"""Many jobs in one call: each accepted or refused on its own, in order, and safe to repeat."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Unavailable
from springtide.testing.media_makers import picture

NO_OP = {"model": "synthetic"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_batch_jobs=500) as made:
        yield made


async def post(world: World, jobs: Any, **headers: str) -> httpx.Response:
    return await world.http.post("/v1/jobs/batch", json={"jobs": jobs}, headers=headers)


async def batch(world: World, *jobs: Any, **headers: str) -> dict[str, Any]:
    answer = await post(world, list(jobs), **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def statuses(body: dict[str, Any]) -> list[int]:
    return [item["status"] for item in body["items"]]


async def listed(world: World) -> int:
    return len((await world.http.get("/v1/jobs?limit=100")).json()["data"])


async def test_each_job_is_accepted_in_order_with_all_its_urls(world: World) -> None:
    jobs = [{**NO_OP, "inputs": {"seconds": n}, "priority": "batch"} for n in range(300)]
    body = await batch(world, *jobs)
    assert (body["accepted"], body["refused"], len(body["items"])) == (300, 0, 300)
    for n in (0, 7, 299):
        accepted = body["items"][n]["job"]
        assert accepted["events_url"] == f"http://media.test/v1/jobs/{accepted['id']}/events"
        seen = (await world.http.get(accepted["status_url"])).json()
        assert (seen["inputs"]["seconds"], seen["priority"]) == (n, "batch")
    assert (await world.lease()).id == body["items"][0]["job"]["id"]


async def test_a_wrong_item_says_what_is_wrong_and_takes_no_other_along(world: World, tmp_path: Path) -> None:
    picture((32, 32)).save(tmp_path / "p.png")
    photo = (await world.http.post("/v1/blobs", content=(tmp_path / "p.png").read_bytes())).json()["id"]
    text = (await world.http.post("/v1/blobs", content=b"just words")).json()["id"]
    body = await batch(
        world,
        NO_OP,
        {"model": "nope"},
        {"model": "synthetic", "inputs": {"colour": "red", "seconds": -1}, "priorty": "batch"},
        {"model": "sketch", "inputs": {"picture": photo}},
        {"model": "sketch", "inputs": {"picture": text}},
        {"model": "sketch", "inputs": {"picture": "blob_" + "0" * 32}},
        "synthetic",
        {"inputs": {}},
        {**NO_OP, "idempotency_key": ""},
        {**NO_OP, "idempotency_key": 7},
        {**NO_OP, "inputs": {"memory_mb": 10**30}},
        NO_OP,
    )
    assert statuses(body) == [202, 404, 422, 202, 422, 422, 422, 422, 400, 400, 422, 202]
    assert (body["accepted"], body["refused"]) == (3, 9)
    problem = body["items"][2]["problem"]
    assert {item["loc"] for item in problem["errors"]} == {"colour", "seconds", "priorty"}
    assert problem["instance"] == "/v1/jobs/batch#/jobs/2" and problem["code"] == "invalid_input"
    assert body["items"][1]["problem"]["code"] == "unknown_model"
    assert body["items"][4]["problem"]["code"] == "wrong_media_type"
    assert body["items"][8]["problem"]["code"] == "bad_idempotency_key"
    assert await listed(world) == 3


async def test_the_same_key_makes_one_job_within_a_batch_and_across(world: World) -> None:
    mine = {**NO_OP, "idempotency_key": "a"}
    other = {"model": "synthetic", "inputs": {"seconds": 9}, "idempotency_key": "a"}
    first = await batch(world, mine, mine, other)
    assert statuses(first) == [202, 202, 422]
    assert first["items"][0]["job"]["id"] == first["items"][1]["job"]["id"]
    assert "replayed" not in first["items"][0] and first["items"][1]["replayed"] is True
    assert first["items"][2]["problem"]["code"] == "idempotency_key_reused"
    single = await world.http.post("/v1/jobs", json=NO_OP, headers={"Idempotency-Key": "a"})
    assert single.json()["id"] == first["items"][0]["job"]["id"]
    assert await listed(world) == 1


async def test_a_batch_repeated_with_its_key_makes_no_second_jobs(world: World) -> None:
    jobs = [NO_OP, {"model": "nope"}, {**NO_OP, "idempotency_key": "own"}, NO_OP]
    first = await batch(world, *jobs, **{"Idempotency-Key": '"nightly"'})
    again = await batch(world, *jobs, **{"Idempotency-Key": '"nightly"'})
    ids = [[item["job"]["id"] for item in body["items"] if "job" in item] for body in (first, again)]
    assert ids[0] == ids[1] and len(set(ids[0])) == 3 and await listed(world) == 3
    assert all(item["replayed"] for item in again["items"] if "job" in item)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "missing_body"),
        (b"{", 400, "malformed_json"),
        (b"[]", 400, "malformed_json"),
        (b'{"jobs": 7}', 400, "malformed_json"),
        (b'{"jobs": [], "wait": 1}', 400, "malformed_json"),
        (b'{"jobs": []}', 422, "invalid_input"),
        (b'{"jobs": [' + b"{}," * 500 + b"{}]}", 413, "too_many_jobs"),
        (b'{"jobs": ["' + b"x" * (8 << 20) + b'"]}', 413, "too_large"),
    ],
    ids=["empty", "cut", "list", "no list", "unknown key", "no jobs", "too many", "too large"],
)
async def test_a_batch_that_is_none_is_refused_as_a_whole(world: World, content: bytes, status: int, code: str) -> None:
    answer = await world.http.post("/v1/jobs/batch", content=content)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    form = await world.http.post("/v1/jobs/batch", files={"jobs": b"[]"})
    assert form.json()["code"] == "unsupported_media_type"


async def test_while_the_broker_is_down_a_batch_is_accepted_and_without_a_ledger_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("it is down")

    with monkeypatch.context() as patch:
        patch.setattr(world.services.broker, "enqueue", down)
        assert statuses(await batch(world, NO_OP, NO_OP)) == [202, 202]
    monkeypatch.setattr(world.services.ledger._database, "write", down)  # type: ignore[attr-defined]
    body = await batch(world, NO_OP, {"model": "nope"})
    assert statuses(body) == [503, 404] and body["items"][0]["problem"]["code"] == "unavailable"


async def test_a_server_that_stops_takes_no_batch(world: World) -> None:
    world.services.stopping.set()
    answer = await post(world, [NO_OP])
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down") and "retry-after" in answer.headers


async def test_a_bug_in_one_models_code_is_that_items_500(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> float:
        raise RuntimeError("secret")

    monkeypatch.setattr("springtide.gateway.submission._bind", broken)
    body = await batch(world, {"model": "synthetic"}, {"model": "nope"})
    assert statuses(body) == [500, 404]
    assert "secret" not in body["items"][0]["problem"]["detail"] and "secret" in caplog.text

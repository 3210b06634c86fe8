"""Operating by hand, over HTTP: orders on record, who may give them, and what those who wait are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from gateway_world import WORKER, World, gateway_world

from springtide.domain.ids import ModelName
from springtide.gateway.headers import iso8601
from springtide.gateway.services import Keyless

LOCAL = {"host": "127.0.0.1"}
POOL = ModelName("both")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, keyless=Keyless.LOCAL, max_replicas=4) as made:
        made.http.headers.update(LOCAL)
        yield made


async def ask(world: World, path: str, **body: Any) -> dict[str, Any]:
    answer = await world.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def model(world: World) -> dict[str, Any]:
    return (await world.http.get("/v1/models/synthetic")).json()


async def test_what_replicas_takes_is_said(world: World) -> None:
    answer = await world.http.post("/v1/models/synthetic/scale", json={"replicas": "many"})
    assert (answer.status_code, answer.json()["detail"]) == (422, '`replicas` takes how many, 0 to 10,000, or "auto".')
    answer = await world.http.post("/v1/models/synthetic/scale", json={"replica": 1})
    assert answer.json()["detail"].startswith("The body takes replicas, for_s, until, note: ")


async def test_replicas_by_hand_are_on_record_and_shown_until_they_are_taken_back(world: World) -> None:
    told = await ask(world, "/v1/models/synthetic/scale", replicas=3, for_s=600, note="the launch")
    pinned = told["pinned"]
    assert (pinned["replicas"], pinned["note"], told["by"], told["paused"]) == (3, "the launch", "local", None)
    assert pinned["until_s"] - pinned["at_s"] == 600.0
    assert (await model(world))["pinned"] == pinned
    [order] = await world.services.orders.all_orders()
    assert (order.model, order.note) == ("synthetic", "the launch")
    assert (await ask(world, "/v1/models/synthetic/scale", replicas="auto"))["pinned"] is None
    assert (await model(world))["pinned"] is None


async def test_an_instant_may_say_until_when(world: World) -> None:
    until = iso8601(world.services.clock.now_s() + 60)
    told = await ask(world, "/v1/models/synthetic/scale", replicas=0, until=until)
    assert told["pinned"]["until"] == until


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({}, "invalid_input"),
        ({"replicas": 5}, "invalid_input"),
        ({"replicas": -1}, "invalid_input"),
        ({"replicas": True}, "invalid_input"),
        ({"replicas": "more"}, "invalid_input"),
        ({"replicas": "auto", "for_s": 5}, "invalid_input"),
        ({"replicas": 1, "for_s": 5, "until": "2999-01-01T00:00:00Z"}, "invalid_input"),
        ({"replicas": 1, "until": "2001-01-01T00:00:00Z"}, "bad_instant"),
        ({"replicas": 1, "until": "soon"}, "bad_instant"),
        ({"replicas": 1, "for": 5}, "invalid_input"),
        ({"replicas": 1, "note": "x" * 201}, "invalid_input"),
    ],
)
async def test_a_wrong_wish_orders_nothing(world: World, wish: Any, code: str) -> None:
    answer = await world.http.post("/v1/models/synthetic/scale", json=wish)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == code
    assert await world.services.orders.all_orders() == []


async def test_a_job_of_a_paused_model_is_taken_in_and_told_why_it_waits(world: World) -> None:
    await world.ready()
    paused = (await ask(world, "/v1/models/synthetic/pause", note="new weights"))["paused"]
    job = await world.submit()
    assert job["eta_s"] is None, "nobody knows when it will be resumed"
    found = (await world.http.get(f"/v1/jobs/{job['id']}/explain")).json()
    [reason] = found["reasons"]
    assert reason["code"] == "paused"
    assert "paused by an operator since" in reason["message"]
    assert "new weights" in reason["message"]
    assert "springtide resume" in reason["helps"]
    assert (await model(world))["paused"] == paused
    again = (await ask(world, "/v1/models/synthetic/pause"))["paused"]
    assert again == paused, "a second pause changes nothing of the first"
    assert (await ask(world, "/v1/models/synthetic/resume"))["paused"] is None
    found = (await world.http.get(f"/v1/jobs/{job['id']}/explain")).json()
    assert [one["code"] for one in found["reasons"]] == ["queued_behind"]
    assert (await world.http.post("/v1/models/synthetic/resume")).json()["paused"] is None, "without a body, twice"


async def test_a_job_of_a_model_that_was_set_to_none_is_told_so(world: World) -> None:
    await ask(world, "/v1/models/synthetic/scale", replicas=0, note="saving money")
    job = await world.submit()
    found = (await world.http.get(f"/v1/jobs/{job['id']}/explain")).json()
    assert [one["code"] for one in found["reasons"]] == ["no_worker"]
    assert "an operator has set the model to none, until it is taken back: saving money" in found["summary"]


async def test_a_worker_is_listed_with_what_it_runs_and_asked_to_leave_once(world: World) -> None:
    assert (await world.http.get("/v1/workers")).json() == {"object": "list", "data": []}
    await world.ready()
    job = await world.submit()
    lease = await world.lease()
    await world.progress(lease, 0.5, "half")
    await world.does_not_load("sketch")
    [row] = (await world.http.get("/v1/workers")).json()["data"]
    assert (row["id"], row["state"], row["drain_asked_at_s"]) == (WORKER, "ready", None)
    assert [(one["model"], one["state"], one["held"]) for one in row["models"]] == [
        ("synthetic", "ready", 1),
        ("sketch", "failing", 0),
    ]
    assert row["models"][1]["problem"]["message"] == "OSError: no device: 'x'", "no path of the machine"
    assert [(one["job"], one["attempt"], one["fraction"], one["stage"]) for one in row["jobs"]] == [
        (job["id"], 1, 0.5, "half")
    ]
    asked = await ask(world, f"/v1/workers/{WORKER}/drain", note="a broken fan")
    again = await ask(world, f"/v1/workers/{WORKER}/drain")
    assert asked["drain_asked_at_s"] == again["drain_asked_at_s"] is not None
    [order] = await world.services.orders.all_orders()
    assert msgspec.to_builtins(order)["note"] == "a broken fan"


async def test_what_is_not_there_cannot_be_ordered(world: World) -> None:
    for path in ("scale", "pause", "resume"):
        answer = await world.http.post(f"/v1/models/nothing/{path}", json={"replicas": 1})
        assert problem(answer) == (404, "unknown_model")
    assert problem(await world.http.post("/v1/workers/nobody/drain")) == (404, "unknown_worker")


async def test_only_operators_give_orders(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keyless=Keyless.USUAL) as usual:
        for path in ("/v1/models/synthetic/scale", "/v1/models/synthetic/pause", "/v1/workers/w-1/drain"):
            assert problem(await usual.http.post(path, json={})) == (403, "missing_scope")
        assert problem(await usual.http.get("/v1/workers")) == (403, "missing_scope")

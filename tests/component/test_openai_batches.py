"""Files and batches of OpenAI's on a gateway whose jobs are done by hand; a process that dies in the middle."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world
from test_openai_routes import ENGINES, PORTRAIT, error_of

from springtide.domain.ids import DEFAULT_TENANT
from springtide.domain.job import JobError
from springtide.domain.tenant import Tenant
from springtide.gateway.app import create_app
from springtide.gateway.openai.service import openai_of_app


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, engines=ENGINES) as world:
        yield world


async def uploaded(world: World, data: bytes, purpose: str = "batch", **fields: str) -> dict[str, Any]:
    answer = await world.http.post("/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": purpose, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def lines(*bodies: dict[str, Any], url: str = "/v1/videos") -> bytes:
    rows = [{"custom_id": f"r{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    return b"\n".join(json.dumps(row).encode() for row in rows)


async def begun(world: World, data: bytes, endpoint: str = "/v1/videos") -> dict[str, Any]:
    file = await uploaded(world, data)
    body = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", "metadata": {"for": "test"}}
    answer = await world.http.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def batch_now(world: World, id: str) -> dict[str, Any]:
    return dict((await world.http.get(f"/v1/batches/{id}")).json())


async def rows_of(world: World, file: str | None) -> list[dict[str, Any]]:
    content = await world.http.get(f"/v1/files/{file}/content")
    return [json.loads(line) for line in content.text.splitlines()]


async def film(world: World) -> None:
    made = await world.output(b"film", media_type="video/mp4")
    await world.complete(await world.lease("video"), {"video": made.id, "width": 64, "height": 64}, (made,))


async def test_a_file_is_kept_listed_read_and_deleted_and_its_blob_stays_for_jobs_that_have_it(world: World) -> None:
    file = await uploaded(world, PORTRAIT[1], "vision")
    assert (file["object"], file["bytes"], file["filename"], file["status"]) == (
        "file", len(PORTRAIT[1]), "in.jsonl", "processed",
    )  # fmt: skip
    other = await uploaded(
        world, b"{}", "user_data", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    )
    assert other["expires_at"] == other["created_at"] + 3600
    listed = (await world.http.get("/v1/files", params={"limit": 1})).json()
    assert ([each["id"] for each in listed["data"]], listed["has_more"]) == ([other["id"]], True)
    assert len((await world.http.get("/v1/files", params={"purpose": "vision"})).json()["data"]) == 1
    job = await world.http.post("/v1/videos", json={"prompt": "pan", "input_reference": {"file_id": file["id"]}})
    assert job.status_code == 200
    assert (await world.http.get(f"/v1/files/{file['id']}/content")).content == PORTRAIT[1]
    deleted = await world.http.delete(f"/v1/files/{file['id']}")
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    missing = await world.http.get(f"/v1/files/{file['id']}")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "unknown_file")
    assert (await world.http.get(f"/v1/blobs/{file['id']}")).status_code == 200, "the job has it"
    await world.http.delete(f"/v1/files/{other['id']}")
    loose = await world.services.ledger.loose_blobs(before_s=world.services.clock.now_s() + 1, limit=10)
    assert loose == [other["id"]], "nobody has it any more"


async def test_a_batch_runs_every_line_and_writes_what_came_of_each(world: World) -> None:
    driver = openai_of_app(world.app).driver
    batch = await begun(world, lines({"prompt": "sea"}, {"prompt": "x", "seconds": "900"}, {"prompt": "forest"}))
    assert (batch["status"], batch["request_counts"]["total"], batch["metadata"]) == ("in_progress", 3, {"for": "test"})
    await driver.drive()
    await film(world)
    await world.fail(await world.lease("video"), JobError(code="timed_out", message="Too long."))
    assert (await batch_now(world, batch["id"]))["status"] == "finalizing"
    await driver.drive()
    done = await batch_now(world, batch["id"])
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 3, "completed": 1, "failed": 2})
    assert done["completed_at"] >= done["created_at"]
    [good] = await rows_of(world, done["output_file_id"])
    assert (good["custom_id"], good["error"], good["response"]["status_code"]) == ("r0", None, 200)
    assert good["response"]["body"]["status"] == "completed"
    bad = {row["custom_id"]: row["response"] for row in await rows_of(world, done["error_file_id"])}
    assert (bad["r1"]["status_code"], bad["r1"]["body"]["error"]["param"]) == (400, "seconds")
    assert (bad["r2"]["status_code"], bad["r2"]["body"]["error"]["code"]) == (500, "timed_out")
    output = (await world.http.get(f"/v1/files/{done['output_file_id']}")).json()
    assert (output["purpose"], output["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")
    assert [each["id"] for each in (await world.http.get("/v1/batches")).json()["data"]] == [batch["id"]]
    jobs = (await world.http.get("/v1/jobs")).json()["data"]
    assert {job["priority"] for job in jobs} == {"batch"}


async def test_files_and_ended_batches_go_when_ended_jobs_go(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, engines=ENGINES, keep_s=3600.0) as world:
        batch = await begun(world, lines({"prompt": "pan"}))
        file = (await world.http.get(f"/v1/files/{batch['input_file_id']}")).json()
        assert file["expires_at"] == file["created_at"] + 3600
        driver, records = openai_of_app(world.app).driver, world.services.openai
        await driver.drive()
        await film(world)
        await driver.drive()
        done = await batch_now(world, batch["id"])
        now_s = world.services.clock.now_s()
        assert await records.expired(now_s + 3500, limit=9) == []
        gone = {one.id for one in await records.expired(now_s + 3700, limit=9)}  # and each round drops what is
        assert gone == {batch["id"], file["id"], done["output_file_id"]}


async def test_a_batch_goes_on_where_a_process_died_and_no_line_becomes_two_jobs(world: World) -> None:
    batch = await begun(world, lines(*({"prompt": f"place {n}"} for n in range(5))))
    driver = openai_of_app(world.app).driver
    note = world.services.batches.note

    async def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed between the jobs' commit and the note of it")

    world.services.batches.note = dies  # type: ignore[method-assign]  # a crash, planted
    with pytest.raises(RuntimeError):
        await driver.drive()
    world.services.batches.note = note  # type: ignore[method-assign]  # another process
    assert (await world.http.delete(f"/v1/files/{batch['input_file_id']}")).status_code == 200, "the batch holds it"
    other = openai_of_app(create_app(world.services)).driver
    await other.drive()
    assert (await batch_now(world, batch["id"]))["status"] == "in_progress", "it is claimed still"
    await world.services.openai.claim(batch["id"], world.services.clock.now_s() + 60, until_s=0.0)  # time goes by
    await other.drive()
    for _ in range(5):
        await film(world)
    await other.drive()
    done = await batch_now(world, batch["id"])
    assert (done["status"], done["request_counts"]["completed"]) == ("completed", 5)
    assert [row["custom_id"] for row in await rows_of(world, done["output_file_id"])] == [f"r{n}" for n in range(5)]
    assert len((await world.http.get("/v1/jobs")).json()["data"]) == 5


async def test_a_batch_is_fed_as_the_queue_has_room(tmp_path: Path) -> None:
    tenant = Tenant(id=DEFAULT_TENANT, max_queued=2)
    async with gateway_world(tmp_path, engines=ENGINES, tenants=[tenant]) as world:
        batch = await begun(world, lines(*({"prompt": f"place {n}"} for n in range(3))))
        driver = openai_of_app(world.app).driver
        await driver.drive()
        assert len((await world.http.get("/v1/jobs")).json()["data"]) == 2
        for _ in range(2):
            await film(world)
        await driver.drive()
        await film(world)
        await driver.drive()
        assert (await batch_now(world, batch["id"]))["request_counts"]["completed"] == 3


async def test_a_cancelled_batch_keeps_what_was_done_and_names_what_was_not(world: World) -> None:
    driver = openai_of_app(world.app).driver
    batch = await begun(world, lines({"prompt": "sea"}, {"prompt": "forest"}))
    await driver.drive()
    await film(world)
    cancelled = await world.http.post(f"/v1/batches/{batch['id']}/cancel")
    assert cancelled.json()["status"] == "cancelling"
    await driver.drive()
    await world.record()
    await driver.drive()
    done = await batch_now(world, batch["id"])
    assert (done["status"], done["request_counts"]) == ("cancelled", {"total": 2, "completed": 1, "failed": 1})
    [row] = await rows_of(world, done["error_file_id"])
    assert (row["custom_id"], row["response"], row["error"]["code"]) == ("r1", None, "batch_cancelled")
    assert (await world.http.post(f"/v1/batches/{batch['id']}/cancel")).json()["status"] == "cancelled"


async def test_a_file_that_is_no_batch_is_told_line_by_line(world: World) -> None:
    data = lines({"prompt": "a"}) + b"\n{\n" + lines({"prompt": "b"}, url="/v1/images/edits") + b"\n" + lines({})
    batch = await begun(world, data)
    assert batch["status"] == "failed"
    found = [(each["code"], each["line"]) for each in batch["errors"]["data"]]
    assert found == [("invalid_json_line", 2), ("mismatched_endpoint", 3), ("duplicate_custom_id", 4)]
    assert (await world.http.get("/v1/jobs")).json()["data"] == []
    good = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/videos"}
    for wrong, param in (
        ({"input_file_id": "file-x"}, None),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
    ):
        answer = await world.http.post("/v1/batches", json={**good, **wrong})
        assert answer.status_code in (400, 404)
        assert error_of(answer)["param"] == param

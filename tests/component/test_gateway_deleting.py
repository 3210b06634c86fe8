"""Deleting a job: at once, with what nobody else has, and never one that lives."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import JobId
from springtide.testing.media import picture


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, tenant_header="x-tenant") as made:
        yield made


async def test_an_ended_job_goes_at_once_with_the_files_that_nobody_else_has(world: World, tmp_path: Path) -> None:
    picture((8, 8)).save(tmp_path / "p.png")
    photo = (await world.http.post("/v1/blobs", content=(tmp_path / "p.png").read_bytes())).json()["id"]
    first, second = [await world.submit("sketch", picture=photo) for _ in range(2)]
    for number in range(2):
        drawing = await world.output(b"drawing %d" % number, media_type="image/png")
        await world.complete(await world.lease("sketch"), {"drawing": drawing.id}, (drawing,))
    assert len(world.stored()) == 3
    answer = await world.http.delete(f"/v1/jobs/{first['id']}")
    assert (answer.status_code, answer.content) == (204, b"") and len(world.stored()) == 2
    for path in ("", "/result", "/explain"):
        gone = await world.http.get(f"/v1/jobs/{first['id']}{path}")
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_job")
    assert (await world.http.delete(f"/v1/jobs/{first['id']}")).status_code == 404
    assert (await world.http.get(f"/v1/blobs/{photo}")).status_code == 200
    assert (await world.http.delete(f"/v1/jobs/{second['id']}")).status_code == 204
    assert world.stored() == [] and (await world.http.get(f"/v1/blobs/{photo}")).status_code == 404


async def test_a_pipeline_goes_with_its_steps_and_a_step_not_without_it(world: World) -> None:
    then = [{"model": "synthetic"}]
    whole = (await world.http.post("/v1/jobs", json={"model": "synthetic", "then": then})).json()
    for _ in range(2):
        await world.complete(await world.lease(), {})
        await world.conductor.conduct_all()
    steps = [step["job"] for step in (await world.http.get(whole["status_url"])).json()["steps"]]
    one = await world.http.delete(f"/v1/jobs/{steps[0]}")
    assert (one.status_code, one.json()["code"]) == (409, "is_a_step")
    assert (await world.http.delete(f"/v1/jobs/{whole['id']}")).status_code == 204
    assert await world.services.ledger.get([JobId(step) for step in steps]) == [None, None]


async def test_a_job_that_lives_is_cancelled_first(world: World) -> None:
    job = await world.submit()
    answer = await world.http.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "still_live") and "cancel it first" in answer.text
    assert (await world.http.get(job["status_url"])).status_code == 200


async def test_a_job_of_another_tenant_is_not_deleted(world: World) -> None:
    job = await world.submit()
    await world.complete(await world.lease(), {})
    answer = await world.http.delete(f"/v1/jobs/{job['id']}", headers={"x-tenant": "acme"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")
    assert (await world.http.get(job["status_url"])).status_code == 200

"""Doing an ended job again: once, with the same inputs; a pipeline from its first step without a result."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.domain.job import JobError
from springtide.domain.lease import Lease, Payload
from springtide.testing import media

PNG = "image/png"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        await made.conductor.start()
        yield made
        await made.conductor.stop()


async def picture(world: World) -> str:
    buffer = io.BytesIO()
    media.picture().save(buffer, "PNG")
    stored = await world.http.post("/v1/blobs", content=buffer.getvalue(), headers={"content-type": PNG})
    return stored.json()["id"]


async def shown(world: World, job: dict[str, Any]) -> dict[str, Any]:
    return (await world.http.get(f"/v1/jobs/{job['id']}")).json()


async def retry(world: World, job: dict[str, Any], **headers: str) -> Any:
    return await world.http.post(f"/v1/jobs/{job['id']}/retry", headers=headers)


async def crash(world: World, lease: Lease) -> None:
    await world.fail(lease, JobError(code="crashed", message="SIGSEGV"))


async def ended(world: World, job: dict[str, Any]) -> dict[str, Any]:
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    return await shown(world, job)


def inputs_of(lease: Lease) -> dict[str, Any]:
    return msgspec.msgpack.decode(lease.payload, type=Payload).inputs


async def draw(world: World, lease: Lease) -> str:
    ref = await world.output(b"drawn", media_type=PNG)
    await world.complete(lease, {"drawing": ref.id, "layers": [], "note": "n"}, (ref,))
    return ref.id


async def failed_pipeline(world: World) -> tuple[dict[str, Any], str]:
    """sketch > album > album, failed at its second step; and what the first one drew."""
    blob = await picture(world)
    body = {
        "model": "sketch",
        "inputs": {"picture": blob},
        "priority": "batch",
        "then": [
            {"model": "album", "name": "one", "inputs": {"pictures": {"$from": "drawing"}}},
            {
                "model": "album",
                "name": "two",
                "inputs": {"pictures": [{"$from": "one.drawing"}, {"$from": "0.drawing"}]},
            },
        ],
    }
    job = (await world.http.post("/v1/jobs", json=body)).json()
    drawn = await draw(world, await world.lease("sketch"))
    await crash(world, await world.lease("album"))
    assert (await ended(world, job))["status"] == "failed"
    return job, drawn


async def test_a_failed_job_is_done_again_as_a_new_one_with_the_same_inputs(world: World) -> None:
    blob = await picture(world)
    body = {
        "model": "sketch",
        "inputs": {"picture": blob, "strength": 0.9},
        "priority": "batch",
        "start_deadline_s": 60,
    }
    job = (await world.http.post("/v1/jobs", json=body)).json()
    await crash(world, await world.lease("sketch"))
    answer = await retry(world, job)
    assert answer.status_code == 202 and answer.json()["id"] != job["id"]
    assert answer.headers["location"] == answer.json()["status_url"]
    again = await shown(world, answer.json())
    assert (again["retry_of"], again["priority"], again["inputs"]["strength"]) == (job["id"], "batch", 0.9)
    assert again["attempt"] == 0 and again["error"] is None
    assert again["start_deadline_at_s"] == pytest.approx(again["created_at_s"] + 60)
    lease = await world.lease("sketch")
    assert (lease.id, inputs_of(lease)["picture"]) == (again["id"], blob)
    assert (await shown(world, job))["status"] == "failed", "an end is final"


async def test_retrying_twice_gives_the_same_new_job_unless_a_key_says_otherwise(world: World) -> None:
    job = await world.submit()
    await crash(world, await world.lease())
    first = await retry(world, job)
    again = await retry(world, job)
    assert again.json()["id"] == first.json()["id"] and again.headers["idempotency-replayed"] == "true"
    other = await retry(world, job, **{"Idempotency-Key": "once more"})
    assert other.json()["id"] != first.json()["id"]
    await crash(world, await world.lease())
    assert (await retry(world, first.json())).json()["id"] not in (job["id"], first.json()["id"], other.json()["id"])


async def test_jobs_that_live_or_completed_and_single_steps_are_not_retried(world: World) -> None:
    job = await world.submit()
    assert (await retry(world, job)).json()["detail"].startswith("The job has not ended yet")
    await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
    answer = await retry(world, job)
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_retry")
    pipeline, _ = await failed_pipeline(world)
    step = (await shown(world, pipeline))["steps"][1]["job"]
    assert pipeline["id"] in (await world.http.post(f"/v1/jobs/{step}/retry")).json()["detail"]
    assert (await world.http.post(f"/v1/jobs/job_{'0' * 32}/retry")).status_code == 404


async def test_cancelled_and_expired_jobs_may_be_retried(world: World) -> None:
    job = await world.submit()
    await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    await world.record()
    assert (await retry(world, job)).status_code == 202


async def test_a_job_whose_input_is_gone_is_not_retried_and_told_so(world: World) -> None:
    blob = await picture(world)
    job = await world.submit("sketch", picture=blob)
    await crash(world, await world.lease("sketch"))
    await world.services.blobs.delete(blob)  # type: ignore[arg-type]
    answer = await retry(world, job)
    assert (answer.status_code, answer.json()["code"]) == (409, "input_missing")
    assert blob in answer.json()["detail"]


async def test_a_pipeline_goes_on_at_the_step_that_failed(world: World) -> None:
    job, drawn = await failed_pipeline(world)
    answer = await retry(world, job)
    assert answer.status_code == 202 and answer.json()["model"] == "sketch > album > album"
    again = await shown(world, answer.json())
    assert again["retry_of"] == job["id"] and again["priority"] == "batch"
    assert [(step["status"], step["reused"]) for step in again["steps"]] == [
        ("completed", True),
        ("queued", False),
        ("waiting", False),
    ]
    assert again["steps"][0]["job"] == (await shown(world, job))["steps"][0]["job"]
    assert again["progress"] > 0, "what is done counts"
    second = await world.lease("album")
    assert inputs_of(second)["pictures"] == [drawn]
    redrawn = await draw(world, second)
    third = await world.lease("album")
    assert inputs_of(third)["pictures"] == [redrawn, drawn]
    await draw(world, third)
    assert (await ended(world, answer.json()))["status"] == "completed"
    assert len((await world.http.get(f"/v1/jobs?parent={answer.json()['id']}")).json()["data"]) == 2


async def test_a_retry_of_a_retry_keeps_what_both_have_done(world: World) -> None:
    job, drawn = await failed_pipeline(world)
    again = (await retry(world, job)).json()
    redrawn = await draw(world, await world.lease("album"))
    await crash(world, await world.lease("album"))
    await ended(world, again)
    last = (await retry(world, again)).json()
    assert [step["reused"] for step in (await shown(world, last))["steps"]] == [True, True, False]
    assert inputs_of(await world.lease("album"))["pictures"] == [redrawn, drawn]


async def test_a_step_whose_needed_result_is_gone_is_done_again_as_well(world: World) -> None:
    job, drawn = await failed_pipeline(world)
    await world.services.blobs.delete(drawn)  # type: ignore[arg-type]
    again = (await retry(world, job)).json()
    assert [step["reused"] for step in (await shown(world, again))["steps"]] == [False, False, False]
    await draw(world, await world.lease("sketch"))


async def test_a_retry_outlives_the_pipeline_whose_results_it_adopted(world: World) -> None:
    job, drawn = await failed_pipeline(world)
    assert (await retry(world, job)).status_code == 202
    await world.services.ledger.forget([job["id"]], loose_since_s=0.0)
    assert await world.services.ledger.loose_blobs(before_s=1e12, limit=9) == []
    second = await world.lease("album")
    assert inputs_of(second)["pictures"] == [drawn]
    redrawn = await draw(world, second)
    assert inputs_of(await world.lease("album"))["pictures"] == [redrawn, drawn]

"""Ends that the recorder beside the gateway has written need not be read back, and are the same as if they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world

from springtide.domain.job import Job, JobError
from springtide.domain.lease import Completion


@pytest.fixture(params=[False, True], ids=["one of several recorders", "the only recorder"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        made.services.ends.are_all = request.param
        yield made


async def waited_for(world: World, end: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], int]:
    """The answer to a POST that waits while `end(lease)` ends its job, and how often the ledger was read for it."""
    reads = 0
    get = world.services.ledger.get

    async def counted(ids: Any) -> list[Job | None]:
        nonlocal reads
        reads += 1
        return await get(ids)

    monkeypatch.setattr(world.services.ledger, "get", counted)
    request = {"model": "synthetic", "inputs": {"seconds": 0}}
    posting = asyncio.create_task(world.http.post("/v1/jobs", json=request, headers={"prefer": "wait=10"}))
    await end(await world.lease())
    answer = await posting
    monkeypatch.undo()
    assert answer.status_code == 200
    return answer.json(), reads


async def test_a_result_that_is_waited_for_is_told_without_reading_it_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(lease: Any) -> None:
        await world.complete(lease, {"seconds": 1.5, "words": ["ebb", None]})

    told, reads = await waited_for(world, end, monkeypatch)
    assert (told["status"], told["outputs"], reads) == ("completed", {"seconds": 1.5, "words": ["ebb", None]}, 0)
    assert told == (await world.http.get(f"/v1/jobs/{told['id']}")).json()


async def test_an_end_without_a_result_is_read_from_the_ledger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(lease: Any) -> None:
        await world.fail(lease, JobError(code="engine_failed", message="no"))

    told, reads = await waited_for(world, end, monkeypatch)
    assert (told["status"], reads) == ("failed", 1)


async def test_only_what_made_the_end_on_record_is_told(world: World) -> None:
    await world.submit(seconds=0)
    lease = await world.lease()
    broker, ledger = world.services.broker, world.services.ledger
    done = Completion(id=lease.id, attempt=lease.attempt, outputs={})
    assert await broker.complete(lease.model, lease.worker, [done], world.services.clock.now_s()) == [True]
    [job] = await ledger.get([lease.id])
    assert job is not None
    heard = world.services.ends.listen(job)
    await ledger.record(await broker.read_outcomes(10))  # another recorder was first
    await world.record()
    assert heard.job() is None
    world.services.ends.leave(heard)


async def test_a_wait_for_a_new_job_hears_that_it_was_cancelled(world: World) -> None:
    asked = world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"prefer": "wait=10"})
    posting = asyncio.create_task(asked)
    while not (listed := (await world.http.get("/v1/jobs")).json()["data"]):
        await asyncio.sleep(0)
    await world.http.post(f"/v1/jobs/{listed[0]['id']}/cancel")
    await world.record()
    answer = await posting
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


async def test_who_repeats_a_request_hears_of_an_end_that_was_told_before(world: World) -> None:
    headers = {"prefer": "wait=10", "idempotency-key": "k"}
    job = (await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"idempotency-key": "k"})).json()
    ledger_insert = world.services.ledger.insert

    async def insert(jobs: Any) -> Any:
        found = await ledger_insert(jobs)
        lease = await world.lease()
        await world.complete(lease, {})  # between the look at the record and the wait
        return found

    world.services.ledger.insert = insert  # type: ignore[method-assign] - for this test's own ledger
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=headers)
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (200, job["id"], "completed")


async def test_a_wait_that_is_over_answers_with_the_job_as_it_is(world: World) -> None:
    headers = {"prefer": "wait=1"}
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")

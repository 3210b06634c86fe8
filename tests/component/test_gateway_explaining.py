"""What holds a job up, or ended it: in words, with figures, and what would help."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Unavailable
from springtide.domain.fleet import FleetNews, Trouble
from springtide.domain.ids import ModelName, TenantId
from springtide.domain.job import JobError, JobStatus
from springtide.domain.lease import Failure, WorkerState
from springtide.domain.tenant import Tenant
from springtide.domain.tickets import end_of
from springtide.gateway.outlook import TROUBLES_KEPT_S
from springtide.ledger.history import FleetSample, Memory, fleet_memory, starts_memory
from springtide.policy.waiting import Waiting, explain_removed
from springtide.runtime.clock import SystemClock

MODEL = ModelName("synthetic")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    tenants = [Tenant(id=TenantId("default"), max_running=1)]
    async with gateway_world(tmp_path, tenants=tenants, max_replicas=1) as made:
        yield made


async def explained(world: World, job: dict[str, Any]) -> dict[str, Any]:
    with mock.patch.object(SystemClock, "now_s", return_value=world.services.clock.now_s()):  # both at one instant
        answer = await world.http.get(f"/v1/jobs/{job['id']}/explain")
        assert answer.status_code == 200, answer.text
        status = (await world.http.get(job["status_url"])).json()
    body = answer.json()
    if status["waiting"]:  # one source: the first reason is what the status tells
        first = body["reasons"][0]
        assert first["code"] == status["waiting"]["code"]
        assert first["message"].startswith(status["waiting"]["message"])
        assert status["waiting"]["figures"].items() <= first["figures"].items()
    return body


def codes(body: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in body["reasons"]]


async def test_a_cold_start_is_told_with_its_usual_length_and_how_long_it_has_been_going(world: World) -> None:
    now_s = world.services.clock.now_s()
    history = world.services.history
    await history.put_memories([Memory(name=starts_memory(MODEL), at_s=now_s, body="[20, 40, 60]")])
    samples = [(60, 1), (50, 0), (30, 1), (10, 1)]
    await history.put_samples([FleetSample(model=MODEL, at_s=now_s - ago, loading=n) for ago, n in samples])
    await world.services.broker.beat(MODEL, "w-1", [], WorkerState.STARTING, now_s)  # type: ignore[arg-type]
    body = await explained(world, await world.submit())
    [reason] = body["reasons"]
    assert reason["code"] == "worker_starting" and reason["figures"]["usual_s"] == 40.0
    assert 29.5 <= reason["figures"]["going_s"] < 90 and "usually takes 40 s" in body["summary"]
    assert "min_replicas" in reason["helps"]


async def test_everything_that_holds_it_up_is_told_what_has_to_change_first_at_the_front(world: World) -> None:
    await world.ready()
    running, job = await world.submit(), None
    await world.lease()
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic", "start_deadline_s": 100})
    job = answer.json()
    body = await explained(world, job)
    assert codes(body) == ["tenant_limit", "queued_behind", "no_capacity", "start_deadline"]
    figures = {reason["code"]: reason["figures"] for reason in body["reasons"]}
    assert figures["tenant_limit"] == {"running": 1.0, "max_running": 1.0}
    assert figures["queued_behind"]["ahead"] == 0.0 and figures["no_capacity"]["max_replicas"] == 1.0
    assert 90 < figures["start_deadline"]["left_s"] <= 100 and all(reason["helps"] for reason in body["reasons"])
    assert codes(await explained(world, running)) == ["running"]


async def test_an_engine_that_does_not_load_is_told_with_its_tries(world: World) -> None:
    await world.does_not_load(failed=2)
    body = await explained(world, await world.submit())
    assert codes(body) == ["engine_not_loading"] and "/srv" not in body["summary"]
    assert body["reasons"][0]["figures"] == {"failed_loads": 2.0, "load_attempts": 6.0}
    assert "operator" in body["reasons"][0]["helps"]


async def test_a_retry_that_is_due_is_told_with_when(world: World) -> None:
    job = await world.submit()
    lease = await world.lease()
    error = JobError(code="crashed", message="It fell over.", retryable=True)
    failure = Failure(id=lease.id, attempt=lease.attempt, error=error, retry_after_s=50.0)
    await world.services.broker.fail(MODEL, lease.worker, [failure], world.services.clock.now_s())
    body = await explained(world, job)
    assert codes(body)[0] == "retry_delay" and 40 < body["reasons"][0]["figures"]["due_in_s"] <= 50
    assert (body["attempt"], body["max_attempts"]) == (1, 3)


async def test_a_removed_model_a_lost_enqueue_and_a_broker_that_is_down_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, lost = await world.leftover("gone"), await world.leftover("synthetic")
    shown = [{"id": job.id, "status_url": f"/v1/jobs/{job.id}"} for job in (gone, lost)]
    assert codes(await explained(world, shown[0])) == ["model_removed"]
    await world.ready()
    assert "queued_behind" in codes(await explained(world, shown[1]))

    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("it is down")

    monkeypatch.setattr(world.services.broker, "queues", down)
    monkeypatch.setattr(world.services.broker, "peek", down)
    assert codes(await explained(world, shown[1])) == ["queue_unreachable"]


@pytest.mark.parametrize(
    ("code", "retryable", "helps"),
    [
        ("attempts_spent", False, "attempts"),
        ("timed_out", False, "timeout_s"),
        ("engine_failed", False, "change the input"),
        ("remote_busy", True, "Retry it"),
    ],
)
async def test_a_job_without_a_result_says_how_it_ended_and_what_would_help(
    world: World, code: str, retryable: bool, helps: str
) -> None:
    job = await world.submit()
    error = JobError(code=code, message="OSError: no room in '/srv/x/y'", retryable=retryable)
    await world.fail(await world.lease(), error)
    body = await explained(world, job)
    [reason] = body["reasons"]
    assert (reason["code"], body["status"], reason["figures"]["attempt"]) == (code, "failed", 1.0)
    assert helps in reason["helps"] and "/srv" not in body["summary"] and reason["figures"]["waited_s"] >= 0


async def test_ends_of_other_kinds_are_told_too(world: World) -> None:
    done, stopped = await world.submit(), await world.submit()
    await world.http.post(stopped["cancel_url"])
    await world.record()
    await world.complete(await world.lease(), {})
    assert codes(await explained(world, done)) == ["completed"]
    assert codes(await explained(world, stopped)) == ["cancelled"]
    late = await world.leftover("synthetic")
    now_s = world.services.clock.now_s()
    await world.services.ledger.record([end_of(late, JobStatus.EXPIRED, now_s)])
    body = await explained(world, {"id": late.id, "status_url": f"/v1/jobs/{late.id}"})
    assert codes(body) == ["start_deadline"] and "start_deadline_s" in body["reasons"][0]["helps"]


async def test_a_pipeline_is_explained_by_the_step_it_is_at(world: World) -> None:
    job = {"model": "synthetic", "then": [{"model": "synthetic"}]}
    whole = (await world.http.post("/v1/jobs", json=job)).json()
    await world.does_not_load()
    assert codes(await explained(world, whole)) == ["engine_not_loading"]


def test_figures_are_plain_numbers() -> None:
    assert msgspec.json.decode(msgspec.json.encode(explain_removed()), type=Waiting) == explain_removed()


async def test_why_the_cluster_gives_no_worker_is_said_instead_of_that_there_is_none(world: World) -> None:
    now_s = world.services.clock.now_s()
    trouble = Trouble(code="unschedulable", message="no node takes its pod: 4 Insufficient nvidia.com/gpu.")
    body = msgspec.json.encode(FleetNews(at_s=now_s, troubles=(trouble,))).decode()
    await world.services.history.put_memories([Memory(name=fleet_memory(MODEL), at_s=now_s, body=body)])
    answer = await explained(world, await world.submit())
    assert codes(answer) == ["unschedulable"]
    assert answer["summary"].endswith("4 Insufficient nvidia.com/gpu.")
    assert not answer["summary"].endswith("..")
    assert "Insufficient nvidia.com/gpu" in answer["summary"]
    assert "springtide doctor" in answer["reasons"][0]["helps"]
    model = (await world.http.get(f"/v1/models/{MODEL}")).json()
    assert model["live"]["problem"]["code"] == "unschedulable"


async def test_what_the_fleet_has_not_said_again_for_long_is_not_told(world: World) -> None:
    then_s = world.services.clock.now_s() - TROUBLES_KEPT_S - 1.0
    news = FleetNews(at_s=then_s, troubles=(Trouble(code="unschedulable", message="no node"),))
    body = msgspec.json.encode(news).decode()
    await world.services.history.put_memories([Memory(name=fleet_memory(MODEL), at_s=then_s, body=body)])
    assert codes(await explained(world, await world.submit())) == ["no_worker"]

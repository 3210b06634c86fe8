"""`GET /metrics` of the gateway: what it counts and looks up, and who may read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import WORKER, World, gateway_world
from test_gateway_keys import bearing, new_key

from springtide.domain.errors import Unavailable
from springtide.domain.fleet import Usage
from springtide.domain.ids import ModelName
from springtide.domain.keys import Scope
from springtide.domain.lease import WorkerState
from springtide.gateway.services import Keyless


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def figures(world: World, **headers: str) -> dict[str, float]:
    answer = await world.http.get("/metrics", headers=headers or bearing(await new_key(world, scopes={Scope.METRICS})))
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_requests_are_told_by_route_and_status_and_never_by_path(world: World) -> None:
    job = await world.submit()
    await world.http.get(f"/v1/jobs/{job['id']}")
    await world.http.get("/v1/jobs/job_" + "0" * 32)
    await world.http.get("/nothing/here")
    await world.http.post("/v1/jobs", json={"model": "none-such", "inputs": {}})
    told = await figures(world)
    requests = {name: value for name, value in told.items() if name.startswith("springtide_http_requests_total")}
    assert requests == {
        'springtide_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"}': 1,
        'springtide_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}': 1,
        'springtide_http_requests_total{method="GET",route="other",status="404"}': 1,
        'springtide_http_requests_total{method="POST",route="/v1/jobs",status="202"}': 1,
        'springtide_http_requests_total{method="POST",route="/v1/jobs",status="404"}': 1,
    }
    assert told['springtide_http_problems_total{code="unknown_model"}'] == 1
    assert told['springtide_http_request_duration_seconds_count{route="/v1/jobs"}'] == 2
    assert not [name for name in told if "job_0" in name or job["id"] in name or "nothing" in name]


async def test_jobs_taken_in_are_counted_once_by_model_and_tenant(world: World) -> None:
    await world.submit()
    again = {"model": "synthetic", "inputs": {"seconds": 0}}
    for _ in range(2):
        await world.http.post("/v1/jobs", json=again, headers={"idempotency-key": "one"})
    batch = {"jobs": [{"model": "synthetic", "inputs": {"seconds": 0}}] * 3}
    assert (await world.http.post("/v1/jobs/batches", json=batch)).is_success
    told = await figures(world)
    assert told['springtide_jobs_accepted_total{model="synthetic",tenant="default"}'] == 5


async def test_queue_and_workers_are_as_they_are_now(world: World) -> None:
    await world.submit(seconds=3)
    await world.submit(seconds=3)
    await world.ready()
    await world.lease()
    usage = Usage(at_s=world.services.clock.now_s(), gpu=0.5, gpu_memory=0.9)
    model = ModelName("synthetic")
    await world.services.broker.beat(model, WORKER, [], WorkerState.BUSY, usage.at_s, usage=usage)
    told = await figures(world)
    assert told['springtide_queue_jobs{model="synthetic"}'] == 1
    assert told['springtide_queue_running_jobs{model="synthetic"}'] == 1
    assert told['springtide_tenant_queued_jobs{tenant="default"}'] == 1
    assert told['springtide_workers{model="synthetic",state="busy"}'] == 1
    assert told['springtide_worker_gpu_memory_ratio{model="synthetic",worker="w-1"}'] == 0.9
    assert told['springtide_dependency_up{dependency="broker"}'] == 1
    assert not [name for name in told if "worker_cpu" in name], "what was not measured is not told"


async def test_a_broker_that_is_down_is_told_and_takes_its_figures_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any) -> Any:
        raise Unavailable("the broker is down")

    monkeypatch.setattr(world.services.broker, "queues", down)
    told = await figures(world)
    assert told['springtide_dependency_up{dependency="broker"}'] == 0
    assert told['springtide_dependency_up{dependency="ledger"}'] == 1
    assert not [name for name in told if name.startswith("springtide_queue")]


async def test_the_room_on_the_disks_of_this_machine_is_told(tmp_path: Path) -> None:
    disks = (("ledger", tmp_path), ("blobs", tmp_path / "not there"))
    async with gateway_world(tmp_path, disks=disks) as world:
        told = await figures(world)
    assert 0 < told['springtide_disk_free_ratio{place="ledger"}'] < 1
    assert 'springtide_disk_free_ratio{place="blobs"}' not in told, "no data is not zero"


async def test_a_key_needs_the_scope_metrics_and_gets_nothing_else_for_it(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keyless=Keyless.REFUSED) as world:
        assert (await world.http.get("/metrics")).status_code == 401
        usual = await new_key(world, scopes={Scope.READ, Scope.SUBMIT})
        assert (await world.http.get("/metrics", headers=bearing(usual))).status_code == 403
        prometheus = bearing(await new_key(world, scopes={Scope.METRICS}))
        assert await figures(world, **prometheus)
        assert (await world.http.get("/v1/jobs", headers=prometheus)).status_code == 403

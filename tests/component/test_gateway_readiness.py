"""When a job will be ready: what a client is told, from what has been learnt."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import ModelName
from springtide.ledger.history import Memory, cost_memory, starts_memory
from springtide.policy.cost import CostMemory, learn

MODEL = ModelName("synthetic")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_replicas=2) as made:
        yield made


async def submit(world: World, seconds: float = 10.0) -> dict[str, Any]:
    answer = await world.http.post("/v1/jobs", json={"model": MODEL, "inputs": {"seconds": seconds}})
    assert answer.status_code == 202
    return answer.json()


async def learnt(world: World, *, factor: float, cold_start_s: float) -> None:
    memory = CostMemory()
    for estimate_s in (5.0, 10.0, 20.0, 10.0, 5.0, 20.0, 10.0, 10.0):
        memory = learn(memory, {}, estimate_s, run_s=estimate_s * factor)
    body = msgspec.json.encode(memory).decode()
    await world.services.history.put_memories(
        [
            Memory(name=cost_memory(MODEL), at_s=1.0, body=body),
            Memory(name=starts_memory(MODEL), at_s=1.0, body=json.dumps([cold_start_s] * 3)),
        ]
    )


async def test_a_job_that_finds_no_worker_is_ready_after_a_cold_start_and_its_run(world: World) -> None:
    await learnt(world, factor=1.0, cold_start_s=40.0)
    told = await submit(world)
    assert told["eta_s"] == pytest.approx(50.0, rel=0.1)
    low, high = told["eta_range_s"]
    assert low < told["eta_s"] < high


async def test_what_jobs_really_take_counts_and_not_what_the_engine_says(world: World) -> None:
    await learnt(world, factor=3.0, cold_start_s=40.0)
    await world.ready()
    assert (await submit(world))["eta_s"] == pytest.approx(30.0, rel=0.1)


async def test_each_job_ahead_makes_it_later(world: World) -> None:
    await world.ready()
    etas = [(await submit(world))["eta_s"] for _ in range(3)]
    assert etas == sorted(etas) and etas[2] >= etas[0] + 15.0

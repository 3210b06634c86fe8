"""When a job will be ready: what a client is told, from what has been learnt."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import ModelName
from springtide.gateway import readiness
from springtide.ledger.history import Memory, cost_memory, eta_memory, features_memory, starts_memory
from springtide.policy.cost import CostMemory, learn
from springtide.policy.eta import Calibration, band_of, correct

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


async def put(world: World, name: str, learnt: msgspec.Struct) -> None:
    body = msgspec.json.encode(learnt).decode()
    await world.services.history.put_memories([Memory(name=name, at_s=1.0, body=body)])


async def test_a_job_is_queued_with_what_its_features_have_taught_and_keeps_what_was_said(world: World) -> None:
    memory = CostMemory()
    for steps in (1.0, 50.0, 10.0, 100.0, 25.0, 75.0) * 5:
        memory = learn(memory, {"steps": steps}, 1.0, run_s=0.3 * steps)
    await put(world, features_memory(MODEL), memory)
    await submit(world)  # the first look at what is learnt
    predicted = {}
    for steps in (4, 80):
        asked = {"model": MODEL, "inputs": {"seconds": 1.0, "steps": steps}}
        told = (await world.http.post("/v1/jobs", json=asked)).json()
        [job] = await world.services.ledger.get([told["id"]])
        assert job is not None and job.foretold is not None
        assert (job.foretold.estimate_s, job.foretold.features) == (1.0, {"steps": float(steps)})
        predicted[steps] = job.predicted_s
    assert 0.6 < predicted[4] < 2.4 and 16 < predicted[80] < 40
    [view] = await world.services.broker.queues([MODEL], world.services.clock.now_s())
    assert view.predicted_s == pytest.approx(10.0 + sum(predicted.values()), rel=0.5), "the queue orders by the same"


async def test_what_is_learnt_later_counts_for_jobs_like_those_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "READ_EVERY_S", 0.0)
    predicted = []
    for factor in (1.0, 3.0, 1.0):
        memory = CostMemory()
        for estimate_s in (5.0, 10.0, 20.0) * 5:
            memory = learn(memory, {}, estimate_s, run_s=estimate_s * factor)
        await put(world, features_memory(MODEL), memory)
        await submit(world)  # by which it is looked at
        [job] = await world.services.ledger.get([(await submit(world))["id"]])
        assert job is not None
        predicted.append(job.predicted_s)
    assert predicted == pytest.approx([10.0, 30.0, 10.0], rel=0.2)


async def test_features_that_cannot_be_told_refuse_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, inputs: object) -> dict[str, float]:
        raise KeyError("pixels")

    monkeypatch.setattr(type(world.services.models[MODEL].engine), "features", broken)
    [job] = await world.services.ledger.get([(await submit(world))["id"]])
    assert job is not None and job.foretold is not None
    assert (job.predicted_s, job.foretold.features) == (10.0, {})


async def test_a_promise_is_kept_with_its_job_and_as_wide_as_earlier_ones_came_out(world: World) -> None:
    calibration = Calibration()
    for took_s in (2.0, 90.0) * 200:
        band = band_of(10.0, 0.4, waits=False, calibration=calibration)
        calibration = correct(calibration, band, took_s=took_s)
    await put(world, eta_memory(MODEL), calibration)
    await world.ready()
    told = await submit(world)
    [job] = await world.services.ledger.get([told["id"]])
    assert job is not None and job.foretold is not None and job.foretold.done_s is not None
    assert (job.foretold.done_s, job.foretold.waits) == (pytest.approx(10.0, rel=0.05), False)
    low, high = told["eta_range_s"]
    likely_low, likely_high = told["eta_likely_s"]
    assert low <= likely_low <= told["eta_s"] <= likely_high <= high
    assert high / low > 1.5 * math.exp(2 * 1.645 * job.foretold.spread), "wider than before anything was learnt"


async def test_jobs_that_came_within_the_same_second_are_told_of_one_another(world: World) -> None:
    await world.ready()
    etas = sorted([told["eta_s"] for told in await asyncio.gather(*(submit(world) for _ in range(5)))])
    assert etas[-1] > etas[0] + 25.0

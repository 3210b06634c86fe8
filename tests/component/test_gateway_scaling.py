"""Why a model has so many replicas, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gateway_world import World, gateway_world

from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName
from springtide.ledger.history import FleetSample, Scaled

MODEL = ModelName("synthetic")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def test_decisions_come_newest_first_with_reason_and_figures(world: World) -> None:
    decisions = [
        Decision(model=MODEL, replicas=2, reason="QUEUE", message="work for two", figures={"waiting": 7.0}),
        Decision(model=MODEL, replicas=3, reason="CEILING", message="work for nine", wish=9),
    ]
    made = [Scaled(at_s=1000.0 + n, before=n, decision=one) for n, one in enumerate(decisions)]
    await world.services.history.put_scaled(made)
    found = (await world.http.get("/v1/models/synthetic/scaling")).json()
    assert found["pool"] is None
    assert [(one["before"], one["replicas"], one["wish"], one["reason"]) for one in found["decisions"]] == [
        (1, 3, 9, "CEILING"),
        (0, 2, 2, "QUEUE"),
    ]
    assert found["decisions"][1]["figures"] == {"waiting": 7.0}
    assert found["samples"] == [], "samples are given to those who ask for them"
    older = (await world.http.get("/v1/models/synthetic/scaling", params={"before_s": 1001.0, "limit": 5})).json()
    assert [one["replicas"] for one in older["decisions"]] == [2]


async def test_samples_come_in_order_and_unknown_figures_are_null(world: World) -> None:
    taken = [FleetSample(model=MODEL, at_s=1000.0 + n, queued=n, wanted=1) for n in range(3)]
    await world.services.history.put_samples(taken)
    found = (await world.http.get("/v1/models/synthetic/scaling", params={"since_s": 1001.0})).json()
    assert [(one["at_s"], one["queued"], one["wait_s_p95"]) for one in found["samples"]] == [
        (1001.0, 1, None),
        (1002.0, 2, None),
    ]


async def test_a_model_that_is_not_served_is_not_found(world: World) -> None:
    answer = await world.http.get("/v1/models/nothing/scaling")
    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown_model"

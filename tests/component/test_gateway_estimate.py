"""What a job would take, before it is sent; and the jobs on record as a trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world

from springtide.gateway.services import Keyless


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_replicas=2, keyless=Keyless.LOCAL) as made:
        made.http.headers["Host"] = "localhost"
        yield made


async def estimate(world: World, **wish: Any) -> dict[str, Any]:
    answer = await world.http.post("/v1/jobs/estimate", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_figures_are_those_that_the_job_is_accepted_with(world: World) -> None:
    await world.ready()
    told = await estimate(world, model="synthetic", inputs={"seconds": 7})
    assert told["predicted_s"] == 7.0
    job = await world.submit(seconds=7)
    assert told["eta_s"] == pytest.approx(job["eta_s"], rel=0.01)
    assert told["eta_range_s"][0] < told["eta_s"] < told["eta_range_s"][1]


async def test_of_a_file_that_was_not_sent_its_size_counts(world: World) -> None:
    facts = {"media_type": "image/png", "bytes": 10_000, "width": 100, "height": 200}
    told = await estimate(world, model="sketch", files={"picture": facts})
    assert told["predicted_s"] == 20.0, "pixels by a thousand: the engine's own rule"
    many = await estimate(world, model="album", files={"pictures": [facts, facts]})
    assert many["predicted_s"] == 1.0


async def test_the_last_of_many_is_ready_later(world: World) -> None:
    await world.ready()
    one, ten = [await estimate(world, model="synthetic", inputs={"seconds": 5}, jobs=jobs) for jobs in (1, 10)]
    assert ten["jobs"] == 10 and ten["eta_s"] > one["eta_s"] + 9 * 5 / 2 - 1


async def test_nothing_is_kept_of_an_estimate(world: World) -> None:
    await estimate(world, model="synthetic")
    assert (await world.http.get("/v1/jobs")).json()["data"] == []
    assert world.stored() == []


@pytest.mark.parametrize(
    ("wish", "status", "says"),
    [
        ({"model": "nothing"}, 404, "nothing"),
        ({"model": "sketch"}, 422, "picture"),
        ({"model": "synthetic", "inputs": {"seconds": -1}}, 422, "seconds"),
        ({"model": "synthetic", "colour": "red"}, 422, "colour"),
        ({"model": "synthetic", "jobs": 0}, 422, "jobs"),
        ({"model": "sketch", "inputs": {"picture": "blob_01a2036e2a62705bbd739f94d7a594ba"}}, 422, "there is no blob"),
    ],
)
async def test_what_is_wrong_is_told_as_at_a_submit(world: World, wish: dict[str, Any], status: int, says: str) -> None:
    answer = await world.http.post("/v1/jobs/estimate", json=wish)
    assert answer.status_code == status and says in answer.text


async def test_jobs_that_came_to_a_result_are_lines_of_a_trace(world: World) -> None:
    made = await world.submit(seconds=3)
    await world.submit(seconds=4)  # still waits
    lease = await world.lease()
    await world.complete(lease, {"seconds": 3})
    for model, lines in (("synthetic", 1), ("sketch", 0)):
        answer = await world.http.get("/v1/trace", params={"model": model})
        assert answer.headers["content-type"].startswith("text/csv")
        head, *rest = answer.text.splitlines()
        assert head == "arrival_s,model,tenant,seconds,predicted_s"
        assert len(rest) == lines
    arrival, model, tenant, _, predicted = (await world.http.get("/v1/trace")).text.splitlines()[1].split(",")
    assert (model, tenant, float(predicted)) == ("synthetic", "default", 3.0)
    assert 86_000 < float(arrival) <= 86_400.5, "it counts from a day ago"
    assert made["id"] == lease.id


async def test_the_trace_of_all_tenants_is_for_operators(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as usual:
        assert (await usual.http.get("/v1/trace")).status_code == 403

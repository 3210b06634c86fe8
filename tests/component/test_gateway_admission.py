"""Full queues: who is refused, what the answer says, and who never is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import JobRef
from springtide.domain.lease import Ticket
from springtide.domain.tenant import Tenant
from springtide.testing.media import picture

MOST, OF_ACME = 4, 2
SYNTHETIC = {"model": "synthetic", "inputs": {"seconds": 10}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    acme = Tenant(id=TenantId("acme"), max_queued=OF_ACME)
    async with gateway_world(tmp_path, tenants=[acme], max_queued=MOST, tenant_header="X-Tenant") as made:
        yield made


async def post(world: World, tenant: str = "beta", **headers: str) -> httpx.Response:
    return await world.http.post("/v1/jobs", json=SYNTHETIC, headers={"x-tenant": tenant, **headers})


async def fill(world: World, count: int, tenant: str = "beta") -> list[dict[str, Any]]:
    answers = [await post(world, tenant) for _ in range(count)]
    assert {answer.status_code for answer in answers} == {202}
    return [answer.json() for answer in answers]


async def test_a_full_queue_answers_429_with_the_limit_and_when_to_come_back(world: World) -> None:
    await world.ready()
    await fill(world, MOST)
    answer = await post(world)
    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
    body = answer.json()
    assert (body["code"], body["limit"], body["value"], body["waiting"]) == (
        "queue_full",
        "models.synthetic.max_queued",
        MOST,
        MOST,
    )
    assert answer.headers["retry-after"] == "10"  # one worker takes a job of 10 s, and one place is enough
    assert str(MOST) in body["detail"] and "models.synthetic.max_queued" in body["detail"]
    assert len((await world.http.get("/v1/jobs", headers={"x-tenant": "beta"})).json()["data"]) == MOST


async def test_a_tenant_over_its_limit_is_refused_and_others_are_not(world: World) -> None:
    await fill(world, OF_ACME, "acme")
    answer = await post(world, "acme")
    assert answer.status_code == 429
    assert (answer.json()["limit"], answer.json()["waiting"]) == ("tenants.acme.max_queued", OF_ACME)
    await fill(world, MOST - OF_ACME, "beta")


async def test_a_place_that_comes_free_is_given_at_once(world: World) -> None:
    jobs = await fill(world, MOST)
    assert (await post(world)).status_code == 429
    await world.lease()
    await fill(world, 1)
    assert (await post(world)).status_code == 429
    await world.http.post(f"/v1/jobs/{jobs[2]['id']}/cancel", headers={"x-tenant": "beta"})
    await fill(world, 1)


async def test_of_many_requests_at_once_none_too_many_gets_in(world: World) -> None:
    answers = await asyncio.gather(*(post(world) for _ in range(5 * MOST)))
    assert sorted(answer.status_code for answer in answers) == [202] * MOST + [429] * 4 * MOST
    [view] = await world.services.broker.queues([ModelName("synthetic")], world.services.clock.now_s())
    assert view.queued == MOST


async def test_a_repeat_of_an_accepted_job_is_never_refused(world: World) -> None:
    first = await post(world, **{"idempotency-key": "k"})
    await fill(world, MOST - 1)
    again = await post(world, **{"idempotency-key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert (await post(world, **{"idempotency-key": "new"})).status_code == 429
    other = {"model": "synthetic", "inputs": {"seconds": 11}}
    headers = {"x-tenant": "beta", "idempotency-key": "k"}
    assert (await world.http.post("/v1/jobs", json=other, headers=headers)).status_code == 422


async def test_a_batch_fills_what_is_left_and_refuses_the_rest_each_by_itself(world: World) -> None:
    headers = {"x-tenant": "beta", "idempotency-key": "b"}
    for _ in range(2):
        answer = await world.http.post("/v1/jobs/batches", json={"jobs": [SYNTHETIC] * (MOST + 2)}, headers=headers)
        body = answer.json()
        assert (body["counts"]["queued"], body["counts"]["refused"]) == (MOST, 2)
        assert [one["place"] for one in body["refused"]] == [MOST, MOST + 1]
        assert body["refused"][0]["problem"]["code"] == "queue_full"


async def test_an_item_whose_key_is_known_finds_its_job_however_full_the_queue_is(world: World) -> None:
    first = (await post(world, **{"idempotency-key": "own"})).json()
    await fill(world, MOST - 1)
    jobs = [{**SYNTHETIC, "idempotency_key": "own"}, SYNTHETIC]
    headers = {"x-tenant": "beta"}
    body = (await world.http.post("/v1/jobs/batches", json={"jobs": jobs}, headers=headers)).json()
    items = (await world.http.get(body["items_url"], headers=headers)).json()["data"]
    assert [item["status"] for item in items] == ["queued", "refused"] and items[0]["job"]["id"] == first["id"]


async def test_an_upload_that_could_not_wait_is_refused_before_it_is_taken_in_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    picture((8, 8)).save(tmp_path / "p.png")
    photo = ("p.png", (tmp_path / "p.png").read_bytes(), "image/png")
    async with gateway_world(tmp_path, max_queued=1) as world:
        first = await world.http.post("/v1/jobs", data={"model": "sketch"}, files={"picture": photo})
        assert first.status_code == 202
        kept = world.stored()
        for headers in ({}, {"idempotency-key": "k"}):
            form: dict[str, Any] = {"data": {"model": "sketch"}, "files": {"picture": photo}, "headers": headers}
            answer = await world.http.post("/v1/jobs", **form)
            assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
            assert world.stored() == kept


async def test_jobs_that_fail_to_be_recorded_take_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(jobs: Any) -> Any:
        raise Unavailable("the ledger is down")

    with monkeypatch.context() as broken:
        broken.setattr(world.services.ledger, "insert", down)
        for _ in range(2 * MOST):
            assert (await post(world)).status_code == 503
    await fill(world, MOST)


async def test_without_a_broker_what_has_entered_still_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any) -> Any:
        raise Unavailable("the broker is down")

    for verb in ("enqueue", "queues"):
        monkeypatch.setattr(world.services.broker, verb, down)
    await fill(world, MOST)
    assert (await post(world)).status_code == 429


class TestTenantHeader:
    async def test_jobs_belong_to_the_tenant_that_the_proxy_names(self, world: World) -> None:
        [job] = await fill(world, 1, "acme")
        assert (await world.http.get(f"/v1/jobs/{job['id']}", headers={"x-tenant": "acme"})).status_code == 200
        for headers in ({"x-tenant": "beta"}, {}):
            assert (await world.http.get(f"/v1/jobs/{job['id']}", headers=headers)).status_code == 404
        assert (await world.lease()).tenant == "acme"

    async def test_a_request_without_the_header_is_the_default_tenants(self, world: World) -> None:
        job = await world.submit()
        [known] = await world.services.ledger.get([JobId(job["id"])])
        assert known is not None and known.tenant == "default"

    @pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../etc", "é"])
    async def test_a_bad_name_is_refused(self, world: World, name: str) -> None:
        answer = await world.http.post("/v1/jobs", json=SYNTHETIC, headers=[(b"x-tenant", name.encode())])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_tenant")

    async def test_two_names_are_refused(self, world: World) -> None:
        answer = await world.http.get("/v1/jobs", headers=[("x-tenant", "acme"), ("x-tenant", "beta")])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_tenant")

    async def test_without_the_setting_nobody_can_name_a_tenant(self, tmp_path: Path) -> None:
        async with gateway_world(tmp_path) as world:
            answer = await world.http.post("/v1/jobs", json=SYNTHETIC, headers={"x-tenant": "acme"})
            [known] = await world.services.ledger.get([JobId(answer.json()["id"])])
            assert known is not None and known.tenant == "default"
            assert await world.services.broker.peek([JobRef(known.model, known.id)], 0.0) != [None]


def test_a_ticket_carries_no_share_of_its_own() -> None:
    """Weights and limits are the broker's, so that a change holds for jobs that were queued before it."""
    assert not {"weight", "max_running"} & set(Ticket.__struct_fields__)

"""What a tenant may take: requests, seconds, bytes, priority; and what it is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import TenantId
from springtide.domain.job import JobError, Priority
from springtide.domain.keys import ALL_SCOPES, USUAL_SCOPES
from springtide.domain.tenant import Quota, Quotas
from springtide.gateway.metering import KEPT_S, Metering
from springtide.gateway.services import Keyless
from springtide.ledger.keys import make_key
from springtide.ledger.usage import DAY_S
from springtide.testing.clock import ManualClock

ACME, BETA = TenantId("acme"), TenantId("beta")
QUOTA = Quota(
    requests_per_minute=5,
    gpu_seconds_per_day=10.0,
    upload_bytes_per_day=100,
    priority_ceiling=Priority.STANDARD,
)
LOW = Quota(priority_ceiling=Priority.BATCH)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    quotas = Quotas(usual=Quota(upload_bytes_per_day=5), named={ACME: QUOTA, BETA: LOW, TenantId("free"): Quota()})
    async with gateway_world(tmp_path, tenant_header="X-Tenant", quotas=quotas) as made:
        yield made


async def call(world: World, method: str, path: str, tenant: str = "acme", **more: Any) -> httpx.Response:
    headers = {"x-tenant": tenant, **more.pop("headers", {})}
    return await world.http.request(method, path, headers=headers, **more)


def job(seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"model": "synthetic", "inputs": {"seconds": seconds}, **more}


def told(answer: httpx.Response) -> tuple[int, str, list[str]]:
    body = answer.json()
    return answer.status_code, body["code"], body.get("violated-policies", [])


async def batch_codes(world: World, tenant: str, jobs: list[dict[str, Any]]) -> list[str | None]:
    """What became of each item of a batch: the code of its problem."""
    batch = (await call(world, "POST", "/v1/jobs/batches", tenant, json={"jobs": jobs})).json()
    items = (await call(world, "GET", f"/v1/jobs/batches/{batch['id']}/items", tenant)).json()["data"]
    return [(item.get("problem") or {}).get("code") for item in items]


class TestRequests:
    async def test_every_answer_says_how_many_are_left_and_the_next_is_refused(self, world: World) -> None:
        left: list[str] = []
        for path in ("/v1/jobs", "/v1/models", "/v1/jobs/job_0", "/v1/jobs", "/v1/jobs"):
            answer = await call(world, "GET", path)
            assert answer.headers["ratelimit-policy"] == '"requests";q=5;w=60'
            left.append(answer.headers["ratelimit"].partition(";t=")[0])
        assert left == [f'"requests";r={n}' for n in (4, 3, 2, 1, 0)]
        for refused in (await call(world, "POST", "/v1/jobs", json=job()), await call(world, "GET", "/v1/jobs")):
            assert told(refused) == (429, "quota_exceeded", ["requests"])
            assert refused.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
            assert 1 <= int(refused.headers["retry-after"]) <= 12 and "ratelimit" in refused.headers
            assert refused.json()["limit"] == "tenants.acme.requests_per_minute"

    async def test_others_and_what_is_open_are_not_counted(self, world: World) -> None:
        for _ in range(8):
            answer = await call(world, "GET", "/v1/models", "free")
            assert answer.status_code == 200 and "ratelimit" not in answer.headers
            assert (await call(world, "GET", "/healthz")).status_code == 200
        assert (await call(world, "GET", "/v1/models")).headers["ratelimit"].startswith('"requests";r=4')


class TestSeconds:
    async def test_what_waits_counts_as_predicted_and_what_ran_as_it_was(self, world: World) -> None:
        answers = [await call(world, "POST", "/v1/jobs", json=job(4.0)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert told(answers[2]) == (429, "quota_exceeded", ["gpu-seconds"])
        assert answers[2].headers["x-should-retry"] == "false"
        assert 1 <= int(answers[2].headers["retry-after"]) <= DAY_S
        for _ in range(2):
            await world.complete(await world.lease(), {"seconds": 4.0, "steps": 1})
        world.services.metering._days.clear()
        assert (await call(world, "POST", "/v1/jobs", json=job(4.0))).status_code == 202

    async def test_a_known_idempotency_key_is_answered_although_the_day_is_over(self, world: World) -> None:
        headers = {"idempotency-key": "k"}
        first = await call(world, "POST", "/v1/jobs", json=job(9.0), headers=headers)
        again = await call(world, "POST", "/v1/jobs", json=job(9.0), headers=headers)
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])

    async def test_the_items_of_a_batch_are_let_in_as_far_as_they_fit(self, world: World) -> None:
        codes = await batch_codes(world, "acme", [job(4.0), job(4.0), job(4.0), job(0.5)])
        assert codes == [None, None, "quota_exceeded", None]

    async def test_the_figures_are_those_of_all_gateways_after_a_moment(self, world: World) -> None:
        clock = ManualClock(world.services.clock.now_s())
        usage = world.services.metering.usage
        elsewhere = Metering(usage, world.services.metering.quotas, clock)
        await elsewhere.job(ACME, 1.0)
        assert (await call(world, "POST", "/v1/jobs", json=job(8.0))).status_code == 202
        await elsewhere.job(ACME, 1.0)  # does not know yet
        clock.step(KEPT_S + 0.1)
        with pytest.raises(Exception, match=r"has used 8 of 10 seconds") as refused:
            await elsewhere.job(ACME, 4.0)
        assert getattr(refused.value, "code", None) == "quota_exceeded"
        clock.step(DAY_S)
        await world.complete(await world.lease(), {"seconds": 8.0, "steps": 1})
        await elsewhere.job(ACME, 9.0)

    async def test_many_who_come_at_once_look_once(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = world.services.metering.usage
        assert usage is not None
        asked, looks = usage.spent, 0

        async def spent(*about: Any) -> Any:
            nonlocal looks
            looks += 1
            return await asked(*about)

        monkeypatch.setattr(usage, "spent", spent)
        clock = ManualClock(world.services.clock.now_s())
        gateway = Metering(usage, world.services.metering.quotas, clock)
        for expected in (1, 2):
            await asyncio.gather(*(gateway.job(ACME, 0.1) for _ in range(20)))
            assert looks == expected
            clock.step(KEPT_S + 0.1)


class TestUploads:
    async def test_bytes_are_counted_by_whatever_way_they_come(self, world: World) -> None:
        assert (await call(world, "POST", "/v1/blobs", content=b"x" * 40)).status_code == 201
        files = {"file": ("a.bin", b"y" * 40)}
        assert (await call(world, "POST", "/v1/blobs", files=files)).status_code == 429, (
            "the envelope counts when asked"
        )
        assert (await call(world, "POST", "/v1/blobs", content=b"x" * 60)).status_code == 201
        refused = await call(world, "POST", "/v1/blobs", content=b"x")
        assert told(refused) == (429, "quota_exceeded", ["content-bytes"])
        refused = await call(world, "POST", "/v1/blobs/uploads", json={"bytes": 1})
        assert told(refused) == (429, "quota_exceeded", ["content-bytes"])
        assert "of 100 uploaded bytes a day; this upload has 1. The day ends in " in refused.json()["detail"]
        assert refused.json()["limit"] == "tenants.acme.upload_mb_per_day" and len(world.stored()) == 2

    async def test_tenants_that_are_not_named_have_the_usual_quota(self, world: World) -> None:
        assert (await call(world, "POST", "/v1/blobs", "somebody", content=b"123456")).status_code == 429
        assert (await call(world, "POST", "/v1/blobs", "somebody", content=b"12345")).status_code == 201
        assert (await call(world, "POST", "/v1/blobs", "free", content=b"x" * 1000)).status_code == 201


class TestPriority:
    async def test_a_class_above_the_ceiling_is_refused_and_none_is_the_highest_allowed(self, world: World) -> None:
        answer = await call(world, "POST", "/v1/jobs", json=job(0.1, priority="interactive"))
        assert told(answer)[:2] == (403, "priority_not_allowed") and answer.json()["ceiling"] == "standard"
        for tenant, asked, given in (("beta", None, "batch"), ("acme", None, "standard"), ("free", None, "standard")):
            made = (await call(world, "POST", "/v1/jobs", tenant, json=job(0.1, priority=asked))).json()
            shown = (await call(world, "GET", f"/v1/jobs/{made['id']}", tenant)).json()
            assert shown["priority"] == given, tenant
        assert told(await call(world, "POST", "/v1/jobs", "beta", json=job(priority="standard")))[0] == 403
        answer = await call(world, "POST", "/v1/jobs", "free", json=job(priority="interactive"))
        assert answer.status_code == 202

    async def test_an_item_of_a_batch_is_refused_by_itself(self, world: World) -> None:
        codes = await batch_codes(world, "acme", [job(0.1), job(0.1, priority="interactive")])
        assert codes == [None, "priority_not_allowed"]


class TestUsage:
    async def test_a_tenant_sees_its_own_days_and_what_is_left(self, world: World) -> None:
        await call(world, "POST", "/v1/blobs", content=b"x" * 30)
        made = (await call(world, "POST", "/v1/jobs", json=job(4.0))).json()
        await call(world, "POST", "/v1/jobs", "beta", json=job(1.0))
        lease = await world.lease()
        await world.complete(lease, {"seconds": 4.0, "steps": 1})
        await world.services.metering.write()
        shown = (await call(world, "GET", "/v1/usage")).json()
        assert {row["tenant"] for row in shown["data"]} == {"acme"} and len(shown["data"]) == 2
        assert shown["total"]["jobs"] == 1 and shown["total"]["uploaded_bytes"] == 30
        assert shown["quota"]["gpu_seconds_per_day"] == 10.0 and shown["quota"]["upload_bytes_today"] == 30
        status = (await call(world, "GET", f"/v1/jobs/{made['id']}")).json()
        assert status["used_s"] == shown["total"]["seconds"] is not None

    async def test_a_jobs_seconds_hold_its_failed_attempts(self, world: World) -> None:
        made = (await call(world, "POST", "/v1/jobs", "free", json=job(0.1))).json()
        assert (await call(world, "GET", f"/v1/jobs/{made['id']}", "free")).json()["used_s"] is None
        await world.fail(await world.lease(), JobError(code="engine_failed", message="It broke."))
        shown = (await call(world, "GET", f"/v1/jobs/{made['id']}", "free")).json()
        assert shown["status"] == "failed" and shown["used_s"] >= 0

    async def test_other_tenants_are_for_operators(self, tmp_path: Path) -> None:
        async with gateway_world(tmp_path, keyless=Keyless.REFUSED) as world:
            record, now_s = world.services.keyring.record, world.services.clock.now_s()
            assert record is not None
            _, usual = await make_key(record, ACME, scopes=USUAL_SCOPES, now_s=now_s)
            _, admin = await make_key(record, TenantId("ops"), scopes=ALL_SCOPES, now_s=now_s)
            await world.services.keyring.refresh()
            await world.services.metering.usage.add_uploaded({ACME: 3, BETA: 4}, int(now_s // DAY_S))  # type: ignore[union-attr]
            mine, all_of_it = ({"x-api-key": key} for key in (usual, admin))
            assert (await world.http.get("/v1/usage?tenant=acme", headers=mine)).status_code == 200
            for tenant in ("beta", "*", "nobody"):
                answer = await world.http.get("/v1/usage", params={"tenant": tenant}, headers=mine)
                assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
            shown = (await world.http.get("/v1/usage?tenant=*", headers=all_of_it)).json()
            assert shown["total"]["uploaded_bytes"] == 7 and shown["quota"] is None
            one = (await world.http.get("/v1/usage?tenant=beta", headers=all_of_it)).json()
            assert [row["tenant"] for row in one["data"]] == ["beta"]

    @pytest.mark.parametrize("query", ["since=yesterday", "since=2026-01-02&until=2026-01-01", "since=2020-01-01"])
    async def test_days_that_make_no_sense_are_refused(self, world: World, query: str) -> None:
        assert (await call(world, "GET", f"/v1/usage?{query}", "free")).status_code == 400


async def test_uploads_of_the_last_second_are_on_record_after_a_stop(world: World) -> None:
    await call(world, "POST", "/v1/blobs", content=b"x" * 30)
    await world.services.metering.stop()
    spent = await world.services.metering.usage.spent([ACME], int(world.services.clock.now_s() // DAY_S))  # type: ignore[union-attr]
    assert spent[ACME].uploaded_bytes == 30

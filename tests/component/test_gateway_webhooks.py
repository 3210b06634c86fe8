"""/v1/webhooks over HTTP, with real receivers on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world
from web_servers import WebServer, answering, silent, web_server

from springtide.controller.webhooks import WebhookDelivery
from springtide.domain.ids import DEFAULT_TENANT, JobId, TenantId
from springtide.domain.job import JobError
from springtide.domain.tenant import Tenant
from springtide.egress.client import Egress
from springtide.webhooks import WebhookRefused, verify_webhook


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    tenants = [Tenant(id=TenantId("acme"))]
    async with gateway_world(tmp_path, tenants=tenants, tenant_header="X-Tenant", max_webhooks=3) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncGenerator[WebServer]:
    async with web_server() as made:
        yield made


async def make(world: World, url: str, **more: Any) -> dict[str, Any]:
    answer = await world.http.post("/v1/webhooks", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"http://media.test/v1/webhooks/{answer.json()['id']}"
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def deliver(world: World) -> None:
    """What the controller does, until nothing is due."""
    services = world.services
    service = WebhookDelivery(services.webhooks, services.ledger, services.egress, services.clock)
    await service.look()
    for lane in list(service._lanes.values()):
        await lane
    await service.stop()


async def ended(world: World, **inputs: Any) -> str:
    job = (await world.submit(**inputs))["id"]
    await world.complete(await world.lease(), {})
    return job


async def test_a_job_that_ends_is_told_to_a_receiver_that_checks_it(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url("/in?token=t"))
    assert hook["secret"].startswith("whsec_") and hook["enabled"] and len(hook["events"]) == 4
    job = await ended(world)
    await deliver(world)
    [got] = receiver.got
    event = verify_webhook(hook["secret"], got.headers, got.body)
    assert (got.method, got.path, event["type"], event["data"]["id"]) == ("POST", "/in?token=t", "job.completed", job)
    assert event["data"]["url"] == f"http://media.test/v1/jobs/{job}"
    assert (await world.http.get(event["data"]["result_url"])).status_code == 200
    with pytest.raises(WebhookRefused):
        verify_webhook(hook["secret"], got.headers, got.body.replace(b"completed", b"failed"))
    [told] = (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"]
    assert (told["id"], told["status"], told["next_at_s"]) == (got.headers["webhook-id"], "delivered", None)
    assert told["attempts"][0]["status"] == 200 and told["attempts"][0]["ms"] > 0


async def test_a_secret_is_shown_once(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url())
    for path in ("/v1/webhooks", f"/v1/webhooks/{hook['id']}"):
        assert "whsec_" not in (await world.http.get(path)).text
    assert "whsec_" not in (await world.http.patch(f"/v1/webhooks/{hook['id']}", json={"description": "x"})).text


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "url_refused"),
        ("https://10.0.0.1/hook", "url_refused"),
        ("https://[::1]/", "url_refused"),
        ("http://1.1.1.1/hook", "url_refused"),
        ("https://user:pw@1.1.1.1/", "url_refused"),
        ("https://1.1.1.1:22/", "url_refused"),
        ("ftp://1.1.1.1/", "url_refused"),
        ("https://nowhere.invalid/", "url_unreachable"),
    ],
)
async def test_a_url_that_may_not_be_followed_is_refused_when_it_is_named(tmp_path: Path, url: str, code: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with gateway_world(tmp_path, egress=Egress(resolve=resolve)) as world:
        answer = await world.http.post("/v1/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
        assert answer.json()["errors"][0]["loc"] == "url"
        assert (await world.http.get("/v1/webhooks")).json() == {"data": []}


async def test_a_name_that_turns_private_later_is_not_sent_to(tmp_path: Path) -> None:
    """DNS rebinding: public when the webhook is made, the metadata service when a message is sent."""
    addresses = ["93.184.216.34"]

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    async with gateway_world(tmp_path, egress=Egress(resolve=resolve)) as world:
        hook = await make(world, "https://rebinding.example/hook")
        addresses[:] = ["169.254.169.254"]
        await ended(world)
        await deliver(world)
        [told] = (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"]
        assert told["status"] == "pending" and "url_refused" in told["attempts"][0]["error"]


async def test_a_receiver_that_redirects_to_the_inside_is_not_followed(world: World, receiver: WebServer) -> None:
    async with web_server() as inner:
        receiver.reply = answering(307, headers={"Location": inner.url()})
        hook = await make(world, receiver.url())
        await ended(world)
        await deliver(world)
        [told] = (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"]
        assert told["attempts"][0]["status"] == 307 and "redirect" in told["attempts"][0]["error"]
        assert told["status"] == "pending" and inner.got == []


async def test_only_what_was_asked_for_is_told(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url(), events=["job.failed"], models=["synthetic"])
    await ended(world)
    await world.submit()
    await world.fail(await world.lease(), JobError(code="engine_failed", message="/srv/secret/path broke"))
    await deliver(world)
    [got] = receiver.got
    event = verify_webhook(hook["secret"], got.headers, got.body)
    assert event["data"]["error"] == {"code": "engine_failed"} and b"/srv" not in got.body


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"url": "http://127.0.0.1/", "events": ["job.started"]}, "events"),
        ({"url": "http://127.0.0.1/", "events": []}, "events"),
        ({"url": "http://127.0.0.1/", "models": ["no-such"]}, "models"),
        ({"url": "http://127.0.0.1/", "secret": "mine"}, ""),
        ({"url": 7}, ""),
        ({}, ""),
        ([], ""),
    ],
)
async def test_a_wrong_wish_is_refused_with_what_is_wrong(world: World, body: Any, loc: str) -> None:
    answer = await world.http.post("/v1/webhooks", json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["loc"] == loc, answer.text


async def test_there_may_be_so_many(world: World, receiver: WebServer) -> None:
    for _ in range(3):
        await make(world, receiver.url())
    answer = await world.http.post("/v1/webhooks", json={"url": receiver.url()})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


async def test_another_tenant_sees_nothing_of_it(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url())
    await ended(world)
    [told] = (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"]
    other = {"X-Tenant": "acme"}
    path = f"/v1/webhooks/{hook['id']}"
    asked: list[httpx.Response] = [
        await world.http.get(path, headers=other),
        await world.http.patch(path, json={"enabled": False}, headers=other),
        await world.http.delete(path, headers=other),
        await world.http.post(f"{path}/rotate", headers=other),
        await world.http.post(f"{path}/test", headers=other),
        await world.http.get(f"{path}/deliveries", headers=other),
        await world.http.post(f"{path}/deliveries/{told['id']}/redeliver", headers=other),
        await world.http.post(f"{path}/redeliver", json={"since_s": 0}, headers=other),
    ]
    assert {(each.status_code, each.json()["code"]) for each in asked} == {(404, "unknown_webhook")}
    assert (await world.http.get("/v1/webhooks", headers=other)).json() == {"data": []}
    await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=other)
    await world.complete(await world.lease(), {})
    await deliver(world)
    assert len(receiver.got) == 1  # not told of another tenant's job


async def test_two_secrets_sign_while_one_is_changed(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url())
    answer = await world.http.post(f"/v1/webhooks/{hook['id']}/rotate", json={"overlap_s": 60})
    changed = answer.json()
    assert changed["secret"] != hook["secret"] and changed["old_secret_expires_at_s"] > hook["created_at_s"] + 59
    await world.http.post(f"/v1/webhooks/{hook['id']}/test")
    for secret in (hook["secret"], changed["secret"]):
        assert verify_webhook(secret, receiver.got[-1].headers, receiver.got[-1].body)["type"] == "webhook.test"
    last = (await world.http.post(f"/v1/webhooks/{hook['id']}/rotate", json={"overlap_s": 0})).json()
    assert last["old_secret_expires_at_s"] is None
    await world.http.post(f"/v1/webhooks/{hook['id']}/test")
    assert verify_webhook(last["secret"], receiver.got[-1].headers, receiver.got[-1].body)
    with pytest.raises(WebhookRefused):
        verify_webhook(changed["secret"], receiver.got[-1].headers, receiver.got[-1].body)


async def test_a_test_says_what_came_of_it(tmp_path: Path, receiver: WebServer) -> None:
    async with gateway_world(tmp_path) as world:
        hook = await make(world, receiver.url())
        path = f"/v1/webhooks/{hook['id']}/test"
        said = (await world.http.post(path)).json()
        assert (said["delivered"], said["status"], said["error"]) == (True, 200, None)
        receiver.reply = answering(401)
        said = (await world.http.post(path)).json()
        assert (said["delivered"], said["status"]) == (False, 401)
        assert (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"] == []
    async with gateway_world(tmp_path, webhook_timeout_s=0.2) as world:
        hook = await make(world, receiver.url())
        receiver.reply = silent
        said = (await world.http.post(f"/v1/webhooks/{hook['id']}/test")).json()
        assert not said["delivered"] and said["status"] is None and "url_timed_out" in said["error"]
        assert (await world.http.get(f"/v1/webhooks/{hook['id']}/deliveries")).json()["data"] == []


async def test_a_webhook_is_changed_switched_off_and_on_and_deleted(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url(), description="first")
    path = f"/v1/webhooks/{hook['id']}"
    changed = (await world.http.patch(path, json={"events": ["job.failed"], "url": receiver.url("/new")})).json()
    assert (changed["events"], changed["description"]) == (["job.failed"], "first")
    assert changed["url"].endswith("/new")
    refused = await world.http.patch(path, json={"url": "https://10.0.0.1/"})
    assert refused.json()["code"] == "url_refused"
    off = (await world.http.patch(path, json={"enabled": False})).json()
    assert not off["enabled"] and off["disabled_reason"] == "switched off by its owner"
    on = (await world.http.patch(path, json={"enabled": True})).json()
    assert on["enabled"] and on["disabled_reason"] is None and on["disabled_at_s"] is None
    assert (await world.http.delete(path)).status_code == 204
    assert (await world.http.get(path)).json()["code"] == "unknown_webhook"


async def test_a_message_is_sent_again_when_asked_for_under_the_same_id(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url())
    await ended(world)
    await deliver(world)
    path = f"/v1/webhooks/{hook['id']}/deliveries"
    [told] = (await world.http.get(path)).json()["data"]
    again = await world.http.post(f"{path}/{told['id']}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    await deliver(world)
    assert len(receiver.got) == 2 and len({each.headers["webhook-id"] for each in receiver.got}) == 1
    [told] = (await world.http.get(path)).json()["data"]
    assert (told["status"], told["tried"], len(told["attempts"])) == ("delivered", 2, 2)
    for unknown in (f"msg_{'0' * 32}_{'0' * 32}", "nonsense"):
        answer = await world.http.post(f"{path}/{unknown}/redeliver")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_message")


async def test_all_that_failed_is_sent_again(world: World, receiver: WebServer) -> None:
    receiver.reply = answering(410)
    hook = await make(world, receiver.url())
    for _ in range(2):
        await ended(world)
    await deliver(world)
    path = f"/v1/webhooks/{hook['id']}"
    shown = (await world.http.get(path)).json()
    assert not shown["enabled"] and "410" in shown["disabled_reason"]
    receiver.reply = answering(200)
    await world.http.patch(path, json={"enabled": True})
    said = await world.http.post(f"{path}/redeliver", json={"since_s": 0})
    assert said.json()["redelivered"] >= 1
    await deliver(world)
    told = (await world.http.get(f"{path}/deliveries", params={"status": "delivered"})).json()["data"]
    assert len(told) == 2


async def test_the_log_comes_in_pages(world: World, receiver: WebServer) -> None:
    hook = await make(world, receiver.url())
    jobs = [await ended(world) for _ in range(3)]
    path = f"/v1/webhooks/{hook['id']}/deliveries"
    first = (await world.http.get(path, params={"limit": 2})).json()
    second = (await world.http.get(path, params={"limit": 2, "after": first["next_after"]})).json()
    assert [each["job"] for each in (*first["data"], *second["data"])] == jobs[::-1]
    assert first["has_more"] and not second["has_more"]
    assert (await world.http.get(path, params={"after": "x"})).json()["code"] == "bad_cursor"


async def test_a_job_s_trace_goes_with_the_message(world: World, receiver: WebServer) -> None:
    await make(world, receiver.url())
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"traceparent": trace})
    await world.complete(await world.lease(), {})
    await deliver(world)
    assert receiver.got[0].headers["traceparent"] == trace


async def test_what_a_message_says_stays_small_whatever_the_job_gave(world: World, receiver: WebServer) -> None:
    await make(world, receiver.url())
    await world.submit()
    await world.complete(await world.lease(), {"text": "x" * 500_000})
    await deliver(world)
    assert len(receiver.got[0].body) < 1000 and json.loads(receiver.got[0].body)["type"] == "job.completed"
    [job] = await world.services.ledger.get([JobId(json.loads(receiver.got[0].body)["data"]["id"])])
    assert job is not None and job.tenant == DEFAULT_TENANT

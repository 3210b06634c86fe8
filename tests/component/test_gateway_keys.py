"""Who may come in: keys, scopes, loopback without a key, and what ends when a key does."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from springtide.cli import exposure
from springtide.config import Config
from springtide.domain.errors import ConfigError, Unavailable
from springtide.domain.ids import TenantId
from springtide.domain.keys import USUAL_SCOPES, Scope
from springtide.gateway.keyring import LOOK_EVERY_S, Keyring
from springtide.gateway.openapi_access import needs
from springtide.gateway.services import Keyless
from springtide.ledger.keys import make_key
from springtide.testing.clock import ManualClock

SYNTHETIC = {"model": "synthetic", "inputs": {}}
OPEN_PAGES = {"/", "/docs", "/openapi.json", "/healthz", "/readyz"}
OPEN_API = {"/v1/blobs/uploads/{blob_id}", "/v1/links/{blob_id}"}  # the URL is its own permission


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, keyless=Keyless.REFUSED) as made:
        yield made


async def new_key(
    world: World, tenant: str = "acme", scopes: Iterable[Scope] = USUAL_SCOPES, *, expires_in_s: float | None = None
) -> str:
    now_s, record = world.services.clock.now_s(), world.services.keyring.record
    assert record is not None
    expires_at_s = None if expires_in_s is None else now_s + expires_in_s
    _, text = await make_key(record, TenantId(tenant), scopes=scopes, now_s=now_s, expires_at_s=expires_at_s)
    await world.services.keyring.refresh()
    return text


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    if "error" in body:  # OpenAI's envelope, and its name for it
        return answer.status_code, body["error"]["code"].replace("invalid_api_key", "unauthorized")
    return answer.status_code, body["code"]


def path_of(template: str) -> str:
    return template.replace("{job_id}", "job_" + "0" * 32).replace("{", "").replace("}", "")


class TestClosed:
    async def test_every_route_asks_for_a_key_but_those_that_are_open(self, world: World) -> None:
        asked = needs(world.app)
        assert {path for (path, _), need in asked.items() if need is None and path.startswith("/v1/")} == OPEN_API
        for (path, method), need in asked.items():
            if need is None or method == "OPTIONS":
                continue
            answer = await world.http.request(method, path_of(path))
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"] == 'Bearer realm="springtide"'
            assert method == "HEAD" or told(answer) == (401, "unauthorized")
            assert answer.headers["x-request-id"]

    async def test_every_route_looks_at_the_scopes_of_a_key(self, world: World) -> None:
        keys = {scope: await new_key(world, scopes=set(Scope) - {scope}) for scope in Scope}
        for (path, method), need in needs(world.app).items():
            if need is None or method == "OPTIONS":
                continue
            answer = await world.http.request(method, path_of(path), headers=bearing(keys[need]))
            assert answer.status_code == 403, f"{method} {path}"
            assert method == "HEAD" or told(answer) == (403, "missing_scope")
            assert method == "HEAD" or f"`{need}`" in answer.text

    async def test_what_is_open_is_open(self, world: World) -> None:
        for path in OPEN_PAGES:
            assert (await world.http.get(path)).status_code == 200, path

    async def test_the_document_says_how_keys_are_sent_and_what_needs_one(self, world: World) -> None:
        document = (await world.http.get("/openapi.json")).json()
        assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
        submit = document["paths"]["/v1/jobs"]["post"]
        assert submit["security"] == [{"bearer": []}, {"header": []}] and {"401", "403"} <= set(submit["responses"])
        assert document["paths"]["/healthz"]["get"]["security"] == []
        assert "`admin`" in document["paths"]["/v1/keys"]["post"]["description"]


class TestKeys:
    @pytest.mark.parametrize("header", ["authorization", "x-api-key"])
    async def test_a_key_stands_for_its_tenant(self, world: World, header: str) -> None:
        key = await new_key(world)
        headers = {header: key if header == "x-api-key" else f"bearer {key}", "x-tenant": "other"}
        job = (await world.http.post("/v1/jobs", json=SYNTHETIC, headers=headers)).json()
        assert (await world.lease()).tenant == "acme"
        assert (await world.http.get(f"/v1/jobs/{job['id']}", headers=headers)).status_code == 200
        other = bearing(await new_key(world, "globex"))
        assert told(await world.http.get(f"/v1/jobs/{job['id']}", headers=other)) == (404, "unknown_job")

    async def test_a_guess_learns_nothing(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        key = await new_key(world)
        compared: list[int] = []
        whole = hmac.compare_digest

        def counted(one: bytes, other: bytes) -> bool:
            compared.append(len(one) - len(other))
            return whole(one, other)

        monkeypatch.setattr(hmac, "compare_digest", counted)
        guesses = [key[:-1] + ("0" if key[-1] != "0" else "1"), "st_" + "z" * 8 + key[11:], "st_", "x", key + "0", "ÿ"]
        sent = [(b"authorization", f"Bearer {guess}".encode()) for guess in guesses]
        answers = [await world.http.get("/v1/jobs", headers=[one]) for one in sent]
        said = [{**answer.json(), "request_id": ""} for answer in answers]
        assert {answer.status_code for answer in answers} == {401} and all(one == said[0] for one in said)
        assert all('error="invalid_token"' in answer.headers["www-authenticate"] for answer in answers)
        assert compared == [0] * 4, "a known prefix and an unknown one take the same way"

    async def test_a_key_that_does_not_hold_says_why_only_to_its_holder(self, world: World) -> None:
        expired, revoked = await new_key(world, expires_in_s=-1.0), await new_key(world)
        admin = bearing(await new_key(world, scopes={Scope.ADMIN}))
        assert (await world.http.delete(f"/v1/keys/{revoked[:11]}", headers=admin)).json()["state"] == "revoked"
        for key, code in ((expired, "key_expired"), (revoked, "key_revoked")):
            for answer in (
                await world.http.get("/v1/jobs", headers=bearing(key)),
                await world.http.post("/v1/jobs", json=SYNTHETIC, headers=bearing(key)),
            ):
                assert told(answer) == (401, code) and key not in answer.text
            assert told(await world.http.get("/v1/jobs", headers=bearing(key[:-8] + "00000000"))) == (
                401,
                "unauthorized",
            )

    async def test_two_keys_at_once_are_none(self, world: World) -> None:
        mine, other = await new_key(world), await new_key(world, "globex")
        answer = await world.http.get("/v1/jobs", headers={**bearing(mine), "x-api-key": other})
        assert told(answer) == (401, "unauthorized")
        assert (await world.http.get("/v1/jobs", headers={**bearing(mine), "x-api-key": mine})).status_code == 200

    async def test_an_operator_makes_lists_and_revokes_keys(self, world: World) -> None:
        admin = bearing(await new_key(world, "ops", {Scope.ADMIN}))
        wish = {"tenant": "acme", "name": "ci", "scopes": ["read"], "expires_in_s": 3600}
        answer = await world.http.post("/v1/keys", json=wish, headers=admin)
        made = answer.json()
        assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
        assert made["key"].startswith(made["id"] + "_") and made["state"] == "valid" and made["scopes"] == ["read"]
        assert (await world.http.get("/v1/jobs", headers=bearing(made["key"]))).status_code == 200
        listed = (await world.http.get("/v1/keys?tenant=acme", headers=admin)).json()["data"]
        assert [one["id"] for one in listed] == [made["id"]] and "key" not in listed[0]
        assert len((await world.http.get("/v1/keys", headers=admin)).json()["data"]) == 2
        for _ in range(2):
            assert (await world.http.delete(f"/v1/keys/{made['id']}", headers=admin)).json()["state"] == "revoked"
        assert told(await world.http.get("/v1/jobs", headers=bearing(made["key"]))) == (401, "key_revoked")
        assert told(await world.http.delete("/v1/keys/st_aaaaaaaa", headers=admin)) == (404, "unknown_key")

    @pytest.mark.parametrize(
        "wish",
        [
            {},
            [],
            {"tenant": "a b"},
            {"tenant": "a", "scopes": ["root"]},
            {"tenant": "a", "expires_in_s": -1},
            {"tenant": "a", "more": 1},
            {"tenant": "a", "name": "x" * 201},
        ],
    )
    async def test_a_wrong_wish_makes_no_key(self, world: World, wish: Any) -> None:
        admin = bearing(await new_key(world, "ops", {Scope.ADMIN}))
        assert (await world.http.post("/v1/keys", json=wish, headers=admin)).status_code == 422
        assert len((await world.http.get("/v1/keys", headers=admin)).json()["data"]) == 1

    async def test_a_key_sent_in_place_of_an_id_is_not_repeated(self, world: World) -> None:
        admin, key = bearing(await new_key(world, "ops", {Scope.ADMIN})), await new_key(world)
        answer = await world.http.delete(f"/v1/keys/{key}", headers=admin)
        assert answer.status_code == 422 and key not in answer.json()["detail"]


class TestKeyring:
    async def test_other_gateways_learn_of_keys_and_revocations_at_their_next_look(self, world: World) -> None:
        clock = ManualClock(world.services.clock.now_s())
        record = world.services.keyring.record
        assert record is not None
        elsewhere = Keyring(record, clock)
        await elsewhere.refresh()
        key = await new_key(world)
        assert elsewhere.find(key.encode()) is None
        await elsewhere.refresh()
        assert elsewhere.find(key.encode()) is not None and elsewhere.has_valid_key()
        ended: list[str] = []
        elsewhere.watch(key[3:11], ended.append)
        unwatch = elsewhere.watch(key[3:11], lambda _: pytest.fail("nobody watches any more"))
        unwatch()
        await record.revoke_key(key[3:11], clock.now_s())
        await elsewhere.refresh()
        await elsewhere.refresh()
        assert ended == ["key_revoked"] and not elsewhere.has_valid_key()
        assert LOOK_EVERY_S <= 1.0

    async def test_a_key_that_expires_ends_what_it_opened(self, world: World) -> None:
        record = world.services.keyring.record
        assert record is not None
        clock = ManualClock(world.services.clock.now_s())
        key = await new_key(world, expires_in_s=60.0)
        keyring = Keyring(record, clock)
        await keyring.refresh()
        ended: list[str] = []
        keyring.watch(key[3:11], ended.append)
        clock.step(59.0)
        await keyring.refresh()
        assert ended == []
        clock.step(2.0)
        await keyring.refresh()
        assert ended == ["key_expired"]

    async def test_keys_go_on_to_hold_while_the_ledger_is_away(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = await new_key(world)
        record = world.services.keyring.record

        async def away() -> int:
            raise Unavailable("the ledger is away")

        monkeypatch.setattr(record, "changes", away)
        with pytest.raises(Unavailable):
            await world.services.keyring.refresh()
        assert (await world.http.get("/v1/models", headers=bearing(key))).status_code == 200

    async def test_when_a_key_was_used_last_is_on_record_after_a_stop(self, world: World) -> None:
        key, unused = await new_key(world), await new_key(world)
        await world.http.get("/v1/jobs", headers=bearing(key))
        await world.services.keyring.stop()
        record = world.services.keyring.record
        assert record is not None
        used = {one.prefix: one.last_used_at_s is not None for one in await record.keys()}
        assert used == {key[3:11]: True, unused[3:11]: False}


class TestWithoutKeys:
    """A server on loopback."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncGenerator[World]:
        async with gateway_world(tmp_path, keyless=Keyless.LOCAL) as made:
            made.http.base_url = httpx.URL("http://127.0.0.1:8321")
            yield made

    async def test_its_own_machine_may_do_all(self, world: World) -> None:
        assert (await world.http.post("/v1/jobs", json=SYNTHETIC)).status_code == 202
        assert (await world.http.get("/v1/keys")).status_code == 200
        for token in ("no-key", "sk-1234"):  # clients of other services insist on sending something
            assert (await world.http.get("/v1/jobs", headers=bearing(token))).status_code == 200

    async def test_a_key_that_is_sent_decides(self, world: World) -> None:
        key = await new_key(world, "acme", {Scope.SUBMIT})
        await world.http.post("/v1/jobs", json=SYNTHETIC, headers=bearing(key))
        assert (await world.lease()).tenant == "acme"
        assert told(await world.http.get("/v1/jobs", headers=bearing(key))) == (403, "missing_scope")
        assert told(await world.http.get("/v1/jobs", headers=bearing(key[:-1]))) == (401, "unauthorized")

    @pytest.mark.parametrize(
        "headers",
        [
            {"host": "evil.example"},
            {"host": "127.0.0.1.evil.example:8321"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://["},
            {"x-forwarded-for": "203.0.113.9"},
            {"forwarded": "for=203.0.113.9"},
        ],
    )
    async def test_a_page_elsewhere_or_a_proxy_needs_a_key(self, world: World, headers: dict[str, str]) -> None:
        for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs")):
            answer = await world.http.request(method, path, headers=headers, json=SYNTHETIC)
            assert told(answer) == (401, "unauthorized")
        key = await new_key(world)
        assert (await world.http.get("/v1/jobs", headers={**headers, **bearing(key)})).status_code == 200

    @pytest.mark.parametrize("host", ["localhost:8321", "[::1]:8321", "127.0.0.2", "app.localhost"])
    async def test_names_of_this_machine_are_known(self, world: World, host: str) -> None:
        headers = {"host": host, "origin": f"http://{host}"}
        assert (await world.http.get("/v1/jobs", headers=headers)).status_code == 200

    async def test_a_proxy_vouches_for_its_callers_and_makes_no_operators(self, tmp_path: Path) -> None:
        async with gateway_world(tmp_path / "behind", keyless=Keyless.USUAL, tenant_header="X-Tenant") as world:
            headers = {"x-tenant": "acme", "x-forwarded-for": "203.0.113.9"}
            assert (await world.http.post("/v1/jobs", json=SYNTHETIC, headers=headers)).status_code == 202
            assert told(await world.http.get("/v1/keys", headers=headers)) == (403, "missing_scope")


class TestStreams:
    async def test_a_key_revoked_in_the_middle_closes_the_web_socket(self, world: World) -> None:
        key = await new_key(world)
        job = (await world.http.post("/v1/jobs", json=SYNTHETIC, headers=bearing(key))).json()
        async with (
            served(world) as (host, port),
            connect(f"ws://{host}:{port}/v1/live?jobs={job['id']}", additional_headers=bearing(key)) as socket,
        ):
            assert json.loads(await socket.recv())[0]["kind"] == "snapshot"
            await self._revoke(world, key)
            with pytest.raises(ConnectionClosed) as closed:
                while await socket.recv():
                    pass  # why the job waits: told where it took a while to come here
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "The key was revoked.")

    async def test_a_browser_sends_its_key_as_a_subprotocol(self, world: World) -> None:
        key = await new_key(world)
        offered = [Subprotocol("springtide.v1"), Subprotocol(f"springtide.key.{key}")]
        async with served(world) as (host, port):
            async with connect(f"ws://{host}:{port}/v1/live", subprotocols=offered) as socket:
                assert socket.subprotocol == "springtide.v1"
            for wrong in ([Subprotocol("springtide.v1")], [offered[0], Subprotocol(f"springtide.key.{key[:-1]}")]):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(f"ws://{host}:{port}/v1/live", subprotocols=wrong):
                        pass
                assert refused.value.response.status_code == 401
                assert "www-authenticate" in refused.value.response.headers

    async def test_a_key_without_read_follows_nothing(self, world: World) -> None:
        key = await new_key(world, scopes={Scope.SUBMIT, Scope.ADMIN})
        async with served(world) as (host, port):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://{host}:{port}/v1/live", additional_headers=bearing(key)):
                    pass
        assert refused.value.response.status_code == 403

    async def test_a_key_revoked_in_the_middle_ends_the_event_stream(self, world: World) -> None:
        key = await new_key(world)
        job = (await world.http.post("/v1/jobs", json=SYNTHETIC, headers=bearing(key))).json()
        async with (
            served(world) as (host, port),
            httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=bearing(key)) as http,
            http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            await self._revoke(world, key)
            rest = [line async for line in lines if line]
            assert rest[-2] == "event: error" and json.loads(rest[-1].removeprefix("data: "))["code"] == "key_revoked"
            assert (await http.get(f"/v1/jobs/{job['id']}/events")).status_code == 401
        assert world.services.keyring._watchers == {}

    async def test_a_key_revoked_before_the_stream_began_ends_it_too(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = await new_key(world)
        job = (await world.http.post("/v1/jobs", json=SYNTHETIC, headers=bearing(key))).json()
        read = world.services.ledger.get

        async def read_and_revoke(ids: Any) -> Any:
            await self._revoke(world, key)
            return await read(ids)

        monkeypatch.setattr(world.services.ledger, "get", read_and_revoke)
        async with (
            served(world) as (host, port),
            httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=bearing(key)) as http,
        ):
            answer = await http.get(f"/v1/jobs/{job['id']}/events")
        assert '"code":"key_revoked"' in answer.text

    async def _revoke(self, world: World, key: str) -> None:
        record = world.services.keyring.record
        assert record is not None
        await record.revoke_key(key[3:11], world.services.clock.now_s())
        await world.services.keyring.refresh()


async def test_no_log_ever_holds_a_key(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = [await new_key(world), await new_key(world, scopes={Scope.ADMIN})]
    wrong = keys[0][:-1]
    offered = [Subprotocol("springtide.v1"), Subprotocol(f"springtide.key.{keys[0]}")]
    async with served(world) as (host, port):
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
            for key in (*keys, wrong):
                await http.get("/v1/jobs", headers=bearing(key))
                await http.post("/v1/jobs", json=SYNTHETIC, headers={"x-api-key": key})
                await http.delete(f"/v1/keys/{key}", headers=bearing(key))
        async with connect(f"ws://{host}:{port}/v1/live", subprotocols=offered):
            pass
    servers = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "websockets.c"))]
    written = "\n".join(f"{record.getMessage()} {record.args}" for record in servers)
    assert not any(key.rpartition("_")[2][:20] in written for key in keys)


class TestExposure:
    """What a server asks of its operator before it listens to others."""

    async def _keyring(self, world: World) -> Keyring:
        await world.services.keyring.refresh()
        return world.services.keyring

    @pytest.mark.parametrize("server", [{"host": "0.0.0.0"}, {"auth": "keys"}, {"host": "::"}])
    async def test_the_network_is_not_served_without_a_key(self, world: World, server: dict[str, str]) -> None:
        config = Config.model_validate({"server": server, "workers": {}, "tenants": {}})
        with pytest.raises(ConfigError, match="springtide keys create default"):
            exposure.check(config, await self._keyring(world))
        await new_key(world, expires_in_s=-1.0)
        with pytest.raises(ConfigError, match="no valid API key"):
            exposure.check(config, world.services.keyring)
        await new_key(world)
        exposure.check(config, world.services.keyring)

    @pytest.mark.parametrize(
        "server",
        [{}, {"host": "localhost"}, {"host": "0.0.0.0", "tenant_header": "X-Tenant"}],
    )
    async def test_loopback_and_proxies_need_none(self, world: World, server: dict[str, str]) -> None:
        exposure.check(Config.model_validate({"server": server}), await self._keyring(world))

    async def test_who_wants_no_keys_is_warned(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        config = Config.model_validate({"server": {"host": "0.0.0.0", "auth": "none"}})
        exposure.check(config, await self._keyring(world))
        assert "everybody who can reach" in caplog.text

    def test_a_header_and_keys_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="exclude each other"):
            Config.model_validate({"server": {"auth": "keys", "tenant_header": "X-Tenant"}})

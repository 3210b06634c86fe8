"""Models, health, the OpenAPI document and the pages for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world
from litestar.routes import HTTPRoute

from springtide.domain.errors import Unavailable
from springtide.gateway import web


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def test_models_are_listed_with_schemas_and_live_figures(world: World) -> None:
    await world.submit(seconds=2)
    await world.ready()
    models = {item["name"]: item for item in (await world.http.get("/v1/models")).json()["data"]}
    assert set(models) == {"synthetic", "sketch", "album", "listen"}
    one = (await world.http.get("/v1/models/synthetic")).json()
    assert one["live"]["queued"] == 1 and one["live"]["workers"]["ready"] == 1 and one["live"]["predicted_s"] >= 2
    assert one["input_schema"]["properties"]["seconds"]["maximum"] == 3600
    assert (one["commercial_use"], models["sketch"]["commercial_use"]) == ("yes", "unknown")
    sketch = models["sketch"]
    assert [field["name"] for field in sketch["input_files"]] == ["picture", "mask"]
    assert sketch["input_files"][0]["max_bytes"] == 300_000 and sketch["output_media"] == {"preview": ["image/png"]}


async def test_models_are_listed_without_figures_while_the_broker_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any) -> Any:
        raise Unavailable("the broker is down")

    monkeypatch.setattr(world.services.broker, "queues", down)
    answer = await world.http.get("/v1/models/sketch")
    assert answer.status_code == 200 and answer.json()["live"] is None
    ready = await world.http.get("/readyz")
    assert ready.status_code == 503 and ready.json()["broker"] == "unavailable" and ready.json()["ledger"] == "ok"
    assert "broker" in ready.json()["detail"] and "retry-after" in ready.headers
    assert (await world.http.get("/healthz")).json() == {"status": "ok"}


async def test_a_server_whose_dependencies_answer_is_ready(world: World) -> None:
    answer = (await world.http.get("/readyz")).json()
    assert answer == {"status": "ok", "ledger": "ok", "broker": "ok", "keep_s": "forever"}


async def test_an_engine_that_does_not_load_is_named_and_the_server_is_ready_all_the_same(world: World) -> None:
    await world.does_not_load("sketch")
    reason = {"code": "load_failed", "message": "OSError: no device: 'x'", "figures": {}}
    ready = await world.http.get("/readyz")
    assert (ready.status_code, ready.json()["not_loading"]) == (200, {"sketch": reason})
    figures = {item["name"]: item["live"] for item in (await world.http.get("/v1/models")).json()["data"]}
    assert figures["sketch"]["problem"] == reason and figures["sketch"]["workers"]["failing"] == 1
    assert figures["album"]["problem"] is None
    await world.ready("sketch")
    assert "not_loading" not in (await world.http.get("/readyz")).json()


async def test_a_ledger_that_does_not_answer_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.Event().wait()

    async with gateway_world(tmp_path, ready_timeout_s=0.05) as world:
        monkeypatch.setattr(world.services.ledger, "get", hang)
        answer = await world.http.get("/readyz")
        assert answer.status_code == 503 and "no answer" in answer.json()["ledger"]


async def test_a_server_that_closes_is_not_ready(world: World) -> None:
    world.services.closing.set()
    assert (await world.http.get("/readyz")).json()["code"] == "shutting_down"


async def test_the_openapi_document_covers_every_route_and_the_bodies_read_by_hand(world: World) -> None:
    document = (await world.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    served = {
        (route.path_format, method.lower())
        for route in world.app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if handler.resolve_include_in_schema() and method != "OPTIONS"
    }
    assert described == served and ("/v1/jobs", "post") in described
    submit = document["paths"]["/v1/jobs"]["post"]
    bodies = submit["requestBody"]["content"]
    titles = {variant["title"] for variant in bodies["application/json"]["schema"]["oneOf"]}
    assert titles == {"Synthetic", "Sketch", "Album", "Listen"}
    form = next(each for each in bodies["multipart/form-data"]["schema"]["oneOf"] if each["title"] == "Sketch")
    assert form["properties"]["picture"]["format"] == "binary"
    assert {item["name"] for item in submit["parameters"]} >= {"Prefer", "Idempotency-Key"}
    assert "application/problem+json" in submit["responses"]["422"]["content"]


async def test_every_reference_in_the_openapi_document_leads_somewhere(world: World) -> None:
    document = (await world.http.get("/openapi.json")).json()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for item in value.values() for each in references(item)]
        return [each for item in value for each in references(item)] if isinstance(value, list) else []

    found = set(references(document))
    assert found
    for reference in found:
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The web page was not built: the plain one is shown."""
    monkeypatch.setattr(web, "FOLDER", tmp_path / "nothing")


@pytest.mark.usefixtures("unbuilt")
@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_need_nothing_from_elsewhere_and_run_nothing(world: World, path: str) -> None:
    answer = await world.http.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "script" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in answer.text and "<link" not in answer.text and "src=" not in answer.text


@pytest.mark.usefixtures("unbuilt")
async def test_the_plain_front_page_shows_each_model_escaped_with_a_line_to_paste(world: World) -> None:
    text = (await world.http.get("/")).text
    assert "Draws &lt;b&gt;lines&lt;/b&gt; &amp; more." in text and "<b>" not in text
    assert "-F model=sketch -F picture=@photo.jpg" in text and "http://media.test/v1/jobs" in text
    assert "&quot;model&quot;:&quot;synthetic&quot;" in text
    hostile = await world.http.get("/", headers={"Host": "evil.test/<script>"})
    assert "evil" not in hostile.text


async def test_every_answer_has_a_request_id_and_keeps_a_clients_own(world: World) -> None:
    first, second = await world.http.get("/healthz"), await world.http.get("/healthz")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    own = await world.http.get("/healthz", headers={"X-Request-Id": "abc-1"})
    hostile = await world.http.get("/healthz", headers={"X-Request-Id": "a b"})
    assert own.headers["x-request-id"] == "abc-1" and hostile.headers["x-request-id"].startswith("req_")


async def test_the_access_log_is_off_unless_asked_for_and_never_shows_a_query(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "httpx")  # the client's own log of its requests
    caplog.set_level("INFO", "springtide")
    await world.http.get("/healthz?token=secret")
    assert "/healthz" not in caplog.text
    async with gateway_world(tmp_path / "second", access_log=True) as logged:
        await logged.http.get("/healthz?token=secret")
    assert "GET /healthz 200" in caplog.text and "secret" not in caplog.text


async def test_a_public_url_is_what_answers_name(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, public_url="https://media.example.org/") as world:
        body = await world.submit()
        assert body["status_url"] == f"https://media.example.org/v1/jobs/{body['id']}"

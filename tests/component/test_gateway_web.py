"""The web page as the gateway serves it: only what was built, packed, kept where its name says so, with its policy."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gateway_world import World, gateway_world

from springtide.gateway import web

INDEX = "<!doctype html><title>Springtide</title>"
SCRIPT = "console.log(1);" * 100


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    assets = tmp_path / "static" / "assets"
    (assets / "examples").mkdir(parents=True)
    (tmp_path / "static" / "index.html").write_text(INDEX)
    (assets / "index-Ab_12-xY.js").write_text(SCRIPT)
    (assets / "index-Ab_12-xY.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (assets / "examples" / "digital-human.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "secret.txt").write_text("treasure")
    monkeypatch.setattr(web, "FOLDER", tmp_path / "static")
    async with gateway_world(tmp_path / "home") as made:
        yield made


@pytest.mark.parametrize("path", [*web.PATHS, "/?model=matting&job=job_1"])
async def test_each_page_is_the_application_which_may_run_its_own_scripts_only(world: World, path: str) -> None:
    answer = await world.http.get(path)
    assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (200, INDEX, "no-cache")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"


async def test_a_file_with_its_hash_in_the_name_is_packed_and_may_be_kept_for_ever(world: World) -> None:
    answer = await world.http.get("/assets/index-Ab_12-xY.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip" and answer.text == SCRIPT
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    plain = await world.http.get("/assets/index-Ab_12-xY.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.text == SCRIPT


async def test_a_file_that_keeps_its_name_is_looked_at_again(world: World) -> None:
    answer = await world.http.get("/assets/examples/digital-human.jpg")
    assert answer.headers["content-type"] == "image/jpeg" and "immutable" not in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "../index.html", "none.js"])
async def test_nothing_but_the_build_is_served(world: World, path: str) -> None:
    answer = await world.http.get(f"/assets/{path}")
    assert answer.status_code == 404 and "treasure" not in answer.text

"""Whatever a tenant has is not there for another one: on every route, those to come included."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world
from PIL import Image

from springtide.gateway.openapi_access import needs

ACME, BETA = {"x-tenant": "acme"}, {"x-tenant": "beta"}
# What the parameters of paths stand for. A route with another one needs its line here: is it a tenant's?
OWNED = ("job_id", "batch_id", "blob_id", "video_id", "webhook_id", "message_id", "file_id", "openai_id")
SHARED = ("name", "key_id", "worker_id", "path")  # models; keys and workers, for operators only; the framework's pages
FILLED = {"field": "drawing"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, tenant_header="X-Tenant") as made:
        yield made


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


async def possessions(world: World) -> dict[str, str]:
    """One of each kind, of the tenant acme."""

    async def made(path: str, **body: Any) -> dict[str, Any]:
        answer = await world.http.post(path, headers=ACME, **body)
        assert answer.is_success, answer.text
        return answer.json()

    webhook = await made("/v1/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    job = await made("/v1/jobs", files={"model": (None, "sketch"), "picture": ("a.png", png())})
    lease = await world.lease("sketch")
    file = await world.output(png(), media_type="image/png", name="b.png")
    await world.complete(lease, {"drawing": file.id, "note": "mine"}, (file,))
    batch = await made("/v1/jobs/batches", json={"jobs": [{"model": "synthetic"}]})
    blob = await made("/v1/blobs", content=b"mine")
    sent = await made("/v1/files", files={"file": ("in.jsonl", b"{}")}, data={"purpose": "batch"})
    many = await made("/v1/batches", json={"input_file_id": sent["id"], "endpoint": "/v1/videos"})
    told = await world.http.get(f"/v1/webhooks/{webhook['id']}/deliveries", headers=ACME)
    return {
        "job_id": job["id"],
        "batch_id": batch["id"],
        "blob_id": blob["id"],
        "video_id": job["id"],
        "webhook_id": webhook["id"],
        "message_id": told.json()["data"][0]["id"],
        "file_id": sent["id"],
        "openai_id": many["id"],
    }


def routes_with_ids(world: World) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for (path, method), need in needs(world.app).items():
        path = path.replace("/v1/batches/{batch_id}", "/v1/batches/{openai_id}")
        names = re.findall(r"\{(\w+)\}", path)
        unknown = set(names) - {*OWNED, *SHARED, *FILLED}
        assert not unknown, f"{path}: say above what {unknown} is"
        if need is not None and method != "OPTIONS" and set(names) & set(OWNED):
            found.append((method, path))
    assert len(found) >= 15
    return found


async def test_what_is_anothers_looks_on_every_route_as_if_it_were_not_there(world: World) -> None:
    mine = await possessions(world)
    nothing = {
        name: "".join("0" if c in "123456789abcdef" and at > 20 else c for at, c in enumerate(given))
        for name, given in mine.items()
    }
    for method, path in routes_with_ids(world):
        filled = path.format_map({**FILLED, **mine})
        absent = path.format_map({**FILLED, **nothing})
        body = None if method in ("GET", "DELETE") else {}
        answer, missing = [await world.http.request(method, url, headers=BETA, json=body) for url in (filled, absent)]
        assert answer.status_code == missing.status_code == 404, f"{method} {path}: {answer.text}"
        said = [
            re.sub(r"(job|blob|batch|req|wh|whk|webhook|msg|file)[_-]\w+", "ID", one.text) for one in (answer, missing)
        ]
        assert said[0] == said[1] and "mine" not in said[0], f"{method} {path}"
    owners = [(method, path) for method, path in routes_with_ids(world) if method == "GET" and "video" not in path]
    for method, path in owners:
        answer = await world.http.request(method, path.format_map({**FILLED, **mine}), headers=ACME)
        assert answer.status_code in (200, 204), f"the owner has it still: {path}"


async def test_lists_hold_only_what_is_the_tenants(world: World) -> None:
    mine = await possessions(world)
    for (path, method), need in needs(world.app).items():
        if method != "GET" or need is None or "{" in path or not path.startswith("/v1/") or path == "/v1/live":
            continue
        answer = await world.http.get(path, headers=BETA)
        assert not any(given in answer.text for given in mine.values()), path
    assert mine["job_id"] in (await world.http.get("/v1/jobs", headers=ACME)).text


async def test_a_job_takes_in_no_file_of_another_tenant(world: World) -> None:
    mine = await possessions(world)
    body = {"model": "sketch", "inputs": {"picture": mine["blob_id"]}}
    answer = await world.http.post("/v1/jobs", json=body, headers=BETA)
    assert answer.status_code == 422 and "mine" not in answer.text

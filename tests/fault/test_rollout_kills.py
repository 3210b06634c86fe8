"""Two gateways and a controller on a real Valkey: both follow a rollout, and kill -9 of a controller and of a gateway
while the jobs of an aborted version move loses none of them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from springtide.testing.servers import NoServer, valkey_server

from .conftest import World, is_alive, kill

JOBS = 300  # more than a page of those that are moved together
CANARY = """
[models.synthetic.versions.2]
max_replicas = 1
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    try:
        with valkey_server() as server:
            one = World(tmp_path, server.url)
            one.config.write_text(one.config.read_text() + CANARY)
            yield one
            one.close()
    except NoServer as error:
        pytest.skip(str(error))


def second_gateway(world: World, folder: Path) -> str:
    """On another machine, as it were: the same record and queue, a folder of its own. Gives its address."""
    ledger = f"sqlite:///{world.data / 'springtide.db'}"
    world.environment = {"SPRINGTIDE_SERVER__DATA_DIR": str(folder), "SPRINGTIDE_LEDGER__URL": ledger}
    world.start("gateway")
    world.environment = {}
    world.wait_for(lambda: (folder / "server.json").exists(), "the second gateway")
    url = str(json.loads((folder / "server.json").read_text())["url"])
    world.wait_for(lambda: is_ready(url), "the second gateway to answer")
    return url


def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=2).is_success
    return False


def submit(client: httpx.Client, url: str) -> tuple[str, str]:
    """A job, and the version that it went to."""
    body = {"model": "synthetic", "inputs": {"seconds": 0.0}}
    job = client.post(f"{url}/v1/jobs", json=body).raise_for_status().json()
    return job["id"], job["model_version"]


def on_version(world: World, version: str) -> int:
    with contextlib.closing(sqlite3.connect(world.data / "springtide.db", timeout=60)) as connection:
        query = "SELECT count(*) FROM jobs WHERE model_version = ?"
        return int(connection.execute(query, (version,)).fetchone()[0])


def test_kills_while_the_jobs_of_an_aborted_version_move_lose_none(world: World, tmp_path: Path) -> None:
    first_process = world.start("gateway")
    world.wait_ready()
    first = str(world.url)
    second = second_gateway(world, tmp_path / "second")
    accepted: list[str] = []
    with httpx.Client(timeout=60) as client:

        def follows(url: str, version: str) -> bool:
            job, went_to = submit(client, url)
            accepted.append(job)
            return went_to == version

        started = {"version": "2", "weight": 100}
        client.post(f"{first}/v1/models/synthetic/rollout", json=started).raise_for_status()
        world.wait_for(lambda: follows(second, "2"), "the second gateway to follow the start")
        for number in range(JOBS):
            job, version = submit(client, (first, second)[number % 2])
            assert version == "2"
            accepted.append(job)
        client.post(f"{second}/v1/models/synthetic/rollout/abort", json={"reason": "a test"}).raise_for_status()
        world.wait_for(lambda: follows(first, "1"), "the first gateway to follow the abort")
    before = on_version(world, "1")
    controller = world.start("controller")
    while on_version(world, "1") == before:  # without a pause, to meet it in the middle
        assert is_alive(controller), world.tail()
    kill(controller)
    kill(first_process)
    world.start("controller")
    world.wait_until_done(len(accepted))
    world.assert_each_completed_once(accepted)
    assert on_version(world, "2") == 0
    told = httpx.get(f"{second}/v1/jobs/{accepted[JOBS // 2]}/explain", timeout=60).json()
    [one] = [each for each in told["reasons"] if each["code"] == "rollout_aborted"]
    assert "aborted (a test)" in one["message"]

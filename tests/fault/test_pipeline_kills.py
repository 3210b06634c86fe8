"""kill -9 in the middle of ten pipelines of three steps: all complete, each step exactly once on record."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from springtide.testing.servers import NoServer, ValkeyServer, valkey_server

from .conftest import World, kill

PIPELINES, STEPS = 10, 3
STEP = {"model": "synthetic", "inputs": {"seconds": 0.15, "steps": {"$from": "steps"}}}


def submit(world: World) -> list[str]:
    body = {"model": "synthetic", "inputs": {"seconds": 0.15, "steps": 3}, "then": [STEP] * (STEPS - 1)}
    accepted: list[str] = []
    for _ in range(PIPELINES):
        response = httpx.post(f"{world.url}/v1/jobs", json=body, timeout=60)
        assert response.status_code == 202, response.text
        accepted.append(response.json()["id"])
    return accepted


def assert_each_step_completed_once(world: World, accepted: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(world.data / "springtide.db", timeout=60)) as connection:
        rows = connection.execute("SELECT id, parent, step, status, outputs FROM jobs").fetchall()
    assert {row[3] for row in rows} == {"completed"}
    assert {row[0] for row in rows if row[1] is None} == set(accepted)
    steps = sorted((row[1], row[2]) for row in rows if row[1] is not None)
    assert steps == sorted((pipeline, number) for pipeline in accepted for number in range(STEPS))
    assert all('"steps":3' in row[4] for row in rows), "every step was fed by the one before"


@pytest.mark.parametrize("victim", ["gateway", "worker", "child"])
def test_a_killed_part_costs_no_pipeline_a_step(world: World, victim: str) -> None:
    world.up()
    accepted = submit(world)
    for done in (5, 15):  # twice: with most at their first step, and with most between two
        world.wait_until_done(done)
        kill(world.one(victim))
    world.wait_until_done(PIPELINES * (STEPS + 1))
    assert_each_step_completed_once(world, accepted)


def test_killing_everything_again_and_again_costs_no_pipeline_a_step(world: World) -> None:
    world.up()
    accepted = submit(world)
    for done in (4, 14, 24):
        world.wait_until_done(done)
        for process in world.everything():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        world.up()
    world.wait_until_done(PIPELINES * (STEPS + 1))
    assert_each_step_completed_once(world, accepted)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    try:
        with valkey_server() as one:
            yield one
    except NoServer as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("what", ["controller", "gateway", "emptied"])
def test_with_redis_and_a_controller_of_its_own_it_is_the_same(tmp_path: Path, server: ValkeyServer, what: str) -> None:
    world = World(tmp_path, server.url)
    try:
        world.start("gateway")
        world.wait_ready()
        world.start("controller")
        accepted = submit(world)
        for done in (5, 15):
            world.wait_until_done(done)
            if what == "emptied":
                server.ask("FLUSHALL")
            else:
                kill(world.one(what))
                world.start(what)
        world.wait_until_done(PIPELINES * (STEPS + 1))
        assert_each_step_completed_once(world, accepted)
        world.wait_ready()
        told = httpx.get(f"{world.url}/v1/jobs/{accepted[-1]}/events", timeout=240).text
        assert told.rstrip().splitlines()[-2] == "event: completed"
    finally:
        world.close()

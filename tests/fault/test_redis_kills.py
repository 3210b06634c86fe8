"""Each role as a process of its own on a real Valkey: kill -9 of each, and of the server, in the middle of 20 jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.testing.servers import NoServer, ValkeyServer, valkey_server

from .conftest import World, kill

JOBS = 20


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    try:
        with valkey_server() as one:
            yield one
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def roles(tmp_path: Path, server: ValkeyServer) -> Iterator[World]:
    """A gateway, a controller (which keeps workers), each started on its own."""
    world = World(tmp_path, server.url)
    world.start("gateway")
    world.wait_ready()
    world.start("controller")
    yield world
    world.close()


@pytest.mark.parametrize("victim", ["worker", "child", "gateway", "controller"])
def test_a_killed_role_loses_no_job(roles: World, victim: str) -> None:
    accepted = roles.submit(JOBS)
    roles.wait_until_done(5)
    kill(roles.one(victim))
    if victim in {"gateway", "controller"}:
        roles.start(victim)
    roles.wait_until_done(JOBS)
    roles.assert_each_completed_once(accepted)


def test_a_killed_server_with_its_data_loses_no_job(roles: World, server: ValkeyServer) -> None:
    accepted = roles.submit(JOBS)
    roles.wait_until_done(5)
    server.kill()
    server.start()
    roles.wait_until_done(JOBS)
    roles.assert_each_completed_once(accepted)


def test_an_emptied_server_loses_no_job(roles: World, server: ValkeyServer) -> None:
    accepted = roles.submit(JOBS)
    roles.wait_until_done(5)
    server.ask("FLUSHALL")
    roles.wait_until_done(JOBS)
    roles.assert_each_completed_once(accepted)


def test_an_emptied_server_interrupts_nothing(roles: World, server: ValkeyServer) -> None:
    [job] = roles.submit(1, seconds=15)
    roles.wait_for(lambda: roles.attempts() == {job: 1}, "the start to be on record")
    server.ask("FLUSHALL")
    roles.wait_until_done(1)
    assert roles.attempts() == {job: 1}
    assert "lease lost" not in roles.whole_log()

"""A broker that is not there when a process starts, or is away for long: everybody waits for it, nobody gives up."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from springtide.domain.lease import LEASE_TTL_S
from springtide.testing.servers import NoServer, ValkeyServer, free_port, valkey_server

from .conftest import World, is_alive, kill


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    try:
        with valkey_server() as one:
            yield one
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def world(tmp_path: Path, server: ValkeyServer) -> Iterator[World]:
    one = World(tmp_path, server.url)
    yield one
    one.close()


@pytest.mark.parametrize(
    "commands", [["up"], ["gateway", "controller"], ["gateway --with-controller", "worker --model synthetic"]]
)
def test_started_while_the_broker_is_down_everything_works_once_it_is_there(
    world: World, server: ValkeyServer, commands: list[str]
) -> None:
    server.kill()
    started = [world.start(*command.split()) for command in commands]
    world.wait_ready()
    accepted = world.submit(2)  # on record: the queue will hear of them
    ready = httpx.get(f"{world.url}/readyz", timeout=60)
    assert (ready.status_code, ready.json()["broker"]) == (503, "unavailable")
    world.wait_for(lambda: world.whole_log().count("the broker is not there yet") >= len(started), "all to say so")
    server.start()
    world.wait_until_done(2)
    world.assert_each_completed_once(accepted)
    assert all(map(is_alive, started))
    assert world.whole_log().count("the broker is there now") >= len(started)
    assert "Traceback" not in world.whole_log()
    assert "([broker] url)" in world.whole_log()


def test_a_broker_that_is_away_for_longer_than_a_lease_interrupts_nothing(world: World, server: ValkeyServer) -> None:
    world.start("gateway")
    world.wait_ready()
    world.start("controller")
    [running] = world.submit(1, seconds=25)
    world.wait_for(lambda: world.attempts() == {running: 1}, "the start to be on record")
    family = {process.pid for process in world.everything()}
    server.kill()
    time.sleep(LEASE_TTL_S + 5)  # the lease is over by any clock
    later = world.submit(1)
    server.start()
    world.wait_until_done(2)
    assert world.attempts() == {running: 1, later[0]: 1}
    assert {process.pid for process in world.everything()} >= family
    assert "Traceback" not in world.whole_log()


def test_told_to_stop_while_the_broker_is_down_they_stop(world: World, server: ValkeyServer) -> None:
    server.kill()
    started = [world.start("gateway"), world.start("controller"), world.start("worker", "--model", "synthetic")]
    world.wait_for(lambda: world.whole_log().count("the broker is not there yet") >= len(started), "all to say so")
    for process in started:
        process.terminate()
    assert [process._popen.wait(60) for process in started] == [0, 0, 0]


def test_a_gateway_that_cannot_come_back_for_long_interrupts_nothing(tmp_path: Path) -> None:
    port = free_port()
    with contextlib.closing(World(tmp_path)) as world:
        up = world.start("up", "--port", str(port))
        world.wait_ready()
        [running] = world.submit(1, seconds=25)
        world.wait_for(lambda: world.attempts() == {running: 1}, "the start to be on record")
        with kept_from_the_gateway(world, port):
            time.sleep(LEASE_TTL_S + 5)
            assert is_alive(up)
        world.wait_until_done(1)
        assert world.attempts() == {running: 1}
        assert "Address already in use" in world.whole_log()
        assert "lease lost" not in world.whole_log()


@contextlib.contextmanager
def kept_from_the_gateway(world: World, port: int) -> Iterator[None]:
    """The gateway is killed, and somebody else listens on its port: whoever of that one and the next gateway is first
    there, in the end it is not the gateway."""
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def is_ours() -> bool:
            kill(world.one("gateway"))
            with contextlib.suppress(OSError):
                squatter.bind(("127.0.0.1", port))
                squatter.listen()
                return True
            return False

        world.wait_for(is_ours, "the port to be free for a moment")
        yield

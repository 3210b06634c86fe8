"""How a server ends and begins: told by whomever, in whatever order, it finishes what runs and loses no result."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from springtide.testing.servers import free_port

from .conftest import World, is_alive, kill

WAITS_FOR_EVER = """
from springtide.cli import entry, folder
folder.LEAVES_WITHIN_S = 1e9
entry.main()
"""
WRONG_ENDS = ("lease lost", "report dropped", "died", "killed", "Traceback")


@pytest.mark.parametrize("order", [["gateway", "worker", "up"], ["up", "worker", "gateway"]])
def test_told_all_at_once_to_stop_what_runs_is_finished_and_on_record(
    world: World, pause: Path, order: list[str]
) -> None:
    up = world.up()
    [running] = world.submit(1)
    world.wait_until_running(running)
    url = world.url
    family = world.everything()
    for process in [one for role in order for one in world.find(role)]:
        process.terminate()
    world.wait_for(lambda: is_refused(url), "a submit to be refused")
    answer = httpx.post(f"{url}/v1/jobs", json={"model": "synthetic", "inputs": {}}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    assert int(answer.headers["retry-after"]) > 0
    assert httpx.get(f"{url}/readyz", timeout=60).status_code == 503
    assert httpx.get(f"{url}/v1/jobs/{running}", timeout=60).json()["status"] == "in_progress"
    pause.unlink()
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "everything to stop")
    assert up._popen.wait(60) == 0
    assert world.statuses() == {running: "completed"}
    assert wrong_ends(world) == []


def test_a_gateway_that_alone_is_told_to_stop_leaves_and_comes_back_and_nothing_runs_twice(
    world: World, pause: Path
) -> None:
    world.up()
    [running] = world.submit(1)
    world.wait_until_running(running)
    gateway = world.one("gateway")
    gateway.terminate()
    world.wait_for(lambda: not is_alive(gateway), "the gateway to leave")
    pause.unlink()
    world.wait_until_done(1)
    assert world.attempts() == {running: 1}
    world.wait_ready()
    assert wrong_ends(world) == []


def test_a_gateway_killed_soon_after_a_start_interrupts_nothing(world: World, pause: Path) -> None:
    """Too soon for the start to be on record: the worker itself tells the new broker."""
    world.up()
    [running] = world.submit(1)
    world.wait_until_running(running)
    kill(world.one("gateway"))
    world.wait_ready()
    pause.unlink()
    world.wait_until_done(1)
    assert world.attempts() == {running: 1}
    assert "lease lost" not in world.whole_log()


def test_a_second_up_on_the_same_folder_is_refused_at_once_naming_the_first(world: World) -> None:
    first = world.up()
    second = begin(world, "up")
    assert second.returncode == 1
    told = second.stderr.strip().splitlines()[-1]
    assert f"already runs at {world.url} on {world.data} (springtide up is pid {first.pid})" in told
    assert httpx.get(f"{world.url}/healthz", timeout=60).is_success


def test_up_is_refused_at_once_beside_a_gateway_that_stays(world: World) -> None:
    alone = world.start("gateway")
    world.wait_ready()
    second = begin(world, "up")
    assert second.returncode == 1
    assert f"its gateway is pid {alone.pid}" in second.stderr


def test_after_a_kill_up_starts_again_at_once_on_the_same_port(world: World, pause: Path) -> None:
    port = str(free_port())
    first = world.start("up", "--port", port)
    world.wait_ready()
    [running] = world.submit(1)
    world.wait_until_running(running)
    kill(first)
    second = world.start("up", "--port", port)
    pause.unlink()
    world.wait_until_done(1)  # the worker that was left finishes it with the gateway that was left, or the next ones do
    world.wait_ready()
    assert is_alive(second)
    assert world.url == f"http://127.0.0.1:{port}"


def wrong_ends(world: World) -> list[str]:
    return [line for line in world.whole_log().splitlines() if any(word in line for word in WRONG_ENDS)]


def begin(world: World, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself, at once: for it, a predecessor may take for ever to leave."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
    return subprocess.run(
        [sys.executable, "-c", WAITS_FOR_EVER, *command],
        env={**env, "SPRINGTIDE_CONFIG": str(world.config)},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def is_refused(url: str | None) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.post(f"{url}/v1/jobs", json={"model": "none", "inputs": {}}, timeout=60).status_code == 503
    return False

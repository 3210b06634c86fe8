"""kill -9 at 70 % of a run of a hundred steps: the next attempt goes on from the last checkpoint. Steps are counted."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import httpx
import psutil
import pytest

from .conftest import World, kill

pytestmark = pytest.mark.timeout(300)
STEPS = 100


def _submit(world: World) -> str:
    inputs = {"seconds": 10.0, "steps": STEPS, "checkpoint_every": 1}
    response = httpx.post(f"{world.url}/v1/jobs", json={"model": "synthetic", "inputs": inputs}, timeout=10)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def _job(world: World, job: str) -> dict[str, Any]:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{world.url}/v1/jobs/{job}", timeout=10).json()
    return {}


def _assert_resumed(world: World, job: str) -> None:
    world.wait_until_done(1)
    found = _job(world, job)
    assert found["attempt"] == 2
    # A checkpoint is stored about every second, which is ten steps; a busy machine may be a few behind.
    assert STEPS * 0.4 <= found["outputs"]["resumed_at"] < STEPS
    # At most the one that was stored at the moment of the kill, and that nobody was told of, stays behind.
    world.wait_for(lambda: len(list((world.data / "blobs").rglob("blob_*"))) <= 1, "the checkpoints to be deleted")


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_run_killed_at_seventy_percent_resumes_at_its_last_checkpoint(world: World, victim: str) -> None:
    world.up()
    job = _submit(world)
    world.wait_for(lambda: bool(_job(world, job).get("progress")), "the run to begin")
    [found, *_] = world.find(victim)  # now: looking through all processes takes a while where the machine is busy
    world.wait_for(lambda: (_job(world, job).get("progress") or 0.0) >= 0.7, "70 % of the run")
    kill(found)
    _assert_resumed(world, job)


def test_a_run_killed_with_everything_else_resumes_at_its_last_checkpoint(world: World) -> None:
    world.up()
    job = _submit(world)
    world.wait_for(lambda: (_job(world, job).get("progress") or 0.0) >= 0.7, "70 % of the run")
    for process in world.everything():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    world.up()
    _assert_resumed(world, job)

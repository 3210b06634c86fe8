"""kill -9 at 70 % of a run of a hundred steps: the next attempt goes on from the last checkpoint. Steps are counted."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .conftest import World, kill
from .pausing import PAUSE_AT

STEPS = 100
AT = round(STEPS * PAUSE_AT)


def _submit(world: World) -> str:
    inputs = {"seconds": 3.0, "steps": STEPS, "checkpoint_every": 1}
    response = httpx.post(f"{world.url}/v1/jobs", json={"model": "synthetic", "inputs": inputs}, timeout=60)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def _job(world: World, job: str) -> dict[str, Any]:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{world.url}/v1/jobs/{job}", timeout=60).json()
    return {}


def _checkpoints(world: World) -> list[Path]:
    return list((world.data / "blobs").rglob("blob_*"))


def _is_noted(world: World, job: str) -> bool:
    """The ledger names the one of the step at which the run stands: from then on it is the last, whatever dies."""
    kept = [path.name for path in _checkpoints(world) if path.read_bytes() == str(AT).encode()]
    with contextlib.closing(sqlite3.connect(world.data / "springtide.db", timeout=60)) as connection:
        [(noted,)] = connection.execute("SELECT checkpoint FROM jobs WHERE id = ?", (job,)).fetchall()
    return any(f'"file":{{"id":"{name}"' in (noted or "") for name in kept)


def _wait_for_seventy_percent(world: World, job: str) -> None:
    world.wait_for(lambda: (_job(world, job).get("progress") or 0.0) >= PAUSE_AT, "70 % of the run")
    world.wait_for(lambda: _is_noted(world, job), "its checkpoint to be on record")


def _assert_resumed(world: World, job: str) -> None:
    world.wait_until_done(1)
    found = _job(world, job)
    assert found["attempt"] == 2
    assert found["outputs"]["resumed_at"] == AT
    world.wait_for(lambda: len(_checkpoints(world)) <= 1, "the checkpoints to be deleted")


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_run_killed_at_seventy_percent_resumes_at_its_last_checkpoint(world: World, pause: Path, victim: str) -> None:
    world.up()
    job = _submit(world)
    _wait_for_seventy_percent(world, job)
    kill(world.one(victim))
    pause.unlink()
    _assert_resumed(world, job)


def test_a_run_killed_with_everything_else_resumes_at_its_last_checkpoint(world: World, pause: Path) -> None:
    world.up()
    job = _submit(world)
    _wait_for_seventy_percent(world, job)
    for process in world.everything():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    pause.unlink()
    world.up()
    _assert_resumed(world, job)

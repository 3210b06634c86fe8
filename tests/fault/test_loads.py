"""Engines that never load, models that are gone: an accepted job ends all the same, and says meanwhile why it waits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import World

ENGINES = """
import os
from pydantic import BaseModel
from springtide.engines.protocol import Engine

class Input(BaseModel): ...
class Output(BaseModel): ...

class Raising(Engine[Input, Output]):
    def load(self):
        raise RuntimeError(f"no such device: {__file__}")
    def run(self, inputs, progress): ...

class Mistaken(Engine[Input, Output]):
    def load(self): ...
    def run(self, inputs, progress):
        raise KeyError("not there")

class Exiting(Raising):
    def load(self):
        os._exit(3)
"""
MODELS = """
[models.raising]
engine = "broken_engines:Raising"

[models.mistaken]
engine = "broken_engines:Mistaken"

[models.exiting]
engine = "broken_engines:Exiting"
load_attempts = 2

[models.parked]
engine = "synthetic"
max_replicas = 0
"""


@pytest.fixture
def broken(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "broken_engines.py").write_text(ENGINES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    world.config.write_text(world.config.read_text() + MODELS)
    return world


def test_jobs_of_engines_that_never_load_end_with_the_reason_and_say_it_meanwhile(broken: World) -> None:
    broken.up()
    raising, exiting = _submit(broken, "raising"), _submit(broken, "exiting")
    told = _story(broken, raising)
    reasons = [data for kind, data in told if kind == "waiting"]
    assert reasons[-1]["code"] == "engine_not_loading"
    assert "RuntimeError: no such device" in reasons[-1]["message"]
    assert str(broken.config.parent) not in json.dumps(told)
    ready = httpx.get(f"{broken.url}/readyz", timeout=60)
    assert (ready.status_code, ready.json()["not_loading"]["raising"]["code"]) == (200, "load_failed")
    assert _story(broken, exiting)[-1][0] == "failed"
    for job, message in ((raising, "RuntimeError: no such device"), (exiting, "exit code 3 while it loaded")):
        ended = _job(broken, job)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "load_failed")
        assert message in ended["error"]["message"]
        assert ended["error"]["retryable"] is True
    late = _submit(broken, "exiting")  # the verdict stands: nobody waits for the next load
    assert _story(broken, late)[-1][0] == "failed"


def test_a_job_whose_model_was_taken_out_says_so_after_the_restart_and_can_be_cancelled(broken: World) -> None:
    up = broken.up()
    job = _submit(broken, "parked")
    assert "max_replicas" in _job(broken, job)["waiting"]["message"]
    up.send_signal(signal.SIGTERM)
    up._popen.wait(60)  # type: ignore[attr-defined]
    broken.config.write_text(broken.config.read_text().partition("[models.parked]")[0])
    broken.up()
    assert _job(broken, job)["waiting"]["code"] == "model_removed"
    answer = httpx.post(f"{broken.url}/v1/jobs/{job}/cancel", timeout=60)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert _story(broken, job)[-1][0] == "cancelled"


def _submit(world: World, model: str) -> str:
    answer = httpx.post(f"{world.url}/v1/jobs", json={"model": model}, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _job(world: World, job: str) -> dict[str, Any]:
    return dict(httpx.get(f"{world.url}/v1/jobs/{job}", timeout=60).json())


def _story(world: World, job: str) -> list[tuple[str, dict[str, Any]]]:
    """The job's event stream to its end, as (kind, data)."""
    text = httpx.get(f"{world.url}/v1/jobs/{job}/events", timeout=90).text
    blocks = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line) for block in text.split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "data" in block]


def test_the_log_names_the_job_of_a_failure_and_repeats_no_traceback(broken: World) -> None:
    broken.up()
    mistaken, raising = _submit(broken, "mistaken"), _submit(broken, "raising")
    assert _story(broken, mistaken)[-1][0] == _story(broken, raising)[-1][0] == "failed"
    log = broken.whole_log()
    told = log.split("Traceback (most recent call last):")
    assert len(told) == 3, log  # one of each, though the load was tried six times
    assert f"job {mistaken}, attempt 1" in log
    assert log.count("the engine is not up") >= 6

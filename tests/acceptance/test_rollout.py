"""A canary whose engine fails, on a real server: it is aborted by itself, and no job is lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Server

ENGINE = """
from springtide.engines.synthetic.engine import Synthetic


class Failing(Synthetic):
    def run(self, inputs, progress):
        super().run(inputs, progress)
        raise RuntimeError("the new weights are of no use")

    def run_many(self, inputs, progress):
        raise RuntimeError("the new weights are of no use")
"""
CONFIG = """
[models.synthetic]
engine = "synthetic"
slots = 64
batch = 64

[models.synthetic.versions.2]
engine = "failing:Failing"
slots = 1
batch = 1
max_attempts = 1
"""
JOBS = 40


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "failing.py").write_text(ENGINE)
    (tmp_path / "springtide.toml").write_text(CONFIG)
    paths = os.pathsep.join(each for each in (str(tmp_path), os.environ.get("PYTHONPATH", "")) if each)
    one = Server(tmp_path, {"PYTHONPATH": paths})
    yield one
    one.close()


def test_a_canary_that_fails_is_aborted_by_itself_and_no_job_is_lost(installation: Server) -> None:
    started = installation.cli(
        *("rollout", "start", "synthetic", "--version", "2", "--weight", "50", "--min-samples", "5")
    )
    assert started.returncode == 0, started.stderr
    assert "version 2 beside 1: running; 50 % of jobs" in started.stdout
    body = {"model": "synthetic", "inputs": {"seconds": 0.5}}  # ten seconds of work for the canary
    jobs = [installation.http.post("/v1/jobs", json=body).json() for _ in range(JOBS)]
    ended = [installation.finished(job["id"]) for job in jobs]
    failed = [job for job in ended if job["status"] == "failed"]
    assert {(job["model_version"], job["error"]["code"]) for job in failed} == {("2", "engine_failed")}
    assert {(job["model_version"], job["status"]) for job in ended if job not in failed} == {("1", "completed")}
    # The others that waited for it were done by the stable version.
    assert 5 <= len(failed) < sum(job["model_version"] == "2" for job in jobs)
    deadline_s = time.monotonic() + 120
    while (told := installation.http.get("/v1/models/synthetic").json())["rollout"]["state"] == "running":
        assert time.monotonic() < deadline_s, told["rollout"]
    assert told["rollout"]["is_automatic"]
    assert "jobs failed" in told["rollout"]["reason"]
    assert [(each["version"], each["weight"], each["state"]) for each in told["versions"]] == [
        ("1", 100.0, "stable"),
        ("2", 0.0, "aborted"),
    ]
    shown = json.loads(installation.cli("rollout", "status", "synthetic", "--json").stdout)
    assert (shown["state"], shown["compared"]["canary"]["failed"]) == ("aborted", shown["compared"]["canary"]["jobs"])
    later = [installation.http.post("/v1/jobs", json=body).json()["model_version"] for _ in range(8)]
    assert set(later) == {"1"}
    decisions = installation.http.get("/v1/models/synthetic/scaling").json()["decisions"]
    assert any(one["reason"] == "ROLLOUT" and "aborted" in one["message"] for one in decisions)

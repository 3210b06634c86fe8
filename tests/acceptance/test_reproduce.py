"""A job that kills every process it meets is set aside with all that is needed to see it happen again."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


def _again(server: Server, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(shlex.split(command), env=server.env, capture_output=True, text=True, timeout=300)


def test_a_poison_job_says_of_each_attempt_how_it_ended_and_crashes_again_by_itself(
    server: Server, tmp_path: Path
) -> None:
    body = {"model": "synthetic", "inputs": {"outcome": "crash", "seconds": 0.3}}
    job = server.http.post("/v1/jobs", json=body).json()["id"]
    assert server.finished(job)["status"] == "failed"
    attempts = server.http.get(f"/v1/jobs/{job}/attempts").json()["data"]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3]
    for attempt in attempts:
        assert attempt["worker"]
        assert attempt["error"]["code"] == "crashed"
        details = attempt["error"]["details"]
        assert (details["signal"], details["engine"], details["engine_version"]) == ("SIGSEGV", "synthetic", "1")
        assert details["peak_mb"] > 1
    written = server.cli("jobs", "reproduce", job, "-o", str(tmp_path / "poison"))
    assert written.returncode == 0, written.stderr
    assert [one["attempt"] for one in json.loads((tmp_path / "poison/job.json").read_text())["attempts"]] == [1, 2, 3]
    assert _again(server, written.stdout).returncode == -signal.SIGSEGV


def test_a_job_with_a_file_runs_again_without_the_server(server: Server, tmp_path: Path) -> None:
    job = server.submit("matting", {"image": DATA / "portrait.jpg"}).json()["id"]
    written = server.cli("jobs", "reproduce", job, cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert len(list((tmp_path / job / "files").iterdir())) == 1
    again = subprocess.run(
        shlex.split(written.stdout), env=server.env, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert Path(json.loads(again.stdout)["cutout"]["path"]).stat().st_size > 1000


def test_a_job_that_is_not_there_is_one_clear_line(server: Server) -> None:
    result = server.cli("jobs", "reproduce", "job_" + "0" * 32)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1

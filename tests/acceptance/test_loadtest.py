"""A load test as a user runs it: its own server, a worker killed, a report, a verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="st-") as folder:
        yield Path(folder)


def test_a_failover_on_a_server_of_its_own_loses_nothing_and_leaves_nothing_behind(tmp_path: Path, short: Path) -> None:
    words = ("failover", "--up", "--for", "6s", "--rate", "4", "--job", "0.3s", "--workers", "2", "--kills", "1")
    expected = ("--expect", "lost=0", "--expect", "failed=0", "--expect", "p95=1ms")
    folders = {"TMPDIR": str(short), "SPRINGTIDE_API_KEY": "st_of_another_server"}
    done = subprocess.run(
        [sys.executable, "-m", "springtide", "loadtest", *words, *expected, "--json", "--html", "told.html"],
        env={**os.environ, **folders},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = json.loads(done.stdout)
    assert [one["kept"] for one in told["verdicts"]] == [True, True, False], done.stderr
    assert done.returncode == 1, "no job takes less than a millisecond"
    figures = told["figures"]
    assert figures["lost"] == figures["unfinished"] == 0
    assert figures["completed"] == figures["accepted"] == figures["submitted"] > 10
    assert [one["workers"] for one in told["run"]["kills"]] == [2]
    assert figures["recovery_s"] is not None
    assert "Kills and recovery" in (tmp_path / "told.html").read_text()
    assert not list(short.glob("springtide-*"))
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(short) in " ".join(one.info["cmdline"] or ())]

"""A model whose jobs are run by groups of processes, as a user meets it: submit, follow, result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Server

CONFIG = """
[models.sums]
engine = "springtide.engines.synthetic.group:SyntheticGroup"
execution = "distributed"

[models.sums.group]
processes = 3
"""
SPEND = ("-i", "seconds=1", "-i", "steps=3")  # at ten a second progress is coalesced
PROMPT = 'a "quoted" prompt,\n  two: lines, {{ braces }} $(HOME) - {% if %}\\n 海'


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "springtide.toml").write_text(CONFIG)
    one = Server(folder)
    yield one
    one.close()


def test_one_job_is_computed_by_three_processes_and_ends_like_any_other(own_server: Server, tmp_path: Path) -> None:
    data = tmp_path / "numbers.bin"
    data.write_bytes(bytes(range(1, 101)))
    ran = own_server.cli("run", "sums", str(data), "-i", "upto=100", "-i", f"prompt={PROMPT}", *SPEND, "--json")
    assert ran.returncode == 0, ran.stderr + own_server.log.read_text()
    job = json.loads(ran.stdout)
    outputs = job["outputs"]
    assert (outputs["total"], outputs["ranks"], outputs["prompt"]) == (10_100, 3, PROMPT)
    shares = own_server.http.get(f"/v1/jobs/{job['id']}/files/shares").text.splitlines()
    assert len(shares) == 3
    assert sum(int(line.split()[1]) for line in shares) == 10_100
    events = own_server.http.get(f"/v1/jobs/{job['id']}/events").text
    assert all(f'"stage":"{stage}"' in events.replace(": ", ":") for stage in ("meet", "generate", "postprocess"))


def test_what_an_engine_says_in_any_rank_is_the_reason_that_the_client_reads(own_server: Server) -> None:
    job = own_server.run("sums", upto=3, outcome="fail", rank=2)
    assert (job["status"], job["error"]["code"]) == ("failed", "engine_failed")
    assert "failed, as the request asked" in job["error"]["message"]

"""Tables of jobs on a terminal of 80 columns."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from springtide.cli import job_tables
from springtide.client.types import Job

DAY_S = 86_400.0


@pytest.mark.parametrize("age_s", [0.0, 40 * DAY_S, 400 * DAY_S])
def test_a_job_takes_one_line_and_its_id_is_whole(monkeypatch: pytest.MonkeyPatch, age_s: float) -> None:
    said = io.StringIO()
    monkeypatch.setattr(job_tables, "_out", Console(file=said, width=80))
    name = f"job_{'0' * 32}"
    urls = dict.fromkeys(("status_url", "result_url", "events_url", "cancel_url"), "")
    job = Job(
        id=name,
        status="in_progress",
        model="synthetic",
        model_version="1",
        created_at="",
        created_at_s=time.time() - age_s,
        **urls,
    )
    job_tables.show_jobs([job, job])
    lines = said.getvalue().splitlines()
    assert sum(name in line for line in lines) == 2
    assert len([line for line in lines if line.startswith("│")]) == 2  # nothing is folded over two lines

"""Lines for people and for programs: who they are about, and files that do not grow without end."""

from __future__ import annotations

import errno
import io
import json
import logging
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import pytest

from springtide.domain.ids import JobId, step_id
from springtide.telemetry import logs
from springtide.telemetry.logs import about, handlers
from springtide.telemetry.settings import TelemetrySettings
from springtide.telemetry.trace_ids import is_sampled, parent_of, span_id_of, trace_id_of, traceparent_of

JOB = JobId("job_01a203ec4e5074a9909aa24061e56b00")
CALLER = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, message: str, *args: Any, **settings: Any) -> str:
    logger = logging.Logger("springtide.test")
    for handler in handlers("worker m", TelemetrySettings(**settings), stream):
        logger.addHandler(handler)
    logger.warning(message, *args)
    return stream.getvalue()


def test_people_read_lines_and_programs_read_json() -> None:
    assert written(Terminal(), "up").endswith(" WARNING worker m: up\n")
    assert written(io.StringIO(), "up", log_format="human").endswith(" WARNING worker m: up\n")
    for stream, wanted in ((io.StringIO(), "auto"), (Terminal(), "json")):
        line = json.loads(written(stream, "up", log_format=wanted))
        assert (line["level"], line["role"], line["message"]) == ("WARNING", "worker m", "up")
        assert "job_id" not in line


def test_a_line_that_names_a_job_carries_its_trace_and_attempt() -> None:
    line = json.loads(written(io.StringIO(), "job %s, attempt %d: dropped", JOB, 2))
    assert (line["job_id"], line["attempt"], line["trace_id"]) == (JOB, 2, JOB.removeprefix("job_"))
    about(JOB, 3, CALLER)
    line = json.loads(written(io.StringIO(), "took back %s", JOB))
    assert (line["attempt"], line["trace_id"]) == (3, "ab" * 16)
    assert "job_id" not in json.loads(written(io.StringIO(), "job_nonsense"))


def test_an_error_is_one_line_too() -> None:
    stream = io.StringIO()
    logger = logging.Logger("springtide.test")
    logger.addHandler(handlers("gateway", TelemetrySettings(log_format="json"), stream)[0])
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        logger.exception("failed")
    [line] = stream.getvalue().splitlines()
    assert "no\nsuch thing" in json.loads(line)["error"]


def test_a_file_begins_anew_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    first = handlers("worker m/n", TelemetrySettings(log_dir=str(tmp_path)), io.StringIO())
    second = handlers("worker m/n", TelemetrySettings(log_dir=str(tmp_path)), io.StringIO())
    for number in range(40):
        for _, file in (first, second):
            file.handle(logging.LogRecord("x", logging.INFO, "", 0, f"line {number}", (), None))
    for _, file in (first, second):
        file.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["worker-m-n.jsonl", "worker-m-n.jsonl.1"]
    assert all(path.stat().st_size < 1500 for path in tmp_path.iterdir())
    assert json.loads((tmp_path / files[0]).read_text().splitlines()[-1])["message"] == "line 39"


def test_a_folder_that_cannot_be_written_costs_the_files_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stream = io.StringIO()
    assert len(handlers("gateway", TelemetrySettings(log_dir=str(tmp_path / "file")), stream)) == 1
    assert "no log files in" in stream.getvalue()


def test_a_trace_is_the_callers_else_the_jobs_own_and_steps_share_their_pipelines() -> None:
    step = step_id(JOB, 1)
    assert trace_id_of(JOB, CALLER) == trace_id_of(step, CALLER) == "ab" * 16
    assert trace_id_of(step, None) == trace_id_of(JOB, None) == JOB.removeprefix("job_")
    assert parent_of(JOB, CALLER) == "cd" * 8
    assert parent_of(JOB, None) is None
    assert parent_of(step, None) == parent_of(step, CALLER) == span_id_of(JOB)
    spans = {span_id_of(JOB), span_id_of(step), span_id_of(JOB, "attempt", 1), span_id_of(JOB, "attempt", 2)}
    assert len(spans) == 4 and all(len(one) == 16 for one in spans)
    assert traceparent_of(JOB, CALLER, "attempt", 1) == f"00-{'ab' * 16}-{span_id_of(JOB, 'attempt', 1)}-01"


def test_the_caller_decides_what_is_told_and_else_a_share_of_traces() -> None:
    assert is_sampled(JOB, CALLER, 0.0)
    assert not is_sampled(JOB, CALLER[:-1] + "0", 1.0)
    jobs = [JobId(f"job_{number:032x}") for number in range(1000)]
    told = [is_sampled(job, None, 0.3) for job in jobs]
    assert 250 < sum(told) < 350
    assert all(is_sampled(job, None, 1.0) for job in jobs) and not any(is_sampled(job, None, 0.0) for job in jobs)
    pipelines = [JobId(f"{JOB[:-6]}{number:04x}00") for number in range(100)]
    assert all(is_sampled(step_id(one, 2), None, 0.3) == is_sampled(one, None, 0.3) for one in pipelines)


def test_a_full_disk_costs_lines_of_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file is opened anew, before the line is written."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(WatchedFileHandler, "reopenIfNeeded", full)
    assert "still said" in written(io.StringIO(), "still said", log_dir=str(tmp_path))

"""`springtide logs JOB`: one job's story across processes, by time.

The record is the base and is there wherever the server is: when it came, each attempt, its stages as long as live
events are kept, its end. On the machine that runs the server the lines of the log files that name the job stand among
it. On a cluster they are where the cluster keeps logs: `job_id` and `trace_id` find them there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from springtide.cli import exits
from springtide.cli.connecting import Where, connected
from springtide.cli.results import line
from springtide.client import ApiError, Job, Springtide
from springtide.domain.errors import InvalidInput
from springtide.domain.ids import is_job_id

RECORD = "record"
_out = Console()


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of it. source: the record, or the role of the process that wrote the line."""

    at_s: float
    source: str
    message: str
    level: str = "INFO"
    attempt: int = 0
    error: str = ""


def tell(where: Where, job: str, *, json: bool) -> int:
    """All of it, oldest first."""
    if not is_job_id(job):
        raise InvalidInput(f"{job!r} is no job's id; `springtide list` shows them")
    with connected(where) as client:
        found = client.jobs.get(job)
        lines = [*_on_record(client, found), *_in_files(_folder(where), [found.id, *_steps(found)])]
    for one in sorted(lines, key=lambda one: one.at_s):
        print(line(one)) if json else _show(one)
    return exits.DONE


def _on_record(client: Springtide, job: Job) -> Iterator[Told]:
    yield _told(job.created_at_s, f"accepted: {job.model} {job.model_version}, priority {job.priority}")
    for one in client.jobs.attempts(job):
        if one.started_at_s is not None:
            yield _told(one.started_at_s, f"attempt {one.attempt} began on {one.worker or 'a worker'}", one.attempt)
        error = f": {one.error.message} ({one.error.code})" if one.error else ""
        yield _told(one.finished_at_s, f"attempt {one.attempt} ended{error}", one.attempt, level="WARNING")
    yield from _stages(client, job)
    for step in job.steps or []:
        yield _told(job.created_at_s, f"step {step.step} {step.name}: {step.status} {step.job or ''}".rstrip())
    if not job.has_ended:
        for reason in client.jobs.explain(job).reasons:
            yield _told(time.time(), f"now {job.status}: {reason.message} ({reason.code})")
    elif job.finished_at_s is not None:
        if job.is_completed and job.started_at_s is not None and not job.steps:
            yield _told(job.started_at_s, f"attempt {job.attempt} began", job.attempt)
        error = f": {job.error.message} ({job.error.code})" if job.error else ""
        level = "INFO" if job.is_completed else "ERROR"
        yield _told(job.finished_at_s, f"{job.status}{error}", job.attempt, level=level)


def _stages(client: Springtide, job: Job) -> Iterator[Told]:
    """Where it was in its run; told only of a job that has ended, for then the events have an end, too."""
    if not job.has_ended:
        return
    stage: str | None = None
    try:
        for event in client.stream(job):
            if event.kind == "progress" and event.stage and event.stage != stage:
                stage = event.stage
                yield _told(event.at_s, f"stage {stage}", event.attempt)
    except ApiError:
        return  # the events are kept for a quarter of an hour, and this is the story of those that are


def _told(at_s: float, message: str, attempt: int = 0, *, level: str = "INFO") -> Told:
    return Told(at_s=at_s, source=RECORD, message=message, level=level, attempt=attempt)


def _steps(job: Job) -> list[str]:
    return [step.job for step in job.steps or [] if step.job]


def _folder(where: Where) -> Path | None:
    """Where this machine's log files are; None where another machine was named."""
    if where.address:
        return None
    from springtide.cli.build import telemetry

    folder = telemetry(where.settings()).log_dir
    return None if folder is None else Path(folder)


def _in_files(folder: Path | None, jobs: list[str]) -> Iterator[Told]:
    files = sorted(folder.glob("*.jsonl*")) if folder is not None and folder.is_dir() else []
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for text in lines:
                if any(job in text for job in jobs) and (found := _read(text)) is not None:
                    yield found


def _read(text: str) -> Told | None:
    try:
        raw: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        at_s = datetime.fromisoformat(raw["at"]).timestamp()
        return Told(
            at_s=at_s,
            source=str(raw["role"]),
            message=str(raw["message"]),
            level=str(raw.get("level", "INFO")),
            attempt=int(raw.get("attempt") or 0),
            error=str(raw.get("error", "")),
        )
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError):
        return None  # a line that was cut off by a full disk or a kill


def _show(one: Told) -> None:
    at = datetime.fromtimestamp(one.at_s).astimezone().strftime("%m-%d %H:%M:%S.%f")[:-3]
    text = f"{at} {one.level:<7} {one.source}: {one.message}"
    _out.print(f"{text}\n{one.error}" if one.error else text, markup=False, highlight=False, soft_wrap=True)

"""`springtide retry`: ended jobs once more, by id or all that failed lately. New jobs on standard output.

Safe to repeat: the server makes one new job of each old one, however often it is asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

import msgspec

from springtide.cli import exits
from springtide.cli.results import line, say
from springtide.client import ApiError, Job, Springtide
from springtide.domain.errors import InvalidInput
from springtide.domain.ids import is_job_id

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Which(msgspec.Struct, frozen=True):
    """Jobs to retry: `ids`, or all that failed and were submitted in the last `since`."""

    ids: list[str]
    failed: bool
    since: str  # 90s, 30m, 1h, 2d
    model: str | None


def check(which: Which) -> None:
    """Raises InvalidInput where the words do not say which jobs are meant."""
    if bool(which.ids) == which.failed:
        raise InvalidInput("name the jobs to retry, or say --failed for all that failed lately; one of the two")
    wrong = [job for job in which.ids if not is_job_id(job)]
    if wrong:
        raise InvalidInput(f"{wrong[0]!r} is not a job's id; `springtide list` shows them")
    seconds(which.since)


def retry_jobs(client: Springtide, which: Which, *, dry_run: bool, json: bool) -> int:
    """Retry them, the oldest first. Returns the exit code: that of the last one that could not be retried."""
    found = [client.jobs.get(job) for job in which.ids] if which.ids else list(_failed(client, which))[::-1]
    if dry_run:
        for job in found:
            print(line(job) if json else f"{job.id} {job.model} {job.error.message if job.error else job.status}")
        say(f"{_jobs(len(found))} would be retried")
        return exits.DONE
    fresh = again = wrong = 0
    code = exits.DONE
    for job in found:
        try:
            new, is_known = client.jobs.retried(job)
        except ApiError as error:
            wrong += 1
            code = exits.exit_code(error)
            say(f"{job.id}: {error.message}")
            continue
        print(line(new) if json else f"{job.id} -> {new.id} {new.status}")
        again, fresh = again + is_known, fresh + (not is_known)
    known = f", {again} had been before" if again else ""
    refused = f", {wrong} could not be" if wrong else ""
    say(f"retried {_jobs(fresh)}{known}{refused}")
    return code


def seconds(text: str) -> float:
    """A span as people write it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise InvalidInput(f"a span is written 90s, 30m, 1h or 2d, not {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def _failed(client: Springtide, which: Which) -> Iterator[Job]:
    """Newest first."""
    oldest_s = time.time() - seconds(which.since)
    for job in client.jobs.list(status="failed", created_after=oldest_s):
        if which.model is None or which.model in _models(job):
            yield job


def _models(job: Job) -> Sequence[str]:
    return [step.model for step in job.steps] if job.steps else [job.model]


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"

"""`springtide jobs retry`: ended jobs once more, by id or all that failed lately. New jobs on standard output.

Safe to repeat: the server makes one new job of each old one, however often it is asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import Console

from springtide.cli.client import Api
from springtide.domain.errors import InvalidInput, SpringtideError
from springtide.domain.ids import is_job_id

PAGE = 100
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_err = Console(stderr=True)


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
        raise InvalidInput(f"{wrong[0]!r} is not a job's id; `springtide status` lists them")
    seconds(which.since)


def retry_jobs(api: Api, which: Which, *, dry_run: bool) -> int:
    """Retry them, the oldest first. Returns the exit code: 1 where one could not be retried."""
    found = [api.get(f"/v1/jobs/{job}") for job in which.ids] if which.ids else list(_failed(api, which))[::-1]
    if dry_run:
        for job in found:
            print(f"{job['id']} {job['model']} {(job['error'] or {}).get('message', job['status'])}")
        _err.print(f"{_jobs(len(found))} would be retried")
        return 0
    fresh = again = wrong = 0
    for job in found:
        try:
            new, is_known = api.retry(job["id"])
        except SpringtideError as error:
            wrong += 1
            _err.print(f"{job['id']}: {error.message}", markup=False)
            continue
        print(f"{job['id']} -> {new['id']} {new['status']}")
        again, fresh = again + is_known, fresh + (not is_known)
    known = f", {again} had been before" if again else ""
    refused = f", {wrong} could not be" if wrong else ""
    _err.print(f"retried {_jobs(fresh)}{known}{refused}")
    return 1 if wrong else 0


def seconds(text: str) -> float:
    """A span as people write it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise InvalidInput(f"a span is written 90s, 30m, 1h or 2d, not {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def _failed(api: Api, which: Which) -> Iterator[dict[str, Any]]:
    """Newest first."""
    oldest_s = time.time() - seconds(which.since)
    after: dict[str, Any] = {}
    while True:
        page = api.get("/v1/jobs", status="failed", limit=PAGE, **after)
        for job in page["data"]:
            if job["created_at_s"] < oldest_s:
                return
            if which.model is None or which.model in _models(job):
                yield job
        if not page["has_more"]:
            return
        after = {"after": page["next_after"]}


def _models(job: dict[str, Any]) -> Sequence[str]:
    return [step["model"] for step in job["steps"]] if job.get("steps") else [job["model"]]


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"

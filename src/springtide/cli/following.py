"""Waiting for jobs and watching them: bars and a table on a terminal, lines elsewhere.

Promises: an interrupt cancels nothing unless that was asked for, and says how to come back.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from springtide.cli import exits
from springtide.cli.results import as_json, line, say
from springtide.client import ApiError, Event, Job, Springtide, WaitTimeout
from springtide.client.progress import told

if TYPE_CHECKING:
    from rich.table import Table

NEEDS_MENDING = frozenset({"engine_not_loading", "model_removed"})  # reasons to wait that time alone does not cure
ENDED_RANK = 2
_RANKS: dict[str, int] = {
    **dict.fromkeys(("in_progress", "started", "progress", "cancelling"), 0),
    **dict.fromkeys(("queued", "waiting", "retrying"), 1),
}
SHOWN = 30  # rows of the live table: jobs that run, then those that wait, then the newest ends


@contextlib.contextmanager
def interruptible(client: Springtide, jobs: Sequence[str], *, cancel: bool) -> Generator[None]:
    """Ctrl-C in the block ends the command, and the jobs only where `cancel` says so."""
    try:
        yield
    except KeyboardInterrupt:
        shown = " ".join(jobs) if len(jobs) <= 3 else "JOB"
        if cancel:
            for job in jobs:
                with contextlib.suppress(ApiError):
                    client.jobs.cancel(job)
            say(f"cancelled {shown}")
        else:
            goes = "the job goes on" if len(jobs) == 1 else f"the {len(jobs)} jobs go on"
            say(f"interrupted; {goes}. Back to it: springtide wait {shown}    Stop it: springtide cancel {shown}")
        raise typer.Exit(exits.INTERRUPTED) from None


def follow(client: Springtide, job: Job | str, *, timeout_s: float | None = None) -> Job:
    """Wait for one job with a bar; what keeps it waiting and will not pass by itself is said once."""
    said: set[str] = set()

    def on_event(event: Event) -> None:
        if event.kind == "waiting" and event.code in NEEDS_MENDING and event.code not in said:
            said.add(event.code)
            print(f"{event.job}: {event.message}", file=sys.stderr)  # the bar puts it above itself

    return client.wait(job, timeout_s=timeout_s, progress=True, on_event=on_event)


def wait_for(client: Springtide, jobs: Sequence[str], *, timeout_s: float | None, json: bool, cancel: bool) -> int:
    """Wait for each; a line a job as it is found to have ended, in the order named. Returns the exit code."""
    ends_s = None if timeout_s is None else time.monotonic() + timeout_s
    code = exits.DONE
    with interruptible(client, jobs, cancel=cancel):
        for job in jobs:
            try:
                found = follow(client, job, timeout_s=None if ends_s is None else max(0.0, ends_s - time.monotonic()))
            except WaitTimeout:
                found = client.jobs.get(job)
                code = exits.TIMED_OUT
            if json:
                print(as_json(found) if len(jobs) == 1 else line(found), flush=True)
            else:
                print(_ended_line(found), flush=True)
            if found.has_ended and not found.is_completed and code == exits.DONE:
                code = exits.JOB_FAILED
    if code == exits.TIMED_OUT:
        say(f"timed out after {timeout_s:g} s; what has not ended goes on")
    return code


def _ended_line(job: Job) -> str:
    """A job and its state, and why where it gave no result."""
    why = f": {job.error.message}" if job.error is not None else ""
    return f"{job.id} {job.model} {job.status}{why}"


def watch_jobs(client: Springtide, jobs: Sequence[str], *, json: bool) -> int:
    """Show what happens to jobs until all have ended. Returns the exit code."""
    if not jobs:
        say("no job is queued or in progress")
        return exits.DONE
    board = _Board()
    with interruptible(client, jobs, cancel=False):
        if json or not sys.stdout.isatty():
            for event in client.watch(jobs):
                board.note(event)
                if json:
                    print(line(event), flush=True)
                elif board.is_news(event):
                    print(_event_line(event), flush=True)
        else:
            _watch_live(client, jobs, board)
    return exits.JOB_FAILED if board.failed else exits.DONE


def _watch_live(client: Springtide, jobs: Sequence[str], board: _Board) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(get_renderable=board.table, console=Console(), refresh_per_second=4):
        for event in client.watch(jobs):
            board.note(event)


class _Board:
    """What is known of each job that is watched."""

    def __init__(self) -> None:
        self._last: dict[str, Event] = {}
        self._told: dict[str, tuple[str, str | None, int]] = {}
        self.failed = 0

    def note(self, event: Event) -> None:
        before = self._last.pop(event.job, None)
        if event.kind == "progress" and event.progress is None and before is not None:
            return
        self._last[event.job] = event  # the newest last
        if _state(event) in ("failed", "cancelled", "expired", "problem"):
            self.failed += 1

    def is_news(self, event: Event) -> bool:
        """Whether a line is worth it: a change of state or stage, or another tenth done."""
        news = (_state(event), event.stage or event.code, int((event.progress or 0) * 10))
        if self._told.get(event.job) == news:
            return False
        self._told[event.job] = news
        return True

    def table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table

        newest = list(reversed(self._last.values()))
        rows = sorted(newest, key=_rank)
        table = Table(Column("job", no_wrap=True), Column("", width=20), Column("", no_wrap=True), box=None)
        for event in rows[:SHOWN]:
            done = 1.0 if _state(event) == "completed" else event.progress or 0.0
            table.add_row(event.job, ProgressBar(total=1.0, completed=done), _words(event))
        ended = sum(_rank(event) == ENDED_RANK for event in rows)
        table.caption = f"{ended} of {len(rows)} ended" + (f", {self.failed} without a result" if self.failed else "")
        return table


def _rank(event: Event) -> int:
    """Those that run first, then those that wait, then the ended ones."""
    return _RANKS.get(_state(event), ENDED_RANK)


def _state(event: Event) -> str:
    return event.status or event.kind


def _words(event: Event) -> str:
    why = event.error.message if event.error is not None else event.message if event.kind == "problem" else ""
    return f"{told(event)}{': ' + why if why else ''}"


def _event_line(event: Event) -> str:
    at = datetime.fromtimestamp(event.at_s).astimezone() if event.at_s else datetime.now().astimezone()
    share = f" {event.progress:.0%}" if event.progress is not None and event.kind in ("progress", "snapshot") else ""
    return f"{at:%H:%M:%S} {event.job} {_words(event)}{share}"

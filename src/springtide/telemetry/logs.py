"""Logs: a line for people, a JSON object for programs, and files of the latter for `springtide logs`.

Promises: a line that names a job carries `job_id` and `trace_id`, and `attempt` where that is known, whoever wrote it
and however: the id is read from the line. A file never grows beyond MOST_BYTES, with one older one beside it; several
processes of one role may write to the same file. Writing a line never raises.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import OrderedDict
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

import msgspec

from springtide.domain.ids import JobId
from springtide.telemetry.settings import LogFormat, TelemetrySettings
from springtide.telemetry.trace_ids import trace_id_of

HUMAN = "%(asctime)s %(levelname)-7s %(role)s: %(message)s"
MOST_BYTES = 8 << 20  # of one file: about 40,000 lines
KNOWN_JOBS = 1000  # whose attempt and trace are remembered: more than a worker holds
_JOB = re.compile(r"\bjob_[0-9a-f]{32}\b")
_ATTEMPT = re.compile(r"\battempt (\d+)\b")
_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")

_known: OrderedDict[str, tuple[int, str | None]] = OrderedDict()


def about(job: JobId, attempt: int, traceparent: str | None) -> None:
    """Lines that name this job from now on are about that attempt, and of that trace."""
    _known[job] = (attempt, traceparent)
    if len(_known) > KNOWN_JOBS:
        _known.popitem(last=False)


def handlers(role: str, settings: TelemetrySettings, to: TextIO | None = None) -> list[logging.Handler]:
    """To standard error, and to a file where one is wanted; of a folder that cannot be written it is said once."""
    stream = to or sys.stderr
    screen = logging.StreamHandler(stream)
    screen.setFormatter(_formatter(role, settings.log_format, is_terminal=stream.isatty()))
    found: list[logging.Handler] = [screen]
    if settings.log_dir is not None:
        path = Path(settings.log_dir) / f"{_FILE_NAME.sub('-', role)}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _CappedFile(path, encoding="utf-8", delay=True)
        except OSError as error:
            print(f"springtide: no log files in {settings.log_dir}: {error.strerror}", file=stream)
        else:
            file.setFormatter(JsonLines(role))
            found.append(file)
    return found


def _formatter(role: str, wanted: LogFormat, *, is_terminal: bool) -> logging.Formatter:
    if wanted == "json" or (wanted == "auto" and not is_terminal):
        return JsonLines(role)
    return logging.Formatter(HUMAN, datefmt="%H:%M:%S", defaults={"role": role})


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, role, logger, message; job_id, attempt, trace_id; error."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role
        self._pid = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "role": self._role,
            "pid": self._pid,
            "logger": record.name,
            "message": message,
        }
        named = _JOB.search(message)
        if named is not None:
            job = JobId(named[0])
            attempt, traceparent = _known.get(job, (0, None))
            told = _ATTEMPT.search(message)
            attempt = int(told[1]) if told else attempt
            line |= {"job_id": job, "attempt": attempt or None, "trace_id": trace_id_of(job, traceparent)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode({name: value for name, value in line.items() if value is not None}).decode()


class _CappedFile(WatchedFileHandler):
    """Begins anew when the file is full, also where another process has seen to that."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if os.stat(self.baseFilename).st_size > MOST_BYTES:  # noqa: PTH116 - as the class it is made from does
                os.replace(self.baseFilename, f"{self.baseFilename}.1")  # noqa: PTH105 - the same
        except OSError:
            pass  # not there yet, or a colleague was quicker
        try:
            super().emit(record)
        except OSError:  # where it opens its file anew, the class it is made from lets a full disk end the caller
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk costs the line, not the process's screen."""

"""Exit codes, for scripts: the same for every command that speaks to a server. docs/reference/cli.md lists them."""

from __future__ import annotations

from springtide.client.errors import ApiError, ClientError, JobError, Refused, ServerError, Unreachable, WaitTimeout
from springtide.domain import errors as domain

DONE = 0
JOB_FAILED = 1
WRONG = 2
UNREACHABLE = 3
TIMED_OUT = 4
REFUSED = 5
INTERRUPTED = 130

MEANING = {
    DONE: "done; of jobs that were waited for: all completed",
    JOB_FAILED: "a job failed, was cancelled or expired; or the command could not do its work",
    WRONG: "what was asked is wrong: a word of the command, the configuration, an input, an id, the API key",
    UNREACHABLE: "no server answers, or it has an error of its own; what was submitted may be submitted again",
    TIMED_OUT: "timed out waiting; the job goes on",
    REFUSED: "refused for now: a queue, a quota or a rate is full",
    INTERRUPTED: "interrupted; a job that was waited for goes on",
}
_CODES: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (WaitTimeout, TIMED_OUT),
    (Unreachable, UNREACHABLE),
    (ServerError, UNREACHABLE),
    (Refused, REFUSED),
    (JobError, JOB_FAILED),
    (ApiError, WRONG),
    (ClientError, WRONG),
    (domain.ConfigError, WRONG),
    (domain.CallerError, WRONG),
    (domain.Unavailable, UNREACHABLE),
)


def exit_code(error: Exception) -> int:
    """The code that tells a script what kind of error it was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), JOB_FAILED)

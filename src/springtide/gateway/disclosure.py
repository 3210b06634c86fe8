"""What of a job's error its client may see: how it ended and with which figures, never where on the server.

The ledger keeps errors whole, for operators: an attempt's last words on standard error too. Here those are left out,
and of every absolute path only the last component stays. URLs, media types and fractions are no paths.
"""

from __future__ import annotations

import re
from typing import Any

from springtide.domain.job import JobError

OPERATORS_ONLY = frozenset({"stderr", "traceback"})  # details that show source lines
_QUOTED_PATH = re.compile(r"""(['"`])(?:file://)?/(?:[^'"`/\n]+/)+([^'"`/\n]*)\1""")  # may hold spaces
_PATH = re.compile(r"(?<![\w.:/\\-])(?:file://)?/(?:[^\s'\"`/:,;()\[\]{}<>|]+/)+([^\s'\"`/:,;()\[\]{}<>|]*)")


def without_paths(text: str) -> str:
    """The text with every absolute path cut to its last component."""
    if "/" not in text:
        return text
    text = _QUOTED_PATH.sub(lambda found: f"{found[1]}{found[2]}{found[1]}", text)
    return _PATH.sub(lambda found: found[1], text)


def disclosed(error: JobError) -> JobError:
    """The error as its client may see it."""
    details = {key: _scrubbed(value) for key, value in error.details.items() if key not in OPERATORS_ONLY}
    return JobError(code=error.code, message=without_paths(error.message), retryable=error.retryable, details=details)


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items() if key not in OPERATORS_ONLY}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value

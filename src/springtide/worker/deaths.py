"""What an engine's process died of, as far as the system lets one see."""

from __future__ import annotations

import signal
from typing import Any

from springtide.domain.job import JobError


def cause_of_death(code: int, printed: str, *, oom_kills: tuple[int | None, int | None]) -> JobError:
    """code: of its exit, negative for a signal. printed: the last it said. oom_kills: processes that the system has
    killed for memory, counted when it was started and after its death; None where it does not say."""
    details: dict[str, Any] = {"stderr": printed} if printed else {}
    if code >= 0:
        message = f"the engine's process ended with exit code {code}"
        return JobError(code="crashed", message=message, retryable=True, details={**details, "exit_code": code})
    name = _signal_name(-code)
    before, after = oom_kills
    if code == -signal.SIGKILL and before is not None and after is not None and after > before:
        message = "the system ran out of memory and killed the engine's process"
        return JobError(code="out_of_memory", message=message, retryable=True, details=details)
    if code == -signal.SIGABRT and "bad_alloc" in printed:
        message = "the engine ran out of memory (std::bad_alloc)"
        return JobError(code="out_of_memory", message=message, retryable=True, details=details)
    message = f"the engine's process was ended by {name}"
    return JobError(code="crashed", message=message, retryable=True, details={**details, "signal": name})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

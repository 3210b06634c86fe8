"""Whether a failed attempt deserves another one, and after how long.

Another attempt helps where the reason was outside the job: the process died, the worker was lost, memory ran out, a
dependency was down, or the engine itself says so. It does not where the same input will end the same way: bad input, an
exception of the engine, a run past its time limit (a second one would cost the same again and end the same). A model's
settings may say otherwise, code by code.
"""

from __future__ import annotations

import msgspec

from springtide.domain.job import JobError

RETRIED_CODES = frozenset({"crashed", "out_of_memory", "worker_lost"})  # never the job's doing, whatever it says
FINAL_CODES = frozenset({"timed_out", "invalid_input", "bad_media", "input_missing", "output_too_large", "cancelled"})


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Pace of further attempts."""

    first_s: float = 1.0  # seconds before the second attempt, on average; > 0
    factor: float = 4.0  # each further wait is this many times longer: 1, 4, 16, 64 s; >= 1
    most_s: float = 120.0  # never longer than this, seconds; >= first_s
    jitter: float = 0.5  # share of the wait that is left to chance, 0 to 1: jobs that died together come back apart
    on: tuple[str, ...] = ()  # codes that are tried again though they would not be
    never: tuple[str, ...] = ()  # codes that are not tried again though they would be


DEFAULTS = RetrySettings()


def decide_retry(
    error: JobError, attempt: int, max_attempts: int, rand: float, *, settings: RetrySettings = DEFAULTS
) -> float | None:
    """Seconds until the next attempt is due, or None where there shall be none.

    attempt: number of the one that failed, from 1. rand: a random number in [0, 1).
    """
    if attempt >= max_attempts or not is_retryable(error, settings):
        return None
    wait_s = min(settings.most_s, settings.first_s * settings.factor ** min(attempt - 1, 32))
    return wait_s * (1.0 + settings.jitter * (2.0 * rand - 1.0))


def is_retryable(error: JobError, settings: RetrySettings = DEFAULTS) -> bool:
    """Whether another attempt may end differently, or the model's settings say that it may."""
    if error.code in settings.on:
        return True
    if error.code in FINAL_CODES or error.code in settings.never:
        return False
    return error.code in RETRIED_CODES or error.retryable

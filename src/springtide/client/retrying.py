"""Which failure is worth another try, and after how long. Pure.

Only what a repeat can mend: no answer, 408, 429, 502, 503, 504, and a 409 that says that an earlier try of the same
request is still under way. Never a 400 or 422. The server's own word (`X-Should-Retry`, `Retry-After`) goes first.
Every request of this client may be repeated: it reads, it carries an idempotency key, or doing it twice does it once.
"""

from __future__ import annotations

from springtide.client.errors import ApiError
from springtide.client.settings import Patience

STATUSES = frozenset({408, 429, 502, 503, 504})
IN_FLIGHT = frozenset({"upload_busy", "request_in_flight", "idempotency_in_flight"})  # 409: another try has it in hand


def delay_s(patience: Patience, tried: int, failure: ApiError | None, *, rand: float) -> float | None:
    """Seconds until the next try; None: none. tried: how often so far. failure: None where no answer came.

    rand: from [0, 1); spreads clients that failed together over the upper half of the delay.
    """
    if tried > patience.retries or not (failure is None or _may_help(failure)):
        return None
    if failure is None or failure.retry_after_s is None:
        return backoff_s(patience, tried, rand=rand)
    if failure.retry_after_s > patience.most_retry_after_s:
        return None
    return failure.retry_after_s + patience.first_s * rand  # not before, and not all at once


def backoff_s(patience: Patience, tried: int, *, rand: float) -> float:
    """Seconds to wait after the `tried`-th failure in a row."""
    return min(patience.most_s, patience.first_s * 2.0 ** min(tried - 1, 32)) * (0.5 + rand / 2)


def _may_help(failure: ApiError) -> bool:
    if failure.should_retry is not None:
        return failure.should_retry
    return failure.status in STATUSES or (failure.status == 409 and failure.code in IN_FLIGHT)

"""What becomes of a message by what was answered: delivered, sent again later, or given up; and of its webhook.

The schedule is that of Standard Webhooks: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h,
some 76 hours in all. Up to a fifth is added by chance, so that what failed together does not come back together.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

DELAYS_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
JITTER = 0.2
MOST_S = 86_400.0  # longest rest that a receiver may ask for: no more than the schedule's own longest
THROTTLED = frozenset({429, 502, 503, 504})  # it, or what stands before it, is under load
REST_S = 5.0  # where it says so without a time
GONE = 410


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a sending came to. `status` is None where nothing was answered; then `error` says why."""

    status: int | None = None
    retry_after_s: float | None = None
    error: str | None = None
    code: str | None = None  # the same in a word


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What follows. Not delivered and no `again_in_s`: given up."""

    delivered: bool
    again_in_s: float | None = None
    pause_s: float = 0.0  # nothing is sent to the webhook for so long
    disable: str | None = None  # the webhook is switched off, with this reason
    problem: str | None = None


def judge(answer: Answer, *, spent: int, failing_for_s: float, disable_after_s: float, chance: float) -> Verdict:
    """spent: sendings of this round, this one counted. failing_for_s: since the first failure in a row, this one
    counted. chance: drawn from [0, 1)."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Verdict(delivered=True)
    problem = answer.error or _problem(status)
    if status == GONE:
        return Verdict(delivered=False, disable="it answered 410 Gone", problem=problem)
    disable = None
    if failing_for_s >= disable_after_s:
        disable = f"every message failed for {failing_for_s / 86_400:.1f} days; the last one: {problem}"
    rest_s = 0.0
    if status in THROTTLED:
        rest_s = REST_S if answer.retry_after_s is None else min(answer.retry_after_s, MOST_S)
    if spent > len(DELAYS_S):
        return Verdict(delivered=False, pause_s=rest_s, disable=disable, problem=problem)
    again_in_s = max(DELAYS_S[spent - 1], rest_s) * (1 + JITTER * chance)
    return Verdict(delivered=False, again_in_s=again_in_s, pause_s=rest_s, disable=disable, problem=problem)


def retry_after_s(header: str | None, now_s: float) -> float | None:
    """Seconds from a `Retry-After`, which may be a number or a date (RFC 9110); None where it is neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MOST_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return min(max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_s), MOST_S)


def _problem(status: int | None) -> str:
    if status is None:
        return "no answer"
    return f"answered {status}, a redirect, which is not followed" if 300 <= status < 400 else f"answered {status}"

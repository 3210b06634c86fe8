"""What becomes of a message by what was answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.policy.delivery import DELAYS_S, Answer, Verdict, judge, retry_after_s

DAY_S = 86_400.0


def judged(
    answer: Answer,
    *,
    spent: int = 1,
    failing_for_s: float = 0.0,
    chance: float = 0.0,
    disable_after_s: float = 5 * DAY_S,
) -> Verdict:
    return judge(answer, spent=spent, failing_for_s=failing_for_s, disable_after_s=disable_after_s, chance=chance)


def test_the_schedule_is_that_of_the_standard() -> None:
    waits = [judged(Answer(status=500), spent=n).again_in_s for n in range(1, 11)]
    hour = 3600.0
    assert waits == [5.0, 300.0, 1800.0, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour, None]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_only_success_is_success(status: int) -> None:
    assert judged(Answer(status=status)) == Verdict(delivered=True)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 304, 307, 400, 401, 404, 409, 429, 500, 502, 503, 504])
def test_all_else_is_tried_again(status: int) -> None:
    verdict = judged(Answer(status=status))
    assert not verdict.delivered and verdict.again_in_s is not None and str(status) in (verdict.problem or "")


def test_who_is_gone_is_asked_no_more() -> None:
    verdict = judged(Answer(status=410))
    assert verdict.again_in_s is None and "410" in (verdict.disable or "")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_is_under_load_is_given_the_rest_it_asks_for(status: int) -> None:
    asked = judged(Answer(status=status, retry_after_s=120.0))
    assert (asked.again_in_s, asked.pause_s) == (120.0, 120.0)
    short = judged(Answer(status=status, retry_after_s=1.0), spent=3)
    assert (short.again_in_s, short.pause_s) == (1800.0, 1.0)
    assert judged(Answer(status=status)).pause_s == 5.0
    assert judged(Answer(status=status, retry_after_s=1e9)).pause_s == DAY_S
    assert judged(Answer(status=500, retry_after_s=120.0)).pause_s == 0.0


def test_a_webhook_that_fails_for_days_is_switched_off_with_the_reason() -> None:
    assert judged(Answer(error="url_unreachable: x"), failing_for_s=5 * DAY_S - 1).disable is None
    verdict = judged(Answer(error="url_unreachable: x"), failing_for_s=5 * DAY_S)
    assert "5.0 days" in (verdict.disable or "") and "url_unreachable" in (verdict.disable or "")
    assert verdict.again_in_s is not None  # once it is switched on again


@given(
    st.integers(1, 30),
    st.floats(0, 0.999),
    st.sampled_from([None, 200, 302, 404, 410, 429, 500, 503]),
    st.floats(0, 1e9),
)
def test_every_wait_is_within_the_schedule_and_a_fifth(
    spent: int, chance: float, status: int | None, rest_s: float
) -> None:
    verdict = judged(Answer(status=status, retry_after_s=rest_s), spent=spent, chance=chance)
    if verdict.again_in_s is not None:
        assert spent <= len(DELAYS_S)
        assert DELAYS_S[spent - 1] <= verdict.again_in_s <= max(DELAYS_S[spent - 1], rest_s) * 1.2
        assert verdict.again_in_s <= DAY_S * 1.2


def test_a_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s("120", 0.0) == 120.0
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 400.0) == 0.0
    for nonsense in (None, "", "soon", "-5", "1e3", "٣", "Thu, 99 Jan"):
        assert retry_after_s(nonsense, 0.0) is None

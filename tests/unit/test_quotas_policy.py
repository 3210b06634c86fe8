"""Requests a minute, as a bucket that fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.policy.quotas import Bucket


def test_all_of_a_minute_may_come_at_once_and_then_one_at_a_time() -> None:
    bucket = Bucket(60, 0.0)
    assert all(bucket.draw(0.0) for _ in range(60)) and bucket.left == 0.0
    assert not bucket.draw(0.0)
    assert (bucket.next_in_s, bucket.full_in_s) == (pytest.approx(1.0), pytest.approx(60.0))
    assert not bucket.draw(0.9), "who knocks too early loses nothing and gains nothing"
    assert bucket.draw(1.1) and not bucket.draw(1.2)
    assert bucket.draw(1000.0) and bucket.left == 59.0


@given(st.integers(1, 1000), st.lists(st.floats(0, 30), max_size=200))
def test_no_minute_lets_more_through_than_twice_its_number(per_minute: int, pauses: list[float]) -> None:
    bucket, now_s, let = Bucket(per_minute, 0.0), 0.0, list[float]()
    for pause in pauses:
        now_s += pause
        if bucket.draw(now_s):
            let.append(now_s)
    for at_s in let:
        assert sum(at_s <= other < at_s + 60 for other in let) <= 2 * per_minute

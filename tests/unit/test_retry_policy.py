"""Which failed attempts get another one, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.job import JobError
from springtide.policy.retry import RetrySettings, decide_retry


def _error(code: str, *, retryable: bool = False) -> JobError:
    return JobError(code=code, message="", retryable=retryable)


@pytest.mark.parametrize(
    ("code", "retryable", "again"),
    [
        ("crashed", False, True),
        ("worker_lost", False, True),
        ("out_of_memory", False, True),
        ("engine_failed", True, True),
        ("engine_failed", False, False),
        ("storage_unavailable", True, True),
        ("an_engines_own_code", True, True),
        ("timed_out", True, False),
        ("invalid_input", True, False),
        ("bad_media", False, False),
        ("input_missing", True, False),
        ("output_too_large", False, False),
    ],
)
def test_only_what_may_end_differently_is_tried_again(code: str, retryable: bool, again: bool) -> None:
    wait_s = decide_retry(_error(code, retryable=retryable), 1, 3, 0.5)
    assert (wait_s is not None) is again


def test_a_model_may_say_otherwise_code_by_code() -> None:
    settings = RetrySettings(on=("timed_out", "engine_failed"), never=("crashed", "out_of_memory"))
    again = {
        code: decide_retry(_error(code), 1, 3, 0.5, settings=settings) is not None
        for code in ("timed_out", "engine_failed", "crashed", "out_of_memory", "worker_lost", "invalid_input")
    }
    assert again == {
        "timed_out": True,
        "engine_failed": True,
        "crashed": False,
        "out_of_memory": False,
        "worker_lost": True,
        "invalid_input": False,
    }
    assert decide_retry(_error("timed_out"), 3, 3, 0.5, settings=settings) is None


def test_the_last_attempt_is_the_last() -> None:
    assert decide_retry(_error("crashed"), 2, 3, 0.5) is not None
    assert decide_retry(_error("crashed"), 3, 3, 0.5) is None


def test_waits_grow_up_to_the_longest() -> None:
    settings = RetrySettings(first_s=1.0, factor=4.0, most_s=20.0, jitter=0.0)
    waits = [decide_retry(_error("crashed"), attempt, 9, 0.5, settings=settings) for attempt in (1, 2, 3, 4)]
    assert waits == [1.0, 4.0, 16.0, 20.0]


@given(
    attempt=st.integers(1, 10_000),
    rand=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 1),
    first_s=st.floats(0.001, 60),
)
def test_a_wait_stays_within_its_jitter_of_the_plan(attempt: int, rand: float, jitter: float, first_s: float) -> None:
    settings = RetrySettings(first_s=first_s, most_s=60.0, jitter=jitter)
    wait_s = decide_retry(_error("crashed"), attempt, attempt + 1, rand, settings=settings)
    assert wait_s is not None
    assert 0.0 <= wait_s <= 60.0 * (1 + jitter)


def test_jobs_that_died_together_come_back_apart() -> None:
    early, late = (decide_retry(_error("crashed"), 1, 3, rand) for rand in (0.0, 0.99))
    assert early is not None
    assert late is not None
    assert late > early

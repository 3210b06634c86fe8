"""Care: learnt from the jobs that began in time, so that one default keeps any objective on any traffic."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.policy.elastic.calibration import LEAST_CARE, MOST_CARE, Care, level, observe


def after_a_day(need: float, share: float, jobs: int) -> float:
    """Late jobs, as a share of those allowed, on traffic that needs so much care for the objective: each standard
    deviation more than that lets e² times fewer be late (which is how the constants of calibration.py were measured).
    """
    care, late, step = Care(), 0.0, 20
    for seen in range(step, jobs + 1, step):
        late += step * min(1.0, (1 - share) * math.exp(2 * (need - level(care, share, 40 / 30))))
        care = observe(care, started=seen, late=int(late), share=share)
    return late / ((1 - share) * jobs)


@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("more", [-0.3, 0.0, 0.4])
def test_half_a_day_ends_well_within_the_objective_without_being_far_too_careful(share: float, more: float) -> None:
    need = 0.6 - 0.5 * math.log((1 - share) / 0.01) + more
    # 0.88 before decision 0060: who needs 0.4 more than care begins with ends at 0.883, as one crisis counts for less
    assert 0.5 <= after_a_day(need, share, jobs=5000) <= 0.9, "the rest is for what chance may bring"


def test_in_the_long_run_traffic_gets_the_care_that_it_needs() -> None:
    for need in (-1.0, 2.5):
        assert 0.6 <= after_a_day(need, 0.99, jobs=200_000) <= 0.85


def test_jobs_that_are_late_beyond_the_objective_ask_for_care_and_a_night_without_jobs_teaches_nothing() -> None:
    first = Care()
    bad = observe(first, started=500, late=25, share=0.99)
    good = observe(first, started=500, late=0, share=0.99)
    assert level(bad, 0.99, 1.0) > level(first, 0.99, 1.0) > level(good, 0.99, 1.0)
    assert observe(bad, started=500, late=25, share=0.99) == bad
    assert level(first, 0.999, 1.0) > level(first, 0.99, 1.0) > level(first, 0.9, 1.0), (
        "who asks more gets more at once"
    )


def test_slower_starts_begin_with_more_care_and_none_at_all_is_a_start_too() -> None:
    cares = [level(Care(), 0.99, slowness) for slowness in (0.0, 8 / 30, 40 / 30, 3.0)]
    assert cares == sorted(set(cares))


def test_counters_that_fell_are_no_news() -> None:
    care = observe(Care(), started=500, late=25, share=0.99)
    restarted = observe(care, started=3, late=0, share=0.99)
    assert (restarted.debt, restarted.learnt, restarted.started) == (care.debt, care.learnt, 3)


@given(
    steps=st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1)), max_size=6),
    share=st.floats(0.5, 0.9999),
    slowness=st.floats(0, 1e4),
)
@settings(max_examples=60, deadline=None)
def test_care_stays_within_bounds_and_survives_a_restart(
    steps: list[tuple[int, float]], share: float, slowness: float
) -> None:
    care, started, late = Care(), 0, 0
    for jobs, part in steps:
        started, late = started + jobs, late + int(jobs * part)
        care = observe(care, started=started, late=late, share=share)
        assert LEAST_CARE <= level(care, share, slowness) <= MOST_CARE
        assert msgspec.json.decode(msgspec.json.encode(care), type=Care) == care

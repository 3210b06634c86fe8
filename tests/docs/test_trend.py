"""Whether a series grows, told by a slope that odd values do not move."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks.trend import trend


def test_a_line_has_its_slope_by_the_hour() -> None:
    found = trend([(float(at_s), 10 + at_s / 3600) for at_s in range(0, 600, 5)])
    assert found is not None
    assert found.per_hour == pytest.approx(1.0)
    assert found.grown == pytest.approx(595 / 3600)
    assert found.low == pytest.approx(found.high)


def test_noise_and_wild_values_are_no_growth() -> None:
    chance = Random(1)
    points = [(5.0 * number, 70 + chance.gauss(0, 0.5) + 500 * (number % 20 == 7)) for number in range(400)]
    found = trend(points)
    assert found is not None
    assert abs(found.grown) < 0.3
    assert found.low < 0 < found.high


def test_a_leak_under_noise_is_seen() -> None:
    chance = Random(2)
    found = trend([(5.0 * number, 70 + 0.01 * number + chance.gauss(0, 0.5)) for number in range(400)])
    assert found is not None
    assert found.per_hour == pytest.approx(0.01 * 720, rel=0.15)
    assert found.low > 0


@pytest.mark.parametrize("points", [[], [(0.0, 1.0)], [(0.0, 1.0), (1.0, 2.0)], [(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]])
def test_too_little_gives_no_slope(points: list[tuple[float, float]]) -> None:
    assert trend(points) is None


def test_a_long_series_is_thinned_and_says_the_same() -> None:
    found = trend([(float(at_s), at_s / 3600) for at_s in range(20_000)])
    assert found is not None and found.per_hour == pytest.approx(1.0)

"""Whether a series grows: a slope that a few odd values do not move. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

MOST_PAIRS = 200_000  # of which the median is taken; longer series are thinned
HOUR_S = 3600.0


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Per hour, in the series' unit. low and high: between them lies the slope of the middle half of all pairs; a
    series that only wavers has one above zero and one below. grown: over the whole series, as the slope has it."""

    per_hour: float
    low: float
    high: float
    grown: float
    median: float
    points: int


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Theil and Sen's slope: the median of the slopes of all pairs of points. points: (seconds, value); None where
    there are fewer than three."""
    if len(points) < 3:
        return None
    step = max(1, int(len(points) / (2 * MOST_PAIRS) ** 0.5) + (len(points) > (2 * MOST_PAIRS) ** 0.5))
    kept = points[::step]
    slopes = sorted(
        (later - value) / (then_s - at_s)
        for number, (at_s, value) in enumerate(kept)
        for then_s, later in kept[number + 1 :]
        if then_s > at_s
    )
    if not slopes:
        return None
    slope = median(slopes)
    return Trend(
        per_hour=slope * HOUR_S,
        low=slopes[len(slopes) // 4] * HOUR_S,
        high=slopes[3 * len(slopes) // 4] * HOUR_S,
        grown=slope * (points[-1][0] - points[0][0]),
        median=median(value for _, value in points),
        points=len(points),
    )

"""The rate at each time of the day and of the week, learnt as it goes by and kept over restarts.

Five-minute bins. The day's figure is a mean over earlier days that forgets; the weekday's own figure counts more the
more often that weekday has been seen. It smooths over neighbouring bins, and knows nothing on the first day.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

BIN_S = 300.0
DAY_BINS = 288
WEEK_BINS = 2016
DAY_KEPT = 0.8  # of the figure of a time of day, from one day to the next
WEEK_KEPT = 0.7  # of that of a weekday, from one week to the next
LEAST_RATE = 1e-6  # jobs a second: one in twelve days
WEEK_TRUST = 1.5  # days' worth of the general figure beside the weekday's own


class Season(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of counts and of days, bin by bin; the bin that is filling; rates as they are used now."""

    day: tuple[float, ...] = (0.0,) * DAY_BINS
    day_weight: tuple[float, ...] = (0.0,) * DAY_BINS
    week: tuple[float, ...] = (0.0,) * WEEK_BINS
    week_weight: tuple[float, ...] = (0.0,) * WEEK_BINS
    bin: int | None = None  # counted from time zero
    count: int = 0
    now_rate: float | None = None  # of this bin, of the one before and the next: what the season expects
    next_rate: float | None = None


def rates(season: Season, now_s: float, mean_rate: float) -> tuple[float, float]:
    """The season's rate now, and its change in a second."""
    if season.now_rate is None or season.next_rate is None:
        return mean_rate if mean_rate > LEAST_RATE else LEAST_RATE, 0.0
    floor = 0.1 * mean_rate  # no time of day is so quiet that one job there is a miracle
    if floor < LEAST_RATE:
        floor = LEAST_RATE
    change = season.next_rate - season.now_rate
    rate = season.now_rate + change * (now_s / BIN_S % 1.0)
    return rate if rate > floor else floor, change / BIN_S


def learn(season: Season, now_s: float, came: int) -> Season:
    """Count into the bin of now; a bin that is over goes into the figures."""
    current = int(now_s // BIN_S)
    if season.bin is None:
        return msgspec.structs.replace(season, bin=current, count=came)
    if current == season.bin:
        return msgspec.structs.replace(season, count=season.count + came) if came else season
    day, day_weight = list(season.day), list(season.day_weight)
    week, week_weight = list(season.week), list(season.week_weight)
    for bin_, count in ((season.bin, season.count), *((gap, 0) for gap in range(season.bin + 1, current)[-DAY_BINS:])):
        i, j = bin_ % DAY_BINS, bin_ % WEEK_BINS
        day[i], day_weight[i] = day[i] * DAY_KEPT + count, day_weight[i] * DAY_KEPT + 1.0
        week[j], week_weight[j] = week[j] * WEEK_KEPT + count, week_weight[j] * WEEK_KEPT + 1.0
    filled = Season(
        day=tuple(day),
        day_weight=tuple(day_weight),
        week=tuple(week),
        week_weight=tuple(week_weight),
        bin=current,
        count=came,
    )
    return msgspec.structs.replace(filled, now_rate=_rate(filled, current), next_rate=_rate(filled, current + 1))


def from_history(counts: Sequence[int], first_bin: int) -> Season:
    """A season from counts of five-minute bins, oldest first, gapless: what the ledger remembers."""
    season = Season()
    for i, count in enumerate(counts):
        season = learn(season, (first_bin + i) * BIN_S, count)
    return season


def _rate(season: Season, bin_: int) -> float | None:
    """Jobs a second in a bin, smoothed over its neighbours; None where no day has been seen there."""
    total = weight = 0.0
    for shift, share in ((-2, 1.0), (-1, 2.0), (0, 3.0), (1, 2.0), (2, 1.0)):
        i, j = (bin_ + shift) % DAY_BINS, (bin_ + shift) % WEEK_BINS
        if season.day_weight[i] <= 0:
            continue
        mean = season.day[i] / season.day_weight[i]
        own = season.week_weight[j]
        figure = (season.week[j] + WEEK_TRUST * mean) / (own + WEEK_TRUST)
        total += share * figure
        weight += share
    return total / weight / BIN_S if weight else None

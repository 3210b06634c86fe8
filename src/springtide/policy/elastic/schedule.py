"""`schedule`: floors by the time of the week, for what one knows and a forecast cannot: a launch, a fair, a broadcast.

Alone it keeps the floor of the hour; beside another policy (composed.py) the larger wish wins.
"""

from __future__ import annotations

import msgspec

from springtide.policy.elastic.bounds import DAY_S, Bounds, bounded
from springtide.policy.elastic.queue import settle
from springtide.policy.elastic.view import Advice, PoolView, Reason

EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """`replicas` at least, on these days from one time of the day to another; over midnight where the end is
    earlier.
    """

    from_s: float  # seconds after midnight, 0 to 86400
    until_s: float
    replicas: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)  # Monday is 0; of the day on which it begins


class ScheduleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """utc_offset_s: of the clock that the floors are told by. lead_s: so much earlier, for replicas to load."""

    floors: tuple[Floor, ...] = ()
    utc_offset_s: float = 0.0
    lead_s: float = 0.0
    bounds: Bounds = Bounds()


def floor_at(now_s: float, settings: ScheduleSettings) -> int:
    """The greatest floor that holds at this time (seconds since 1970, UTC)."""
    most = 0
    for floor in settings.floors:
        for ahead_s in (0.0, settings.lead_s):
            local_s = now_s + settings.utc_offset_s + ahead_s
            day, second = int(local_s // DAY_S), local_s % DAY_S
            today, yesterday = (day + EPOCH_WEEKDAY) % 7 in floor.days, (day - 1 + EPOCH_WEEKDAY) % 7 in floor.days
            if floor.from_s <= floor.until_s:
                holds = today and floor.from_s <= second < floor.until_s
            else:
                holds = (today and second >= floor.from_s) or (yesterday and second < floor.until_s)
            if holds:
                most = max(most, floor.replicas)
    return most


def decide(view: PoolView, memory: None, settings: ScheduleSettings) -> tuple[Advice, None]:
    """Reasons: SCHEDULE, IDLE, HOLD and those of the bounds. It needs no data but the time."""
    floor = floor_at(view.now_s, settings)
    advice = bounded(*settle(floor, view, Reason.SCHEDULE, {"floor": float(floor)}), bounds=settings.bounds)
    return advice, None

"""When a job will be ready: a band, from its place in the queue, the replicas, their starts and the run times.

`foretell` lays the jobs ahead of it on the replicas as they become free, and adds its own run. How far such a sum is
off is learnt from how far it was: `Calibration` follows the quantiles of past errors (Gibbs and Candès, Adaptive
Conformal Inference, 2021), so a 90 % band holds nine of ten jobs whatever the traffic is like.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import msgspec

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
FIRST_Z = (-1.645, -0.674, 0.0, 0.674, 1.645)  # normal quantiles of those shares, until there are errors to learn from
PACE = 0.08  # step of a quantile, in standard deviations, at the beginning
LAST_PACE = 0.02  # and after some hundred jobs
LAID = 512  # jobs laid one by one; more are laid in equal heaps


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands. Seconds are predictions."""

    ahead: int = 0
    ahead_s: float = 0.0  # their work
    run_s: float = 1.0  # its own, median
    run_p90_s: float = 1.9
    idle: int = 0
    busy_left_s: tuple[float, ...] = ()
    loading_left_s: tuple[float, ...] = ()
    cold_start_s: float = 30.0  # of a replica that nobody has launched yet
    may_grow: bool = True  # whether more replicas will come when jobs wait


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of past errors, in standard deviations: one law for jobs that find a replica, one for those that
    wait.
    """

    served: tuple[float, ...] = FIRST_Z
    queued: tuple[float, ...] = FIRST_Z
    seen_served: int = 0
    seen_queued: int = 0


class LaidOut(NamedTuple):
    """A promise before calibration: seconds until it is done, the spread of their logarithm, whether it waits."""

    middle_s: float
    spread: float
    waits: bool


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from now until it is done. `spread` is that of their logarithm before calibration."""

    median_s: float
    low50_s: float
    high50_s: float
    low90_s: float
    high90_s: float
    middle_s: float  # as laid out, before calibration
    spread: float
    waits: bool


def foretell(place: Place, calibration: Calibration | None = None) -> Band:
    """The band for one job."""
    laid = lay_out(start(place), place.run_s, place.run_p90_s)
    return band_of(laid.middle_s, laid.spread, waits=laid.waits, calibration=calibration)


def lay_out(start_s: float, run_s: float, run_p90_s: float) -> LaidOut:
    """What a promise keeps, of a job that begins then."""
    middle_s = max(0.001, start_s + run_s)
    own_s = max(0.02 * run_s, (run_p90_s - run_s) / 1.2816)
    queue_s = 0.35 * start_s  # a third: what comes after, sizes, replicas that come or go
    return LaidOut(middle_s, min(2.0, math.hypot(own_s, queue_s) / middle_s), start_s > 0)


def band_of(middle_s: float, spread: float, *, waits: bool, calibration: Calibration | None = None) -> Band:
    """The band about a promise as it was laid out."""
    z = FIRST_Z if calibration is None else calibration.queued if waits else calibration.served
    at = sorted([middle_s * math.exp(one * spread) for one in z])
    return Band(
        median_s=at[2],
        low50_s=at[1],
        high50_s=at[3],
        low90_s=at[0],
        high90_s=at[4],
        middle_s=middle_s,
        spread=spread,
        waits=waits,
    )


def correct(calibration: Calibration, band: Band, *, took_s: float) -> Calibration:
    """Learn from how it came out."""
    error = math.log(max(took_s, 0.001) / band.middle_s) / max(band.spread, 1e-6)
    if band.waits:
        moved = _moved(calibration.queued, calibration.seen_queued, error)
        return msgspec.structs.replace(calibration, queued=moved, seen_queued=calibration.seen_queued + 1)
    moved = _moved(calibration.served, calibration.seen_served, error)
    return msgspec.structs.replace(calibration, served=moved, seen_served=calibration.seen_served + 1)


def _moved(z: tuple[float, ...], seen: int, error: float) -> tuple[float, ...]:
    pace = max(LAST_PACE, PACE * 50 / (50 + seen))
    return tuple(
        max(-12.0, min(12.0, one + 2 * pace * (share - (error < one)) / math.sqrt(share * (1 - share))))
        for one, share in zip(z, SHARES, strict=True)
    )


def start(place: Place) -> float:
    """Seconds until a replica takes it, if jobs are laid on replicas in order."""
    free = [0.0] * place.idle
    free += [max(0.0, left_s) if left_s > 0 else 0.1 * place.run_s for left_s in place.busy_left_s]
    free += [max(0.0, left_s) for left_s in place.loading_left_s]
    if not free or (place.may_grow and place.ahead >= len(free) and min(free) > place.cold_start_s):
        free.append(place.cold_start_s)
    heapq.heapify(free)
    if place.ahead:
        heaps = min(place.ahead, LAID)
        each_s = place.ahead_s / heaps
        for _ in range(heaps):
            heapq.heapreplace(free, free[0] + each_s)
    return free[0]

"""When a job will be ready: the band's arithmetic, and that it learns how wide it must be."""

from __future__ import annotations

import math
from random import Random

import pytest

from springtide.policy.eta import Calibration, Place, correct, foretell, start


def test_an_idle_replica_starts_it_at_once() -> None:
    band = foretell(Place(run_s=20.0, run_p90_s=28.0, idle=1))
    assert not band.waits
    assert band.low90_s < band.low50_s < 20.0 < band.high50_s < band.high90_s < 40.0


def test_jobs_ahead_are_laid_on_the_replicas_there() -> None:
    place = Place(ahead=4, ahead_s=80.0, run_s=20.0, busy_left_s=(10.0, 30.0), may_grow=False)
    assert start(place) == 50.0  # 10, 30 → 30, 30 → 50, 30 → 50, 50 → …
    assert start(Place(ahead=4, ahead_s=80.0, run_s=20.0, busy_left_s=(10.0,), may_grow=False)) == 90.0


def test_a_replica_that_loads_counts_from_when_it_is_ready() -> None:
    assert start(Place(run_s=5.0, loading_left_s=(12.0,))) == 12.0


def test_with_no_replica_it_waits_for_a_cold_start() -> None:
    assert start(Place(run_s=5.0, cold_start_s=40.0)) == 40.0


def test_a_long_queue_costs_little_to_foretell() -> None:
    band = foretell(Place(ahead=1_000_000, ahead_s=1e7, run_s=10.0, busy_left_s=(5.0,) * 100, may_grow=False))
    assert band.middle_s == pytest.approx(1e5, rel=0.2)


@pytest.mark.parametrize(("bias", "noise"), [(1.0, 0.1), (1.6, 0.5), (0.7, 1.0)])
def test_the_band_learns_to_hold_what_it_says(bias: float, noise: float) -> None:
    chance, calibration = Random(5), Calibration()
    place = Place(ahead=3, ahead_s=60.0, run_s=20.0, run_p90_s=30.0, busy_left_s=(10.0,), may_grow=False)
    held50 = held90 = 0
    for job in range(3000):
        band = foretell(place, calibration)
        took_s = 90.0 * bias * math.exp(chance.gauss(0, noise))
        if job >= 1000:
            held50 += band.low50_s <= took_s <= band.high50_s
            held90 += band.low90_s <= took_s <= band.high90_s
        calibration = correct(calibration, band, took_s=took_s)
    assert 0.42 < held50 / 2000 < 0.58
    assert 0.85 < held90 / 2000 < 0.95

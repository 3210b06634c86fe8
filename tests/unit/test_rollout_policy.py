"""Which version a job is for, and when a canary is worse: what the policy promises of chance."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.ids import ModelName
from springtide.domain.rollout import Margins, Rollout, RolloutState, Sample, Sticky
from springtide.policy.rollout import LEVEL, chance_of, floor_of, judge, p95, place_of, salt_of, state_of

MATTING = ModelName("matting")
CLOSE = Margins(failure_rate=0.0, p95=0.0, min_samples=5)  # no margin: what is left is the test alone


def rollout(**changed: Any) -> Rollout:
    fields: dict[str, Any] = {
        "model": MATTING,
        "number": 1,
        "revision": 1,
        "stable": "1",
        "canary": "2",
        "weight": 10.0,
        "sticky": Sticky.TENANT,
        "margins": Margins(),
        "state": RolloutState.RUNNING,
        "started_at_s": 0.0,
        "changed_at_s": 0.0,
    }
    return Rollout(**(fields | changed))


def sample(jobs: int, failed: int, run_s: float = 1.0) -> Sample:
    return Sample(jobs=jobs, failed=failed, runs_s=(run_s,) * (jobs - failed))


# --- which ------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=64), st.floats(0, 100), st.floats(0, 100))
def test_a_greater_weight_only_adds_to_those_on_the_canary(key: str, weight: float, other: float) -> None:
    place = place_of(salt_of(MATTING, "2"), key)
    assert 0 <= place <= 100
    assert not (place < min(weight, other) and not place < max(weight, other))


def test_places_are_spread_evenly_and_each_rollout_chooses_others() -> None:
    here, there = salt_of(MATTING, "2"), salt_of(MATTING, "3")
    places = [(place_of(here, f"job_{n}"), place_of(there, f"job_{n}")) for n in range(4000)]
    first, second = {n for n, (a, _) in enumerate(places) if a < 10}, {n for n, (_, b) in enumerate(places) if b < 10}
    assert 300 < len(first) < 500
    assert len(first & second) < 80  # of 400, where 40 are due


@pytest.mark.parametrize(("least", "weight", "kept"), [(0, 100, 0), (1, 0, 0), (1, 10, 1), (5, 10, 1), (4, 50, 2)])
def test_a_version_keeps_its_share_of_workers(least: int, weight: float, kept: int) -> None:
    assert floor_of(least, weight) == kept


def test_a_version_is_what_the_last_rollout_made_of_it() -> None:
    running, ended = rollout(), rollout(state=RolloutState.PROMOTED)
    assert [state_of(None, each, first="1") for each in "12"] == ["stable", "declared"]
    assert [state_of(running, each, first="1") for each in "123"] == ["stable", "canary", "declared"]
    assert [state_of(ended, each, first="1") for each in "123"] == ["retired", "stable", "declared"]
    aborted = rollout(state=RolloutState.ABORTED)
    assert [state_of(aborted, each, first="1") for each in "123"] == ["stable", "aborted", "declared"]
    assert [(running.weight_of(each), ended.weight_of(each)) for each in "12"] == [(90, 0), (10, 100)]


# --- is it worse ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_chances_are_those_of_counting_all_ways(all: int, drawn: int, marked: int, at_least: int) -> None:
    drawn, marked = min(drawn, all), min(marked, all)
    ways = [sum(each < marked for each in way) for way in combinations(range(all), drawn)]
    counted = sum(found >= at_least for found in ways) / len(ways)
    assert chance_of(at_least, drawn=drawn, marked=marked, all=all) == pytest.approx(counted, abs=1e-12)


def aborted_after(stable_fails: float, canary_fails: float, *, jobs: int, seed: int, spread: float = 0.0) -> int | None:
    """Jobs of the canary at which a rollout of 50 % is aborted; None where it never is."""
    chance = random.Random(seed)
    one = rollout(margins=CLOSE if stable_fails == canary_fails else Margins())
    sides: list[list[float | None]] = [[], []]
    for _ in range(jobs):
        for side, fails in zip(sides, (stable_fails, canary_fails), strict=True):
            side.append(None if chance.random() < fails else chance.lognormvariate(0, spread))
        stable, canary = (
            Sample(jobs=len(side), failed=side.count(None), runs_s=tuple(run_s for run_s in side if run_s is not None))
            for side in sides
        )
        verdict = judge(one, stable, canary)
        if verdict is not None:
            one = msgspec.structs.replace(one, looks=verdict.looks, looked_at_jobs=verdict.looked_at_jobs)
            if verdict.reason is not None:
                return canary.jobs
    return None


def test_versions_that_are_alike_are_parted_no_more_often_than_is_said() -> None:
    # Even without any margin, looking again and again. 300 rollouts: 3 are due at most; 10 or more come by chance in
    # less than one of a thousand runs of this test, were LEVEL just kept.
    parted = sum(aborted_after(0.2, 0.2, jobs=100, seed=seed, spread=1.0) is not None for seed in range(300))
    assert parted <= 300 * LEVEL + 6


def test_a_canary_that_fails_half_of_its_jobs_is_gone_within_fifty_of_them() -> None:
    # 300 canaries: the luckiest of a thousand goes on a little longer.
    stayed = [seed for seed in range(300) if aborted_after(0.01, 0.5, jobs=50, seed=seed) is None]
    assert len(stayed) <= 3, stayed


def test_a_canary_that_always_fails_is_gone_at_the_first_look() -> None:
    verdict = judge(rollout(), sample(180, 0), sample(20, 20))
    assert verdict is not None
    assert verdict.reason is not None
    assert "20 of 20 jobs failed" in verdict.reason


def test_a_canary_twice_as_slow_is_gone_and_one_a_third_slower_is_not() -> None:
    slow = judge(rollout(), sample(180, 0, 1.0), sample(20, 0, 2.0))
    assert slow is not None
    assert slow.reason is not None
    assert "P95" in slow.reason
    slower = judge(rollout(), sample(180, 0, 1.0), sample(20, 0, 1.3))
    assert slower is not None
    assert slower.reason is None


def test_worse_by_less_than_the_margin_is_let_pass_however_sure_it_is() -> None:
    verdict = judge(rollout(), sample(9000, 90), sample(1000, 50))  # 1 % and 5 %
    assert verdict is not None
    assert verdict.reason is None


@pytest.mark.parametrize(("stable", "canary"), [(19, 200), (200, 19)])
def test_too_few_jobs_of_either_say_nothing(stable: int, canary: int) -> None:
    assert judge(rollout(), sample(stable, 0), sample(canary, canary)) is None


def test_no_look_is_spent_before_a_quarter_more_jobs_are_there() -> None:
    seen = rollout(looks=1, looked_at_jobs=40)
    assert judge(seen, sample(500, 0), sample(49, 49)) is None
    assert judge(seen, sample(500, 0), sample(50, 50)) is not None


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
def test_the_p95_is_a_run_that_one_in_twenty_are_longer_than_at_most(runs_s: list[float]) -> None:
    found = p95(runs_s)
    assert found in runs_s
    assert sum(run_s > found for run_s in runs_s) <= 0.05 * len(runs_s)
    assert p95([]) is None

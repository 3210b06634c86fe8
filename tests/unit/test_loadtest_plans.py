"""What a load test may do, and when its jobs arrive."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from springtide.domain.errors import ConfigError
from springtide.loadtest.bounds import MOST_JOBS, MOST_RATE, MOST_SECONDS, check_load, check_target
from springtide.loadtest.expecting import NAMES, read_expectations
from springtide.loadtest.scenarios import FLOOD, Lane, Plan, Scenario, arrivals, kills, lanes_of

ONE = (Lane(model="synthetic", job_s=1.0, spread=0.5),)
FOUR = lanes_of(("a", "b"), ("flood", "visitor"), job_s=1.0, spread=0.0)


def plan(scenario: Scenario, rate: float = 20.0, seconds: float = 60.0, seed: int = 1, **more: int) -> Plan:
    lanes = FOUR if scenario is Scenario.CONTENTION else ONE
    return Plan(scenario=scenario, lanes=lanes, rate=rate, seconds=seconds, seed=seed, **more)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scenario=st.sampled_from(Scenario),
    rate=st.floats(0.01, MOST_RATE),
    seconds=st.floats(1, MOST_SECONDS),
    seed=st.integers(0, 99),
)
def test_no_plan_that_is_allowed_exceeds_count_or_time(
    scenario: Scenario, rate: float, seconds: float, seed: int
) -> None:
    one = plan(scenario, min(rate, 2_000 / seconds), seconds, seed)
    try:
        one.checked()
    except ConfigError:
        return
    found = arrivals(one)
    assert len(found) <= MOST_JOBS
    assert all(0 <= arrival.at_s <= MOST_SECONDS * 1.1 for arrival in found)
    assert [arrival.at_s for arrival in found] == sorted(arrival.at_s for arrival in found)


@pytest.mark.parametrize("scenario", Scenario)
def test_a_scenario_gives_its_mean_rate_and_the_same_again(scenario: Scenario) -> None:
    found = arrivals(plan(scenario))
    assert len(found) == pytest.approx(1200, rel=0.1)
    assert found == arrivals(plan(scenario))
    assert found != arrivals(plan(scenario, seed=2))


def test_a_burst_is_half_of_the_jobs_within_moments_and_never_above_the_ceiling() -> None:
    at_s = [one.at_s for one in arrivals(plan(Scenario.BURST))]
    assert sum(15 <= one < 16 + 600 / MOST_RATE for one in at_s) > 600
    loud = [one.at_s for one in arrivals(plan(Scenario.BURST, rate=150, seconds=60))]
    busiest = max(sum(second <= one < second + 1 for one in loud) for second in range(60))
    assert busiest < MOST_RATE + 150 / 2 + 4 * MOST_RATE**0.5  # the quiet load goes on; chance crowds a little


def test_a_ramp_ends_at_twice_its_mean_and_is_held_to_the_ceiling_there() -> None:
    at_s = [one.at_s for one in arrivals(plan(Scenario.RAMP))]
    assert sum(one < 15 for one in at_s) < sum(one > 45 for one in at_s) / 4
    with pytest.raises(ConfigError, match="twice its mean"):
        plan(Scenario.RAMP, rate=MOST_RATE * 0.6, seconds=10).checked()


def test_in_contention_one_tenant_floods_both_models() -> None:
    found = arrivals(plan(Scenario.CONTENTION))
    flood = [one for one in found if FOUR[one.lane].tenant == "flood"]
    assert len(flood) == pytest.approx(FLOOD * len(found), rel=0.1)
    assert {FOUR[one.lane].model for one in flood} == {"a", "b"}
    with pytest.raises(ConfigError, match="two models"):
        Plan(scenario=Scenario.CONTENTION, lanes=ONE).checked()


def test_kills_are_spread_over_the_time() -> None:
    assert kills(plan(Scenario.FAILOVER, kills=2)) == [20.0, 40.0]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ((MOST_RATE + 1, 10.0, 10.0), "200 jobs a second"),
        ((1.0, MOST_SECONDS + 1, 10.0), "3600s"),
        ((1.0, 10.0, 1e9), "1800s"),
        ((MOST_RATE, MOST_SECONDS, 10.0), "20,000"),
        ((1.0, 10.0, 10.0, 21), "0 to 20"),
    ],
)
def test_more_than_the_ceilings_is_refused(wish: tuple[float, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_load(*wish)  # pyright: ignore[reportArgumentType] - the last is a whole number


@pytest.mark.parametrize("url", ["http://127.0.0.1:8321", "http://[::1]:1", "http://localhost:80", "https://10.1.2.3"])
def test_this_machine_is_a_target(url: str) -> None:
    check_target(url, own=["10.1.2.3"], remote=False)


@pytest.mark.parametrize("url", ["http://10.1.2.4:8321", "https://media.example.com", "http://localhost.example.com"])
def test_another_machine_is_refused_unless_that_is_meant(url: str) -> None:
    with pytest.raises(ConfigError, match="--remote-i-mean-it"):
        check_target(url, own=["10.1.2.3"], remote=False)
    check_target(url, remote=True)


@pytest.mark.parametrize("text", ["p95", "p95=fast", "beauty=1", "p95<10s"])
def test_an_expectation_that_cannot_be_read_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(NAMES[:3])):
        read_expectations([text])


def test_expectations_are_read_in_the_units_people_write() -> None:
    bounds = [one.bound for one in read_expectations(["p95=250ms", "wait_max=2m", "success=99%", "lost=0"])]
    assert bounds == [0.25, 120.0, 0.99, 0.0]

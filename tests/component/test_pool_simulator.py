"""The pool simulator: agrees with queueing theory where that has an answer, bills what it says, loses no job."""

from __future__ import annotations

import gzip
import math
import tomllib
from pathlib import Path
from random import Random

import pytest

from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.sim.pool.bound import greedy, relaxed
from springtide.sim.pool.compare import Objective, compare
from springtide.sim.pool.contenders import named, tide_for
from springtide.sim.pool.engine import Setup, simulate
from springtide.sim.pool.families import FAMILIES, invent
from springtide.sim.pool.grids import static_grid
from springtide.sim.pool.jobs import Jobs, newest
from springtide.sim.pool.line import Line
from springtide.sim.pool.outcome import Outcome
from springtide.sim.pool.peers.kubernetes import Hpa, Keda
from springtide.sim.pool.peers.serving import IdleTimeout, Kpa, RayServe, Static
from springtide.sim.pool.traces import Reading, lines, read_trace
from springtide.sim.pool.tuning import tune
from springtide.sim.pool.weather import Weather


def jobs_of(*told: tuple[float, float], tenants: tuple[int, ...] = (), names: tuple[str, ...] = ("default",)) -> Jobs:
    """(arrival, run) each, run times foreseen exactly."""
    runs = [run_s for _, run_s in told]
    at_s = [at for at, _ in told]
    return Jobs(name="test", at_s=at_s, run_s=runs, predicted_s=runs, tenant=tenants, tenants=names)


def poisson(rate: float, mean_s: float, count: int, seed: int = 1) -> Jobs:
    chance, at_s, told = Random(seed), 0.0, list[tuple[float, float]]()
    for _ in range(count):
        at_s += chance.expovariate(rate)
        told.append((at_s, chance.expovariate(1 / mean_s)))
    return jobs_of(*told)


def erlang_c(servers: int, load: float) -> float:
    """Probability that a job waits in an M/M/c queue."""
    term = load**servers / math.factorial(servers) * servers / (servers - load)
    return term / (sum(load**k / math.factorial(k) for k in range(servers)) + term)


# --- the engine -------------------------------------------------------------------------------------------------------


def test_a_fixed_fleet_waits_as_erlang_says() -> None:
    servers, load, mean_s = 5, 4.0, 10.0
    found = simulate(poisson(load / mean_s, mean_s, 60_000), Static(servers), Setup(wait_s=5.0, in_order=True))
    late = erlang_c(servers, load) * math.exp(-(servers - load) / mean_s * 5.0)
    assert 1 - found.attained == pytest.approx(late, rel=0.1)


def test_a_replica_is_paid_for_from_launch_to_end() -> None:
    jobs = jobs_of((100.0, 30.0), (400.0, 1.0))
    found = simulate(jobs, IdleTimeout(60.0), Setup(weather=Weather(cold_start_s=40.0)))
    # launched at 100 or 101, ready 40 s later, 30 s of work, 60 s idle; the second is still loading when the trace ends
    assert found.replica_hours * 3600 == pytest.approx(40 + 30 + 60, abs=3.0)
    assert found.launches == 2
    assert found.wait_max_s == pytest.approx(40.0, abs=1.1)


def test_the_same_seed_gives_the_same_run() -> None:
    setup = Setup(weather=Weather(cold_start_s=20.0, cold_start_cv=0.5, crashes_per_busy_hour=2.0, start_fails=0.1))
    jobs = invent("flash", days=0.1, load=3.0)
    first, second = (simulate(jobs, IdleTimeout(), setup) for _ in range(2))
    assert first == second
    assert first.crashes > 0


def test_every_job_runs_though_replicas_die_and_fail_to_start() -> None:
    setup = Setup(weather=Weather(cold_start_s=5.0, crashes_per_busy_hour=20.0, start_fails=0.3))
    jobs = poisson(0.1, 30.0, 500)
    found = simulate(jobs, tide_for(30.0, 0.9, setup.weather), setup)
    assert (found.jobs, found.unfinished) == (500, 0)
    assert found.crashes > 50


def test_tenants_share_and_the_shortest_goes_first() -> None:
    jobs = jobs_of(*[(0.0, 9.0), (0.0, 3.0), (0.0, 3.0), (0.0, 3.0)], tenants=(0, 1, 1, 1), names=("a", "b"))
    line = Line(jobs)
    for job in range(4):
        line.push(job)
    assert [line.pop() for _ in range(4)] == [0, 1, 2, 3]
    jobs = jobs_of((0.0, 50.0), (1.0, 5.0), (200.0, 1.0))
    line = Line(jobs)
    for job in range(3):
        line.push(job)
    assert [line.pop() for _ in range(3)] == [1, 0, 2], "shorter first, but who has waited long is not overtaken"


def test_models_share_what_there_is() -> None:
    at_s = [float(i) for i in range(400)]
    jobs = Jobs(
        name="two",
        at_s=at_s,
        run_s=[8.0] * 400,
        predicted_s=[8.0] * 400,
        model=[i % 2 for i in range(400)],
        models=("a", "b"),
    )
    setup = Setup(weather=Weather(cold_start_s=5.0), accelerators=9)
    found = simulate(jobs, tide_for(30.0, 0.95, setup.weather), setup)
    assert found.unfinished == 0
    assert max(row.replicas for row in found.rows) <= 9.0 + 1e-6


def test_a_trace_cut_out_at_full_load_does_not_begin_with_nobody_there() -> None:
    jobs = poisson(0.2, 40.0, 1200)
    weather = Weather(cold_start_s=90.0)
    cut, led = (
        simulate(jobs, tide_for(30.0, 0.99, weather), Setup(weather=weather, lead_in_s=lead_s)) for lead_s in (0, 600)
    )
    assert (cut.jobs, led.jobs) == (1200, 1200), "the lead-in counts in no figure"
    first = [sum(row.late for row in one.rows[:6]) for one in (cut, led)]
    assert first[0] > 10 > 2 >= first[1]
    assert cut.attained < led.attained
    fixed = simulate(jobs, Static(12), Setup(lead_in_s=600.0))
    assert fixed.replica_hours * 3600 == pytest.approx(12 * jobs.span_s, rel=0.001)
    assert fixed.rows[-1].until_s <= jobs.span_s + 120
    assert sum(row.arrivals for row in fixed.rows) <= 1200


# --- peers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", [Hpa(), Hpa("queue", 2.0), Keda(), Kpa(), RayServe(), IdleTimeout(), Static(9)])
def test_every_peer_serves_every_job_and_can_run_twice(peer: object) -> None:
    jobs = poisson(0.05, 40.0, 150)
    first, second = (simulate(jobs, peer, Setup()) for _ in range(2))  # type: ignore[arg-type]
    assert first.unfinished == 0
    assert first == second, "nothing is left over from the run before"


def test_peers_behave_as_their_sources_say() -> None:
    burst = jobs_of(*[(600.0, 60.0)] * 20, (4000.0, 1.0))
    setup = Setup(weather=Weather(cold_start_s=10.0), points=4000)

    def at(found: Outcome, second: float) -> float:
        return next(row.replicas for row in found.rows if row.until_s >= second)

    knative = simulate(burst, Kpa(), setup)
    assert knative.peak >= 25, "twenty in flight at 0.7 each; panic does not count what is loading"
    assert at(knative, 1500) == 0.0
    serve = simulate(burst, RayServe(), setup)
    assert at(serve, 400) == 1.0
    assert serve.peak >= 7, "about twenty in flight, two a replica, once it has agreed for thirty seconds"
    keda = simulate(burst, Keda(), setup)
    assert keda.wait_max_s > simulate(burst, IdleTimeout(), setup).wait_max_s, "a poll, and one first"


# --- our own ----------------------------------------------------------------------------------------------------------


def test_tide_keeps_the_objective_for_less_than_a_fixed_fleet_that_does() -> None:
    jobs = invent("tide", seed=3, days=0.5, load=5.0)
    setup = Setup(weather=Weather(cold_start_s=40.0))
    ours = simulate(jobs, tide_for(30.0, 0.98, setup.weather), setup)
    fixed = next(one for n in range(6, 40) if (one := simulate(jobs, Static(n), setup)).attained >= 0.98)
    assert ours.attained >= 0.975
    assert ours.replica_hours < 0.8 * fixed.replica_hours
    assert ours.stopped_busy == 0


def test_a_laxer_objective_costs_less() -> None:
    jobs = invent("walk", seed=2, days=0.25, load=4.0)
    lax, strict = (simulate(jobs, tide_for(30.0, share), Setup()) for share in (0.8, 0.99))
    assert lax.replica_hours < strict.replica_hours
    assert lax.attained < strict.attained


def test_it_goes_to_zero_in_silence() -> None:
    jobs = jobs_of(*[(10.0 * i, 5.0) for i in range(60)], (40_000.0, 1.0))
    found = simulate(jobs, tide_for(30.0, 0.9), Setup(points=2000))
    assert all(row.replicas == 0 for row in found.rows if 15_000 < row.until_s < 39_000)


def test_jobs_are_done_when_they_were_told() -> None:
    jobs = invent("flash", seed=4, days=0.4, load=8.0)
    found = simulate(jobs, tide_for(30.0, 0.95), Setup(foretells=True))
    assert found.eta_held50 is not None
    assert found.eta_held90 is not None
    assert 0.42 <= found.eta_held50 <= 0.58
    assert 0.85 <= found.eta_held90 <= 0.95


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_nobody_beats_the_bounds() -> None:
    jobs = invent("onoff", days=0.12, load=3.0)
    asked = {"wait_s": 30.0, "cold_start_s": 40.0}
    feasible = greedy(jobs, **asked).replica_hours
    assert feasible >= sum(jobs.run_s) / 3600
    fixed = next(one for n in range(3, 60) if (one := simulate(jobs, Static(n), Setup())).attained == 1.0)
    assert feasible < fixed.replica_hours
    pytest.importorskip("scipy")
    lower = relaxed(jobs, share=1.0, **asked).replica_hours
    assert lower < feasible
    laxer = relaxed(jobs, share=0.9, **asked).replica_hours
    assert laxer < lower
    ours = simulate(jobs, tide_for(30.0, 0.9, Weather(cold_start_s=40.0)), Setup())
    assert ours.attained >= 0.9
    assert laxer < ours.replica_hours


def test_the_lower_bound_is_below_every_schedule_of_a_few_jobs() -> None:
    pytest.importorskip("scipy")
    chance, wait_s, cold_s = Random(7), 30.0, 40.0
    for _ in range(12):
        told = sorted((chance.uniform(0, 400), chance.uniform(5, 150)) for _ in range(6))
        jobs = jobs_of(*told, (700.0, 1.0))  # all else is over before the last comes: until then it counts
        lower = relaxed(jobs, wait_s=wait_s, cold_start_s=cold_s, step_s=10.0).replica_hours * 3600
        cheapest = math.inf
        for _ in range(300):
            begins = [at + chance.choice((0.0, chance.uniform(0, wait_s), wait_s)) for at, _ in told]
            cheapest = min(cheapest, bill(list(zip(begins, [run for _, run in told], strict=True)), cold_s))
        assert lower <= cheapest + 1e-6
        assert lower >= 0.8 * sum(run for _, run in told), "it is a bound worth having"


def bill(runs: list[tuple[float, float]], cold_s: float) -> float:
    """What these runs cost at least: each follows on another if the gap costs less than a start. First starts are free
    in the bound, so the cheapest launches are here as many as ran at once at most."""
    free: list[float] = []
    cost_s, launches = 0.0, 0
    for begin_s, run_s in sorted(runs):
        there = [at for at in free if at <= begin_s and begin_s - at < cold_s]
        cost_s += run_s
        if there:
            free.remove(max(there))
            cost_s += begin_s - max(there)
        else:
            launches += 1
        free.append(begin_s + run_s)
    return cost_s + cold_s * launches


# --- traces -----------------------------------------------------------------------------------------------------------


def test_a_trace_of_jobs_is_read_and_written_as_it_is(tmp_path: Path) -> None:
    jobs = jobs_of((0.5, 2.0), (3.25, 4.0))
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress("".join(lines(jobs)).encode()))
    again = read_trace(path)
    assert list(again.at_s) == [0.0, 2.75], "it begins with its first job"
    assert (list(again.run_s), list(again.predicted_s)) == ([2.0, 4.0], [2.0, 4.0])


def test_jobs_out_of_order_are_put_in_order_with_all_that_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("t,seconds,tenant,model\n9.5,3,b,m\n2.5,1,a,n\n4.5,-1,a,n\n\n4.5,2,b,m\n,7,a,m\n1.5,8,b\n")
    jobs = read_trace(path, Reading(by_model=True))
    assert (list(jobs.at_s), list(jobs.run_s)) == ([0.0, 1.0, 3.0, 8.0], [8.0, 1.0, 2.0, 3.0])
    assert [jobs.tenants[i] for i in jobs.tenant] == ["b", "a", "b", "b"]
    assert [jobs.models[i] for i in jobs.model] == ["model", "n", "m", "m"]
    assert "1 left out that never ran" in jobs.note


def test_of_few_jobs_it_says_that_they_prove_little() -> None:
    few = compare(jobs_of((0.0, 5.0)), ["static-1"], Objective(), Setup(lead_in_s=600.0), with_bound=False)
    assert few.subtitle.startswith("1 job in 0 seconds")
    assert few.summary.endswith("Little is proved by 1 job: for a share of 99 % take 500 or more.")
    assert few.outcomes[0].utilization <= 1.0


def test_predictions_of_a_trace_without_any_are_learnt_from_the_past_only(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,seconds,model\n" + "".join(f"{i}.5,{10 + 40 * (i % 2)},m{i % 2}\n" for i in range(60)))
    jobs = read_trace(path)
    assert jobs.predicted_s[0] == 30.0, "nothing is known of the first"
    assert jobs.predicted_s[-1] == pytest.approx(50.0, rel=0.2)


def test_a_trace_of_rates_becomes_jobs_at_that_rate(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("t,count\n" + "".join(f"{600 * i},{100 if i < 72 else 300}\n" for i in range(144)))
    jobs = read_trace(path, Reading(load=5.0))
    assert jobs.load == pytest.approx(5.0, rel=0.15)
    early = sum(at_s < 600 * 71 for at_s in jobs.at_s)
    assert (len(jobs) - early) / early == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "odd.csv is empty; its first line names the columns"),
        ("a,b\n1,2\n", "no column of times.* are: a, b"),
        ("t;seconds\n1;2\n", "no column of times.*separated by commas, are: t;seconds"),
        ("t,seconds\n1,2\nsoon,2\n", "odd.csv, line 3: t is 'soon', and should be seconds, or a date"),
        ("t,seconds\n\n1,later\n", "odd.csv, line 3: seconds is 'later', and should be a number"),
        ("t,seconds\n1,inf\n", "line 2: seconds is 'inf'"),
        ("t,seconds\nnan,1\n", "line 2: t is 'nan'"),
        ("t,seconds\n1,2,\xff\n", "not a text in UTF-8"),
        ("t,seconds\n", "no jobs"),
        ("t,count\n0,5\n", "two lines"),
    ],
)
def test_a_trace_that_makes_no_sense_says_what_is_missing(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=says):
        read_trace(path)


@pytest.mark.parametrize("family", FAMILIES)
def test_invented_traces_have_the_load_that_was_asked_for(family: str) -> None:
    jobs = invent(family, days=1.0, load=4.0)
    assert jobs.load == pytest.approx(4.0, rel=0.5)
    assert list(jobs.at_s) == sorted(jobs.at_s)


def test_a_tuned_peer_is_the_cheapest_of_its_settings_that_keeps_the_objective() -> None:
    jobs = invent("tide", seed=4, days=0.1, load=3.0)
    objective = Objective(share=0.95)
    found = compare(jobs, ["static-tuned", "static-4"], objective, Setup(), with_bound=False)
    tuned, fixed = found.outcomes
    assert tuned.policy == "static-tuned"
    assert tuned.attained >= 0.95
    assert all(
        one.attained < 0.95 or one.replica_hours >= tuned.replica_hours
        for one in (simulate(jobs, other, Setup()) for other in static_grid(jobs))
    )
    assert "several settings" in found.described
    assert "several settings" not in compare(jobs, ["static-4"], objective, Setup(), with_bound=False).described
    assert fixed.peak == 4


def test_tuning_finds_settings_that_keep_the_objective_with_some_to_spare() -> None:
    jobs = invent("steady", seed=3, days=0.04, load=2.0)
    setup = Setup(weather=Weather(cold_start_s=40.0))
    heard: list[str] = []
    found = tune(jobs, Objective(share=0.9), setup, told=lambda name, _: heard.append(name))
    assert found.keeps
    assert found.attained >= 0.9
    assert found.tried <= 16, "bounded, so that one can wait for it"
    assert any(name.startswith("queue") for name in heard), "the simpler policies were tried too"
    lines = tomllib.loads(found.lines)["models"]["MODEL"]
    told = Config.model_validate({"models": {"toy": {"engine": "synthetic", **lines}}}).models["toy"]
    assert (told.scaling.policies, told.max_replicas) == ([found.settings.policy], found.max_replicas)
    assert told.idle_s == found.settings.idle_s, "else idle workers stay for five minutes, which the trace did not pay"


def test_of_a_long_trace_tuning_takes_the_newest_jobs() -> None:
    few = newest(jobs_of(*[(10.0 * i, float(i + 1)) for i in range(9)]), 3)
    assert (list(few.at_s), list(few.run_s)) == ([0.0, 10.0, 20.0], [7.0, 8.0, 9.0])


def test_a_policy_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="tide, queue"):
        named("magic", 30.0, 0.99, Weather())

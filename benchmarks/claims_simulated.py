"""The simulated half of the claims: the product's own policies on invented days, on a seed of their own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from springtide.policy.elastic import tide
from springtide.policy.elastic.bounds import Bounds
from springtide.policy.elastic.named import bound
from springtide.sim.pool.arrivals import Sizes, sized
from springtide.sim.pool.chance import seeded
from springtide.sim.pool.compare import LEAD_IN_S
from springtide.sim.pool.contenders import Ours, tide_for
from springtide.sim.pool.engine import Contender, Setup, simulate
from springtide.sim.pool.families import invent
from springtide.sim.pool.jobs import Jobs
from springtide.sim.pool.outcome import Outcome
from springtide.sim.pool.peers.serving import Static
from springtide.sim.pool.weather import Weather

SEED = 11
COLD_S = 40.0
WAIT_S, SHARE = 30.0, 0.99
SIX_MINUTES_S = 360.0
A_DAY, DAYS = 5_000, 3.0
PICTURE_S = 1.8  # of a picture of 2 megapixels through GPEN on a T4, as www.mynw.cn/news/915285.html has it
ANSWER_S = 30.0  # after which nobody waits for a picture any more
ENOUGH = 0.95
BUSY_LOAD = 0.3  # of one replica in the mean: at high tide it is asked for a little more than it can do
WAVES, WAVE_S = 60, 30.0  # of users who ask again every half minute, for half an hour


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet: seconds of response, the most requests at once, share of replicas in use."""

    mean_s: float
    p95_s: float
    p99_s: float
    used: float
    at_once: int


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """Figures; seconds and replica hours are those of the simulated world."""

    an_hour: dict[int, float]
    tide_wait_s: float
    tide_wait_p99_s: float
    tide_hours: float
    fixed_hours: float
    fixed_replicas: int
    hundred_s: float
    static: Pair
    elastic: Pair


def simulated(*, quick: bool = False) -> Simulated:
    """All of it: half a CPU minute."""
    days = 0.2 if quick else DAYS
    setup = Setup(weather=Weather(cold_start_s=COLD_S), wait_s=WAIT_S, lead_in_s=LEAD_IN_S)
    jobs = invent("tide", seed=SEED, days=days, load=A_DAY * 60.0 / 86_400)
    elastic = simulate(jobs, tide_for(WAIT_S, SHARE, setup.weather), setup)
    replicas, fixed = _least_fixed(jobs, setup)
    hundred = simulate(_pictures([0.0] * 100), Static(4), Setup(weather=Weather(cold_start_s=0.0)))
    return Simulated(
        an_hour={count: _an_hour(count) for count in (1, 8, 12)},
        tide_wait_s=elastic.wait_mean_s,
        tide_wait_p99_s=elastic.wait_p99_s,
        tide_hours=elastic.replica_hours / days,
        fixed_hours=fixed.replica_hours / days,
        fixed_replicas=replicas,
        hundred_s=hundred.wait_mean_s + PICTURE_S,
        static=_pair(Static(1), days),
        elastic=_pair(_one_to_three(), days),
    )


def _an_hour(workers: int) -> float:
    """Jobs an hour of a fixed fleet that always has work: all jobs are there at once."""
    chance = seeded("six minutes", SEED)
    jobs = sized("six minutes", [0.0] * (workers * 60), Sizes(mean_s=SIX_MINUTES_S, cv=0.1), chance=chance)
    ended = simulate(jobs, Static(workers), Setup(weather=Weather(cold_start_s=0.0), wait_s=1e9))
    took_s = ended.wait_max_s + SIX_MINUTES_S
    return len(jobs) / took_s * 3600


def _least_fixed(jobs: Jobs, setup: Setup) -> tuple[int, Outcome]:
    """The smallest fixed fleet that keeps the objective, which its owner had to know beforehand."""
    replicas = max(1, round(jobs.load))
    while True:
        found = simulate(jobs, Static(replicas), setup)
        if found.attained >= SHARE:
            return replicas, found
        replicas += 1


def _one_to_three() -> Contender:
    settings = tide.TideSettings(
        bounds=Bounds(min_replicas=1, max_replicas=3), wait_s=5.0, share=0.95, cold_start_s=COLD_S, run_s=PICTURE_S
    )
    return Ours(policy=bound(settings), initial=1)


def _pair(fleet: Contender, days: float) -> Pair:
    day = invent("short", seed=SEED, days=days, load=BUSY_LOAD * 4.0 / PICTURE_S)
    alike = msgspec.structs.replace(day, run_s=[PICTURE_S] * len(day), predicted_s=[PICTURE_S] * len(day))
    found = simulate(alike, fleet, Setup(weather=Weather(cold_start_s=COLD_S), wait_s=ANSWER_S, lead_in_s=LEAD_IN_S))
    return Pair(
        mean_s=found.wait_mean_s + PICTURE_S,
        p95_s=found.wait_p95_s + PICTURE_S,
        p99_s=found.wait_p99_s + PICTURE_S,
        used=found.utilization,
        at_once=_most_at_once(fleet),
    )


def _most_at_once(fleet: Contender) -> int:
    """The most users who ask in one moment, every half minute for half an hour, of whom 95 % are answered in time. The
    first waves of an elastic fleet fail while it loads."""
    within = [count for count in range(1, 80) if _answered(fleet, count) >= ENOUGH]
    return max(within, default=0)


def _answered(fleet: Contender, count: int) -> float:
    setup = Setup(weather=Weather(cold_start_s=COLD_S), wait_s=ANSWER_S - PICTURE_S)
    at_s = [60.0 + WAVE_S * wave for wave in range(WAVES) for _ in range(count)]
    return simulate(_pictures(at_s), fleet, setup).attained


def _pictures(at_s: Sequence[float]) -> Jobs:
    lengths: Sequence[float] = [PICTURE_S] * len(at_s)
    return Jobs(name="pictures", at_s=at_s, run_s=lengths, predicted_s=lengths)

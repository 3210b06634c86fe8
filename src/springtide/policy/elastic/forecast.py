"""How many jobs will come over the next seconds to minutes: a mean, and how far it may be off.

Several simple forecasters run side by side: levels that forget within one, four and twenty minutes, with and without
the season (the rate at this time of day, and of this weekday, learnt from the days before). Each is a Gamma–Poisson
model, so its forecast of a count is negative binomial in closed form. They are weighted by how well they have
foretold the last half hour or so, so a smooth tide is followed smoothly and a burst within a minute, without a
setting for it. How much more the counts spread than that (clumps) is measured as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from springtide.policy.elastic.limits import between
from springtide.policy.elastic.season import LEAST_RATE, Season, learn, rates

SCORE_EVERY_S = 30.0
SCORE_KEPT = 0.985  # of what is known about who foretells best, from one score to the next: half of it after 23 minutes
SPREAD_KEPT = 0.998  # the same for how far counts spread: half after three hours
STALE_SCORE_S = 150.0  # nobody looked for so long: no forecast was made for that
MOST_SPREAD = 20.0
TAUS_S = (60.0, 240.0, 1200.0)
FIRST_S = 30.0  # nothing at all is believed to have come before the first look
PRIOR = 1.0  # jobs' worth of trust in the long-run mean
SEASON_PRIOR = 4.0  # jobs' worth of trust in the season's figure


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """One of the forecasters as last judged."""

    weight: float = 1.0 / 6  # of the six: by how well they foretold
    score: float = 0.0  # decayed log-likelihood
    told: float = 0.0  # the rate that it foretold when the present scoring began; 0: it foretold nothing
    told_shape: float = 1.0


class Level(msgspec.Struct, frozen=True, array_like=True):
    """What came, against seconds and against what the season expected, all forgotten alike: two forecasters."""

    seen: float = 0.0
    flat_s: float = 0.0
    seasonal: float = 0.0


class ForecastMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the arrivals of one model."""

    at_s: float = 0.0
    arrived: int = 0
    mean_rate: float = 0.0  # jobs a second in the long run
    seen_s: float = 0.0  # for how long, at most a week
    levels: tuple[Level, ...] = (Level(),) * len(TAUS_S)
    judged: tuple[Judged, ...] = (Judged(),) * (2 * len(TAUS_S))  # of each level the flat forecaster, the seasonal one
    spread: float = 1.5  # variance of counts over that of the forecast; a little burst until it is known
    since_s: float = 0.0  # begin of what is being scored
    count: int = 0  # arrivals since then
    season: Season = msgspec.field(default_factory=Season)


class Forecast(msgspec.Struct, frozen=True):
    """Arrivals from now on: the rate now, its relative uncertainty, and the base that it follows."""

    rate: float  # jobs a second, now
    shape: float  # of the gamma law of the level: 1 / its squared relative error
    spread: float
    season_ahead: float  # by how much the season's rate changes in a second, as a share of it
    trust: float  # weight of the seasonal forecasters


def observe(memory: ForecastMemory, now_s: float, arrived: int) -> ForecastMemory:
    """Take in what has arrived since the last look (`arrived` is a counter; one that fell counts as no news)."""
    if memory.at_s == 0.0 and memory.arrived == 0 and memory.seen_s == 0.0:
        memory = msgspec.structs.replace(memory, at_s=now_s, since_s=now_s, arrived=0 if arrived < 50 else arrived)
    past_s = now_s - memory.at_s
    came = arrived - memory.arrived if arrived > memory.arrived else 0
    if past_s <= 0:
        return msgspec.structs.replace(memory, arrived=arrived, count=memory.count + came)
    seen_s = min(memory.seen_s + past_s, 604_800.0)
    mean_rate = memory.mean_rate + (came / past_s - memory.mean_rate) * past_s / (seen_s + FIRST_S)
    base = rates(memory.season, now_s, mean_rate)[0] * past_s
    memory = ForecastMemory(
        at_s=now_s,
        arrived=arrived,
        mean_rate=mean_rate,
        seen_s=seen_s,
        levels=tuple(
            [
                Level(level.seen * kept + came, level.flat_s * kept + past_s, level.seasonal * kept + base)
                for level, kept in zip(memory.levels, _kept(past_s), strict=True)
            ]
        ),
        judged=memory.judged,
        spread=memory.spread,
        since_s=memory.since_s,
        count=memory.count + came,
        season=learn(memory.season, now_s, came),
    )
    return _scored(memory) if now_s - memory.since_s >= SCORE_EVERY_S else memory


@lru_cache(maxsize=64)
def _kept(past_s: float) -> list[float]:
    """Shares that are not forgotten: looks come at the same pace."""
    return [math.exp(-past_s / tau_s) for tau_s in TAUS_S]


def forecast(memory: ForecastMemory, now_s: float) -> Forecast:
    """What is expected from now on: the mean of what the forecasters believe (`_beliefs`), by their weights."""
    base, slope = rates(memory.season, now_s, memory.mean_rate)
    prior_s = PRIOR / (memory.mean_rate if memory.mean_rate > LEAST_RATE else LEAST_RATE)
    rate = square = trust = 0.0
    judged = iter(memory.judged)
    for level in memory.levels:
        seen, weight = level.seen, next(judged).weight
        shape = PRIOR + seen
        one = shape / (prior_s + level.flat_s)
        rate += weight * one
        square += weight * one * one * (1 + 1 / shape)
        weight = next(judged).weight
        shape = SEASON_PRIOR + seen
        one = base * shape / (SEASON_PRIOR + level.seasonal)
        rate += weight * one
        square += weight * one * one * (1 + 1 / shape)
        trust += weight
    if rate <= 0:
        return Forecast(0.0, 1.0, memory.spread, 0.0, 0.0)
    ahead = between(-1e-3, slope / base, 1e-3) * trust
    error = square / (rate * rate) - 1
    return Forecast(rate, 1 / (error if error > 1e-6 else 1e-6), memory.spread, ahead, trust)


def _beliefs(levels: tuple[Level, ...], base: float, mean_rate: float) -> list[tuple[float, float]]:
    """Rate and shape that each forecaster believes in."""
    found: list[tuple[float, float]] = []
    prior_s = PRIOR / max(mean_rate, LEAST_RATE)
    for level in levels:
        seen = level.seen
        flat, seasonal = PRIOR + seen, SEASON_PRIOR + seen
        found.append((flat / (prior_s + level.flat_s), flat))
        found.append((base * seasonal / (SEASON_PRIOR + level.seasonal), seasonal))
    return found


def _scored(memory: ForecastMemory) -> ForecastMemory:
    """Judge the forecasters by the count since the last judgement, as each foretold it then, and let them foretell."""
    past_s = memory.at_s - memory.since_s
    base, _ = rates(memory.season, memory.at_s, memory.mean_rate)
    is_known = past_s <= STALE_SCORE_S and all(judged.told > 0 for judged in memory.judged)
    mean = variance = 0.0
    scores: list[float] = []
    for judged in memory.judged:
        score = judged.score
        if is_known:
            expected = judged.told * past_s
            score = score * SCORE_KEPT + _log_likelihood(memory.count, expected, judged.told_shape)
            mean += judged.weight * expected
            variance += judged.weight * (expected + expected * expected / judged.told_shape)
        scores.append(score)
    spread = memory.spread
    if mean > 0:
        excess = min((memory.count - mean) ** 2 / max(variance, 0.25), 50.0)
        spread += (1 - SPREAD_KEPT) * min(4.0, 1.0 + mean) * (excess - spread)
    spread = max(1.0, min(MOST_SPREAD, spread))
    beliefs = _beliefs(memory.levels, base, memory.mean_rate)
    judged_now = [
        Judged(weight, score, rate, shape)
        for weight, score, (rate, shape) in zip(_weights(scores), scores, beliefs, strict=True)
    ]
    return msgspec.structs.replace(memory, judged=tuple(judged_now), spread=spread, since_s=memory.at_s, count=0)


def _weights(scores: Sequence[float]) -> list[float]:
    best = max(scores)
    raw = [math.exp(score - best if score - best > -30.0 else -30.0) for score in scores]
    total = sum(raw)
    return [one / total for one in raw]


def _log_likelihood(count: int, mean: float, shape: float) -> float:
    """Of a negative binomial count, less what is the same for all forecasters."""
    if mean < 1e-9:
        mean = 1e-9
    none = shape * math.log(shape / (shape + mean))
    if not count:
        return none
    return math.lgamma(count + shape) - math.lgamma(shape) + none + count * math.log(mean / (shape + mean))


def count_quantile(ahead: Forecast, seconds: float, z: float) -> float:
    """A quantile of how many jobs come within so many seconds; z is that of the normal law.

    Wilson–Hilferty on the gamma law with the mean and variance of the count (E. B. Wilson, M. M. Hilferty, PNAS 17,
    1931).
    """
    mean = ahead.rate * max(0.1 * seconds, seconds + ahead.season_ahead / 2 * seconds * seconds)
    if mean <= 1e-12:
        return 0.0
    over = ahead.spread / mean + 1 / ahead.shape
    root = 1 - over / 9 + z / 3 * math.sqrt(over)
    return mean * root * root * root if root > 0 else 0.0

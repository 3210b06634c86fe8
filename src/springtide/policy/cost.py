"""How long a job will run, learnt from those that have: a median and a 90 % quantile, for one model.

The engine's own estimate is where it starts, and what it falls back to. On top of it a regression is learnt online in
logarithms, so products (frames × steps, pixels × scale) are straight lines and a wrong unit is an intercept. One
outlier moves it little (innovations are clipped), and old runs are forgotten, so it follows another card or another
version.

Recursive least squares with forgetting (Haykin, Adaptive Filter Theory, ch. 10), innovations clipped as in Huber's
M-estimator; the 90 % quantile is that of the last errors, wider while there are few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

KEPT = 0.99  # of each run's weight when the next comes: about the last hundred count
CLIP = 2.5  # robust standard deviations
ERRORS = 64  # last errors, for the quantile
FIRST_ERROR = 0.5  # assumed spread of log seconds about an engine's estimate: a factor of 1.6 either way
INTERCEPT_VARIANCE = 4.0  # an estimate may be wrong by any factor
SLOPE_VARIANCE = 0.1  # but is seldom wrong in how it grows
SHIFT_RUNS = 8  # by chance all but one of so many are off to the same side, and far, once in thousands of jobs
FEATURE_VARIANCE = 30.0  # features come as a tenth of their logarithm: half a power either way
MOST_SPREAD = 40.0  # bound of the weights' variance: forgetting must not blow up what is never excited
LEAST_S, MOST_S = 0.001, 7 * 86_400.0
Z90 = 1.2816  # the normal quantile of 0.9
USEFUL_AFTER = 5  # runs
FAR = 2.3  # a factor of ten
MOST_FEATURES = 8  # each makes learning a little dearer, and needs runs of its own to be told from the others


class CostMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is learnt of one model; JSON can hold it."""

    names: tuple[str, ...] = ()  # features, in the order of the weights after the first two
    weights: tuple[float, ...] = ()
    variance: tuple[tuple[float, ...], ...] = ()
    errors: tuple[float, ...] = ()  # log seconds, as foretold less as they were, newest last
    scale: float = FIRST_ERROR
    jobs: int = 0
    least_off: float = 0.0  # log seconds, as they were less the engine's estimate: the least
    most_off: float = 0.0  # and the most


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Run seconds of one job. jobs: how many runs it rests on; 0: only on the engine's estimate."""

    median_s: float
    p90_s: float
    jobs: int


def predict(memory: CostMemory, features: Mapping[str, float], estimate_s: float) -> Prediction:
    """Never fails and never gives nonsense: from the first job on a figure between a millisecond and a week."""
    estimate_s = _sane(estimate_s)
    if not memory.jobs:
        return Prediction(median_s=estimate_s, p90_s=_sane(estimate_s * math.exp(Z90 * FIRST_ERROR)), jobs=0)
    middle = _middle(memory, features, estimate_s)
    return Prediction(median_s=_raised(middle), p90_s=_raised(middle + _above(memory)), jobs=memory.jobs)


def middle_s(memory: CostMemory, features: Mapping[str, float], estimate_s: float) -> float:
    """The median alone: a third of the time, for whoever asks with every job."""
    estimate_s = _sane(estimate_s)
    return _raised(_middle(memory, features, estimate_s)) if memory.jobs else estimate_s


def _middle(memory: CostMemory, features: Mapping[str, float], estimate_s: float) -> float:
    """Logarithm of the median."""
    inputs = _inputs(memory.names, features, estimate_s)
    middle = sum(map(_product, memory.weights, inputs))
    # however odd the features: not further from the engine's own figure than any run has been, and a factor of ten
    return max(inputs[1] + memory.least_off - FAR, min(inputs[1] + memory.most_off + FAR, middle))


def _above(memory: CostMemory) -> float:
    """How far the 90 % quantile is above that."""
    ordered = sorted(memory.errors)
    high = ordered[min(len(ordered) - 1, math.ceil(0.9 * (len(ordered) + 1)) - 1)] if ordered else 0.0
    doubt = Z90 * memory.scale * (1 + USEFUL_AFTER / memory.jobs) if len(ordered) < 2 * USEFUL_AFTER else 0.0
    return max(high, doubt, 0.02)


def learn(memory: CostMemory, features: Mapping[str, float], estimate_s: float, *, run_s: float) -> CostMemory:
    """Take in one run that ended well. A run of no time, or no number, teaches nothing."""
    if not (math.isfinite(run_s) and run_s > 0):
        return memory
    estimate_s = _sane(estimate_s)
    if not memory.weights:
        memory = _begin(_named(features)[:MOST_FEATURES])
    elif not features.keys() <= set(memory.names):
        memory = _extended(memory, features)
    shifted = _shifted(memory)
    if shifted:
        fresh = _begin(memory.names)
        memory = msgspec.structs.replace(memory, variance=fresh.variance, errors=())
    inputs = _inputs(memory.names, features, estimate_s)
    spread = [sum(map(_product, row, inputs)) for row in memory.variance]
    gain_below = KEPT + sum(map(_product, spread, inputs)) / max(memory.scale, 0.05) ** 2
    error = math.log(_sane(run_s)) - sum(map(_product, memory.weights, inputs))
    off = math.log(_sane(run_s)) - inputs[1]
    limit = CLIP * memory.scale * (1 + USEFUL_AFTER / (memory.jobs + 1))
    clipped = max(-limit, min(limit, error)) if memory.jobs >= 2 and not shifted else error
    noise = max(memory.scale, 0.05) ** 2
    gain = [one / noise / gain_below for one in spread]
    weights = tuple(weight + one * clipped for weight, one in zip(memory.weights, gain, strict=True))
    trace = sum(row[i] - gain[i] * spread[i] for i, row in enumerate(memory.variance)) / KEPT
    shrunk = min(1.0, MOST_SPREAD * len(inputs) / max(trace, 1e-9)) / KEPT  # all alike: it must stay a variance
    variance = tuple(
        tuple((cell - gain[i] * spread[j]) * shrunk for j, cell in enumerate(row))
        for i, row in enumerate(memory.variance)
    )
    pace = max(0.05, 1 / (memory.jobs + 2))
    scale = memory.scale + pace * (
        min(abs(error), 2 * limit) * 1.2533 - memory.scale
    )  # 1.2533: sd of a normal law / mean deviation
    return CostMemory(
        names=memory.names,
        weights=weights,
        variance=variance,
        errors=(*memory.errors, error)[-ERRORS:],
        scale=max(0.02, scale),
        jobs=memory.jobs + 1,
        least_off=min(memory.least_off, off) if memory.jobs else off,
        most_off=max(memory.most_off, off) if memory.jobs else off,
    )


def _shifted(memory: CostMemory) -> bool:
    """Whether the last runs were all off to one side: another card, another version. One outlier is no such thing."""
    last = sorted(memory.errors[-SHIFT_RUNS:])
    return len(last) == SHIFT_RUNS and min(abs(last[1]), abs(last[-2])) > memory.scale / 2 and last[1] * last[-2] > 0


def _begin(names: tuple[str, ...]) -> CostMemory:
    """The engine's estimate as it is: weight one on it, none on the rest."""
    size = len(names) + 2
    own = [INTERCEPT_VARIANCE, SLOPE_VARIANCE, *([FEATURE_VARIANCE] * len(names))]
    return CostMemory(
        names=names,
        weights=(0.0, 1.0, *([0.0] * len(names))),
        variance=tuple(tuple(own[i] if i == j else 0.0 for j in range(size)) for i in range(size)),
    )


def _extended(memory: CostMemory, features: Mapping[str, float]) -> CostMemory:
    """With features that were not known before: what is learnt of the others stays."""
    names = (*memory.names, *(name for name in _named(features) if name not in memory.names))[:MOST_FEATURES]
    fresh, old = _begin(names), len(memory.weights)
    variance = tuple(
        (*memory.variance[i], *([0.0] * (len(fresh.weights) - old))) if i < old else fresh.variance[i]
        for i in range(len(fresh.weights))
    )
    weights = (*memory.weights, *fresh.weights[old:])
    return msgspec.structs.replace(memory, names=names, weights=weights, variance=variance)


def _inputs(names: tuple[str, ...], features: Mapping[str, float], estimate_s: float) -> list[float]:
    return [1.0, math.log(estimate_s), *(_log(features.get(name, 0.0)) for name in names)]


def _named(features: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted(features))


def _log(value: float) -> float:
    """Zero for nothing and for nonsense; grows as the logarithm. A tenth, so that pixels do not drown seconds."""
    return math.log1p(value) / 10 if math.isfinite(value) and value > 0 else 0.0


def _sane(seconds: float) -> float:
    return max(LEAST_S, min(MOST_S, seconds)) if math.isfinite(seconds) else 1.0


def _raised(log_s: float) -> float:
    return _sane(math.exp(max(-20.0, min(20.0, log_s))))


def _product(a: float, b: float) -> float:
    return a * b

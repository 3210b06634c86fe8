"""Families of invented traces: what traffic may look like, with a seed. For development and for tests of a policy on
arrivals that nobody tuned it on.

Every family takes the mean load in replicas, so that a day of it can be as small or as large as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from springtide.domain.errors import ConfigError
from springtide.sim.pool.arrivals import Sizes, renewal, sized
from springtide.sim.pool.chance import Chance, seeded
from springtide.sim.pool.jobs import Jobs

DAY_S = 86_400.0
STEP_S = 60.0
Rate = Callable[[list[float], Chance], list[float]]


def _tide(times: list[float], chance: Chance) -> list[float]:
    """Two peaks a day, morning and evening, never quite the same, with short bursts."""
    days = int(times[-1] / DAY_S) + 1
    shape = [
        (chance.lognormvariate(0, 0.15), chance.lognormvariate(0, 0.15), chance.gauss(0, 0.25)) for _ in range(days)
    ]
    bursts = [(chance.uniform(0, times[-1]), chance.uniform(180, 720)) for _ in range(3 * days)]
    rates: list[float] = []
    for t in times:
        morning, evening, shift = shape[min(days - 1, int(t / DAY_S))]
        hour = t % DAY_S / 3600 - shift
        rate = 0.05 + 0.8 * morning * _bell(hour, 10, 1.3) + evening * _bell(hour, 20, 1.6)
        rates.append(rate * (2.0 if any(at <= t < at + long for at, long in bursts) else 1.0))
    return rates


def _weekly(times: list[float], chance: Chance) -> list[float]:
    """Office hours from Monday to Friday, little at weekends."""
    return [
        0.08 + (0.25 if t / DAY_S % 7 >= 5 else 1.0) * max(0.0, math.sin((t % DAY_S / 3600 - 7) / 12 * math.pi))
        for t in times
    ]


def _flash(times: list[float], chance: Chance) -> list[float]:
    """A quiet level with crowds that come within a minute, ten times as many, and leave slowly."""
    crowds = [chance.uniform(0, times[-1]) for _ in range(max(1, int(times[-1] / 10_800)))]
    sizes = [chance.uniform(4, 12) for _ in crowds]
    return [
        1.0
        + sum(size * math.exp(-(t - at) / 600) for at, size in zip(crowds, sizes, strict=True) if 0 <= t - at < 3600)
        for t in times
    ]


def _onoff(times: list[float], chance: Chance) -> list[float]:
    """Work for some minutes, nothing for some more."""
    rates: list[float] = []
    until, on = 0.0, False
    for t in times:
        if t >= until:
            on = not on
            until = t + chance.expovariate(1 / (900 if on else 2400))
        rates.append(1.0 if on else 0.0)
    return rates


def _walk(times: list[float], chance: Chance) -> list[float]:
    """A level that wanders: a random walk in its logarithm that is drawn back slowly."""
    level, rates = 0.0, list[float]()
    for _ in times:
        level += chance.gauss(0, 0.06) - 0.002 * level
        rates.append(math.exp(level))
    return rates


def _silence(times: list[float], chance: Chance) -> list[float]:
    """Almost nothing, and now and then an hour of work."""
    hours = [chance.uniform(0, times[-1]) for _ in range(max(1, int(times[-1] / 28_800)))]
    return [0.02 + float(any(at <= t < at + 3600 for at in hours)) for t in times]


def _ramp(times: list[float], chance: Chance) -> list[float]:
    """Slowly up for days, with a plateau, and down."""
    end = times[-1]
    return [0.1 + min(1.0, 2.5 * t / end, 2.5 * (1 - t / end)) for t in times]


def _steady(times: list[float], chance: Chance) -> list[float]:
    """The same all the time."""
    return [1.0] * len(times)


def _hourly(times: list[float], chance: Chance) -> list[float]:
    """A background, and every hour on the hour somebody's scheduled batch."""
    return [0.4 + (5.0 if t % 3600 < 240 else 0.0) for t in times]


# name: (rate, coefficient of variation of the gaps, run times)
FAMILIES: dict[str, tuple[Rate, float, Sizes]] = {
    "tide": (_tide, 1.0, Sizes(cv=0.6)),
    "weekly": (_weekly, 1.3, Sizes()),
    "flash": (_flash, 1.0, Sizes()),
    "onoff": (_onoff, 1.0, Sizes()),
    "walk": (_walk, 1.5, Sizes()),
    "silence": (_silence, 1.0, Sizes()),
    "ramp": (_ramp, 1.0, Sizes()),
    "steady": (_steady, 1.0, Sizes()),
    "hourly": (_hourly, 1.0, Sizes()),
    "heavy": (_tide, 1.0, Sizes(mean_s=30.0, cv=1.0, heavy=0.05)),
    "clumps": (_weekly, 3.0, Sizes(mean_s=20.0)),
    "short": (_tide, 1.0, Sizes(mean_s=4.0, cv=0.5)),
    "long": (_tide, 1.0, Sizes(mean_s=240.0, cv=0.7)),
}


def invent(family: str, *, seed: int = 1, days: float = 3.0, load: float = 6.0) -> Jobs:
    """One trace of a family. load: mean number of replicas that it keeps busy. Raises ConfigError for another name."""
    if family not in FAMILIES:
        raise ConfigError(f"no family of traces is called {family!r}; there are: {', '.join(FAMILIES)}")
    rate, cv, sizes = FAMILIES[family]
    chance = seeded(family, seed)
    times = [i * STEP_S for i in range(int(days * DAY_S / STEP_S) + 1)]
    shape = rate(times, chance)
    mean = sum(shape) / len(shape)
    mean_s = sizes.mean_s * (1 + 9 * sizes.heavy)
    rates = [one / mean * load / mean_s for one in shape]
    note = f"invented: family {family}, seed {seed}, {days:g} days, mean load {load:g}"
    return sized(f"{family}-{seed}", renewal(times, rates, cv=cv, chance=chance), sizes, chance=chance, note=note)


def _bell(hour: float, middle: float, width: float) -> float:
    return math.exp(-0.5 * ((hour - middle) / width) ** 2)

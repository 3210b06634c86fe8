"""What a replica may meet: how long its start takes, whether it comes up, when it dies."""

from __future__ import annotations

import math

import msgspec

from springtide.sim.pool.chance import Chance


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """Cold starts and failures of a pool."""

    cold_start_s: float = 40.0  # mean, where there are no samples
    cold_start_cv: float = 0.0  # of a log-normal spread about it
    cold_starts_s: tuple[float, ...] = ()  # as measured: drawn from instead
    start_fails: float = 0.0  # share of starts that end in a crash when they should be ready
    crashes_per_busy_hour: float = 0.0  # of a replica that runs a job; the job goes back into the queue

    def start_s(self, chance: Chance) -> float:
        """How long one start takes."""
        if self.cold_starts_s:
            return chance.choice(self.cold_starts_s)
        if self.cold_start_cv <= 0:
            return self.cold_start_s
        spread = math.sqrt(math.log1p(self.cold_start_cv**2))
        return self.cold_start_s * math.exp(spread * chance.gauss(0.0, 1.0) - spread * spread / 2)

    @property
    def expected_s(self) -> float:
        """Mean start."""
        return sum(self.cold_starts_s) / len(self.cold_starts_s) if self.cold_starts_s else self.cold_start_s

    @property
    def p90_s(self) -> float:
        """What nine of ten starts keep to."""
        if self.cold_starts_s:
            return sorted(self.cold_starts_s)[min(len(self.cold_starts_s) - 1, int(0.9 * len(self.cold_starts_s)))]
        if self.cold_start_cv <= 0:
            return self.cold_start_s
        spread = math.sqrt(math.log1p(self.cold_start_cv**2))
        return self.cold_start_s * math.exp(1.2816 * spread - spread * spread / 2)  # the normal quantile of 0.9

    def crash_after_s(self, run_s: float, chance: Chance) -> float | None:
        """When, after its begin, a run of so many seconds kills its replica; None: it ends."""
        if self.crashes_per_busy_hour <= 0:
            return None
        after_s = chance.expovariate(self.crashes_per_busy_hour / 3600)
        return after_s if after_s < run_s else None

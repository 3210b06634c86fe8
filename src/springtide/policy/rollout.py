"""Two versions of one model: which of them a job is for, and whether the new one is worse (`judge`).

Which: a hash of what is sticky (the tenant, or the job) and of the rollout's two names falls on a place between 0 and
100, and the canary has the places below its weight. So no state is kept, every gateway chooses alike, and a greater
weight only adds to those that the canary has.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import msgspec

from springtide.domain.ids import ModelName
from springtide.domain.rollout import Margins, Measured, Rollout, RolloutState, Sample, VersionState

LEVEL = 0.01  # of rollouts of two versions that are alike, so many at most are aborted
GROWTH = 1.25  # from look to look: few looks, and none long after a canary has turned bad
_PLACES = 2.0**64 / 100.0


def place_of(salt: bytes, key: str) -> float:
    """Where a key falls, from 0 to 100, as if by chance."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, key=salt).digest()) / _PLACES


def salt_of(model: ModelName, canary: str) -> bytes:
    """What makes each rollout choose others than the one before; the same in every process."""
    return hashlib.blake2b(f"{model}@{canary}".encode(), digest_size=16).digest()


def floor_of(min_replicas: int, weight: float) -> int:
    """Of the workers that are kept alive when idle, those of a version with this weight: at least one where it has
    any."""
    return math.ceil(min_replicas * weight / 100.0)


def state_of(rollout: Rollout | None, version: str, *, first: str) -> VersionState:
    """What a version is in the last rollout of its model: `stable`, `canary`, `aborted`, `retired` (it was the stable
    one) or `declared` (nothing goes there but by name). first: the version of the model's own table."""
    if rollout is None:
        return "stable" if version == first else "declared"
    if version == rollout.serving:
        return "stable"
    if version == rollout.canary:
        return "canary" if rollout.is_running else "aborted"
    return "retired" if version == rollout.stable and rollout.state is RolloutState.PROMOTED else "declared"


# --- is the canary worse? ---------------------------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at both samples came to. `reason` is set where the rollout is to be aborted."""

    looks: int  # made, this one included
    looked_at_jobs: int  # of the canary's
    stable: Measured
    canary: Measured
    reason: str | None = None


def is_due(rollout: Rollout, jobs: int) -> bool:
    """Whether so many jobs of the canary are worth a look: the least number, and a quarter more than at the last."""
    return jobs >= max(rollout.margins.min_samples, math.ceil(GROWTH * rollout.looked_at_jobs))


def judge(rollout: Rollout, stable: Sample, canary: Sample) -> Verdict | None:
    """A look at how the versions do; None: too early for one.

    Two tests, each exact, without an assumption on how failures or times are distributed. Were both versions alike,
    every way to deal the outcomes out to them would be as likely as any other. So the chance that the canary gets at
    least as many of the failures as it has (Fisher's exact test), and that it has at least as many of the longest runs
    as were longer than `1 + margin` times the stable version's P95, are both known. A rollout is aborted where the
    canary is worse by more than the margin and that chance is below what this look may spend: LEVEL / 2 for each test,
    of which the nth look gets 1 / (n (n + 1)). Over all looks together, however many, versions that are alike are
    parted in at most LEVEL of all rollouts; the margin makes it far fewer.
    """
    margins = rollout.margins
    if not is_due(rollout, canary.jobs) or stable.jobs < margins.min_samples:
        return None
    looks = rollout.looks + 1
    level = LEVEL / 2 / (looks * (looks + 1))
    reason = _fails_more(stable, canary, margins, level) or _runs_longer(stable, canary, margins, level)
    return Verdict(
        looks=looks,
        looked_at_jobs=canary.jobs,
        stable=measured(stable),
        canary=measured(canary),
        reason=reason,
    )


def measured(sample: Sample) -> Measured:
    """A sample in figures."""
    return Measured(jobs=sample.jobs, failed=sample.failed, run_s_p95=p95(sample.runs_s))


def p95(runs_s: Sequence[float]) -> float | None:
    """By the nearest rank; None of nothing."""
    return sorted(runs_s)[_rank(len(runs_s))] if runs_s else None


def _rank(count: int) -> int:
    return min(count - 1, math.ceil(0.95 * count) - 1)


def _fails_more(stable: Sample, canary: Sample, margins: Margins, level: float) -> str | None:
    ours, theirs = canary.failed / canary.jobs, stable.failed / stable.jobs
    if ours <= theirs + margins.failure_rate:
        return None
    chance = chance_of(
        canary.failed, drawn=canary.jobs, marked=canary.failed + stable.failed, all=canary.jobs + stable.jobs
    )
    if chance > level:
        return None
    return (
        f"{canary.failed} of {canary.jobs} jobs failed ({ours:.1%}), of the stable version {stable.failed} of "
        f"{stable.jobs} ({theirs:.1%}): worse by more than {margins.failure_rate:.1%}, and {_rare(chance)} by chance"
    )


def _runs_longer(stable: Sample, canary: Sample, margins: Margins, level: float) -> str | None:
    least = margins.min_samples
    if len(canary.runs_s) < least or len(stable.runs_s) < least:
        return None
    times = sorted(stable.runs_s)
    theirs_s = times[_rank(len(times))]
    most_s = theirs_s * (1 + margins.p95)
    ours_s = p95(canary.runs_s)
    assert ours_s is not None
    if ours_s <= most_s:
        return None
    longer = sum(run_s > most_s for run_s in canary.runs_s)
    # At least `longer` of the canary's runs come before the stable version's own one at its P95, from the longest on:
    # so many are among the first `longer + rank` of all, of which `rank` or fewer are the stable version's.
    rank = len(times) - _rank(len(times))
    chance = chance_of(longer, drawn=len(canary.runs_s), marked=longer + rank - 1, all=len(canary.runs_s) + len(times))
    if chance > level:
        return None
    return (
        f"its P95 run is {ours_s:.3g} s, the stable version's {theirs_s:.3g} s: longer by more than "
        f"{margins.p95:.0%}, and {_rare(chance)} by chance"
    )


def _rare(chance: float) -> str:
    return f"once in {1 / chance:,.0f}" if chance > 1e-9 else "less than once in 1,000,000,000"


def chance_of(at_least: int, *, drawn: int, marked: int, all: int) -> float:
    """The chance that of `drawn` out of `all`, of which `marked` are marked, at least so many are marked ones: the tail
    of the hypergeometric distribution, exact to rounding."""
    most = min(drawn, marked)
    whole = _log_ways(all, drawn)
    terms = (
        math.exp(_log_ways(marked, n) + _log_ways(all - marked, drawn - n) - whole)
        for n in range(max(at_least, drawn + marked - all), most + 1)
    )
    return min(1.0, math.fsum(terms)) or math.ulp(0.0)


def _log_ways(all: int, chosen: int) -> float:
    if not 0 <= chosen <= all:
        return -math.inf
    return math.lgamma(all + 1) - math.lgamma(chosen + 1) - math.lgamma(all - chosen + 1)

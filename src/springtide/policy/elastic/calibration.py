"""How careful to be: learnt from the share of jobs that began in time, so that one default meets any objective.

Care is in standard deviations: `tide` adds it to the quantiles it plans with. A proportional part pays back what jobs
were late beyond the objective (and spends what is left of it), an integral part learns which care this traffic needs.
Both are measured against the jobs seen, so they move by jobs and not by time: a quiet night teaches little.
"""

from __future__ import annotations

import math

import msgspec

from springtide.policy.elastic.limits import between

AIM = 0.72  # of the late jobs that the objective allows: the rest is for what the last hour may bring
FIRST_CARE = 0.21  # for 99 % in time and starts of no time: what invented rounds need (docs/decisions/0060),
CARE_PER_SLOWNESS = 0.4  # and more for each of the objective's waits that a start takes,
MOST_SLOWNESS = 4.0  # up to so many
CARE_PER_FACTOR = 0.5  # more care for each factor e fewer late jobs: measured on the same
PROPORTIONAL = 1.0  # steeper swings care to and fro, and the late jobs of its lows outnumber those saved by its highs
HALF_AT = 3.0  # half of it where a start takes so many waits: jobs are late there by the crisis, and one says little
INTEGRAL = 0.7  # half a day has five times the jobs to trust: faster learns from chance
INTEGRAL_DOWN = 1.0  # faster where too few are late: what a bad hour taught is not kept all day
LATE_JOBS_TO_TRUST = 10.0  # allowed late jobs that must have been possible before the share means something
LATE_JOBS_KEPT = 200.0  # and after which older ones begin to be forgotten
MOST_EXCESS = 2.0  # of the late jobs allowed: what is late all day is learnt soon, a catastrophe not paid for all night
LEAST_CARE, MOST_CARE = -3.0, 6.0
MOST_LEARNT = 5.0


class Care(msgspec.Struct, frozen=True, kw_only=True):
    """Counters at the last look; jobs seen and late ones beyond the aim, both forgotten slowly; the care learnt."""

    started: int = 0
    late: int = 0
    jobs: float = 0.0
    debt: float = 0.0
    learnt: float = 0.0


def observe(care: Care, *, started: int, late: int, share: float) -> Care:
    """Take in jobs that began since the last look. share: of jobs that should begin in time."""
    began, missed = started - care.started, late - care.late
    if not began and not missed:
        return care
    if began <= 0 or missed < 0:
        return msgspec.structs.replace(care, started=started, late=late)
    allowed = AIM * (1 - share)
    kept = math.exp(-began * (1 - share) / LATE_JOBS_KEPT)
    jobs = care.jobs * kept + began
    trusted = jobs + LATE_JOBS_TO_TRUST / (1 - share)
    debt = min(care.debt * kept + missed - allowed * began, MOST_EXCESS * allowed * trusted)
    excess = between(-1.0, debt / (allowed * trusted), MOST_EXCESS)
    learnt = care.learnt + (INTEGRAL if excess > 0 else INTEGRAL_DOWN) * excess * began / trusted
    learnt = between(-MOST_LEARNT, learnt, MOST_LEARNT)
    return Care(started=started, late=late, jobs=jobs, debt=debt, learnt=learnt)


def level(care: Care, share: float, slowness: float) -> float:
    """Standard deviations to add. slowness: a cold start over the objective's wait; what is late while one goes on
    cannot be helped any more, so the slower, the more care there is from the begin.
    """
    allowed = AIM * (1 - share)
    trusted = care.jobs + LATE_JOBS_TO_TRUST / (1 - share)
    excess = between(-1.0, care.debt / (allowed * trusted), MOST_EXCESS)
    first = FIRST_CARE - CARE_PER_FACTOR * math.log((1 - share) / 0.01)
    slowness = min(slowness, MOST_SLOWNESS)
    first += CARE_PER_SLOWNESS * slowness
    proportional = PROPORTIONAL / (1 + slowness / HALF_AT)
    return between(LEAST_CARE, first + care.learnt + proportional * excess, MOST_CARE)

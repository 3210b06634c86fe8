"""Whether one more job may wait: a queue has a bound, and who is refused learns when to come back."""

from __future__ import annotations

import msgspec

SHORTEST_WAIT_S = 1.0  # `Retry-After` knows whole seconds
LONGEST_WAIT_S = 3600.0  # nobody plans by an estimate further out
SPARE = 20  # of a full queue a twentieth is to be free again, so that those refused do not all come back for one place


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Who waits for a model when another job knocks."""

    queued: int  # jobs of all tenants
    tenant_queued: int
    predicted_s: float  # of all that wait
    workers: int  # that are up


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job may not wait, and when another try makes sense."""

    is_tenants: bool  # whose limit it is: the tenant's, else the model's
    value: int
    waiting: int  # jobs that count towards it
    retry_after_s: float


def decide_admission(crowd: Crowd, *, model_limit: int | None, tenant_limit: int | None) -> Refusal | None:
    """None: it may wait. Limits are at least 1. Of two that are reached, the one that takes longer to clear is told."""
    refusals: list[Refusal] = []
    for is_tenants, waiting, value in (
        (False, crowd.queued, model_limit),
        (True, crowd.tenant_queued, tenant_limit),
    ):
        if value is not None and waiting >= value:
            leaving = waiting - value + 1 + value // SPARE
            after_s = _clearing_s(crowd, leaving, share=waiting / max(crowd.queued, waiting))
            refusals.append(Refusal(is_tenants=is_tenants, value=value, waiting=waiting, retry_after_s=after_s))
    return max(refusals, key=lambda refusal: refusal.retry_after_s, default=None)


def _clearing_s(crowd: Crowd, leaving: int, *, share: float) -> float:
    """Until so many jobs of this share of the queue have been taken. With no worker up, as if there were one: it is
    being started."""
    job_s = crowd.predicted_s / max(crowd.queued, 1)
    wait_s = leaving * job_s / (max(crowd.workers, 1) * share)
    return min(max(wait_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)

"""When a queue is full, and when to come back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from springtide.policy.admission import LONGEST_WAIT_S, SHORTEST_WAIT_S, Crowd, decide_admission

counts = st.integers(0, 10_000_000)
limits = st.none() | st.integers(1, 10_000_000)


def crowd(**changes: Any) -> Crowd:
    """A hundred jobs of 10 s, half of them one tenant's, and two workers."""
    fields: dict[str, Any] = {"queued": 100, "tenant_queued": 50, "predicted_s": 1000.0, "workers": 2}
    return Crowd(**(fields | changes))


def test_below_both_limits_a_job_may_wait() -> None:
    assert decide_admission(crowd(), model_limit=101, tenant_limit=51) is None
    assert decide_admission(crowd(), model_limit=None, tenant_limit=None) is None


def test_a_limit_that_is_reached_refuses_and_tells_when_a_twentieth_is_free() -> None:
    refusal = decide_admission(crowd(), model_limit=100, tenant_limit=51)
    assert refusal is not None
    assert (refusal.is_tenants, refusal.value, refusal.waiting) == (False, 100, 100)
    assert refusal.retry_after_s == (1 + 5) * 10 / 2


def test_a_tenants_jobs_leave_at_its_share_of_the_queue() -> None:
    refusal = decide_admission(crowd(), model_limit=101, tenant_limit=40)
    assert refusal is not None
    assert (refusal.is_tenants, refusal.value, refusal.waiting) == (True, 40, 50)
    assert refusal.retry_after_s == (50 - 40 + 1 + 2) * 10 / (2 * 0.5)


def test_of_two_limits_the_one_that_takes_longer_is_told() -> None:
    refusal = decide_admission(crowd(), model_limit=100, tenant_limit=10)
    assert refusal is not None and refusal.is_tenants


def test_without_a_worker_the_estimate_is_that_of_the_one_that_is_started() -> None:
    none, one = (decide_admission(crowd(workers=n), model_limit=100, tenant_limit=None) for n in (0, 1))
    assert none == one


@given(counts, counts, st.floats(0, 1e12), st.integers(0, 1000), limits, limits)
def test_a_job_is_refused_exactly_where_a_limit_is_reached(
    queued: int, of_tenant: int, predicted_s: float, workers: int, model_limit: int | None, tenant_limit: int | None
) -> None:
    now = Crowd(queued=queued, tenant_queued=of_tenant, predicted_s=predicted_s, workers=workers)
    refusal = decide_admission(now, model_limit=model_limit, tenant_limit=tenant_limit)
    reached = [limit is not None and n >= limit for n, limit in ((queued, model_limit), (of_tenant, tenant_limit))]
    assert (refusal is not None) == any(reached)
    if refusal is not None:
        assert reached[refusal.is_tenants]
        assert SHORTEST_WAIT_S <= refusal.retry_after_s <= LONGEST_WAIT_S

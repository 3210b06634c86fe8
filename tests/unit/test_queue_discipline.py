"""Properties of the queue's order, for any weights, costs, limits and arrivals (docs/queue-discipline.md).

On the embedded broker's jobs of one model; the contract suite compares the other brokers with the same rules, step by
step."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from springtide.broker.memory_events import Stories
from springtide.broker.memory_jobs import ModelJobs
from springtide.broker.memory_outcomes import Outcomes, Seqs
from springtide.broker.memory_waits import Waits
from springtide.domain.ids import TenantId
from springtide.domain.job import Priority
from springtide.domain.lease import Completion, Held, Lease, Ticket
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.fairness import LEAST_COST_S, MOST_DELAY_S, TURNS, class_order, jobs_ahead, order_key
from springtide.testing.broker_cases import ANN, MODEL, T0, job, ticket

weights = st.floats(min_value=0.01, max_value=1000, allow_nan=False)
predictions = st.integers(0, 4_000_000).map(lambda ms: ms / 1000)
classes = st.sampled_from(list(Priority))
tenants = st.sampled_from([TenantId(name) for name in "abcde"])
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def queue(*named: Tenant, max_running: int | None = None) -> ModelJobs:
    """One model's jobs."""
    seqs, waits = Seqs(), Waits()
    jobs = ModelJobs(MODEL, seqs=seqs, stories=Stories(waits), outcomes=Outcomes(), waits=waits)
    jobs.configure(Discipline(max_running=max_running, tenants=named))
    return jobs


def one(jobs: ModelJobs, now_s: float = T0) -> Lease | None:
    leases = jobs.lease(ANN, 1, now_s, 0.0)
    return leases[0] if leases else None


@slow
@given(st.lists(weights, min_size=2, max_size=8), st.data())
def test_over_a_thousand_jobs_no_tenant_is_off_its_share_by_more_than_a_few_jobs(chosen: list[float], data) -> None:
    """Service per weight of any two tenants that wait all the time differs by less than one job of each (Goyal et al.,
    Start-time Fair Queueing, theorem 1). So a tenant is off its share by less than k jobs of the largest cost among k
    tenants, in seconds of predicted work: with equal costs less than k of 1,000 jobs."""
    costs = data.draw(st.lists(st.floats(0.01, 50), min_size=1, max_size=7)) if data.draw(st.booleans()) else [1.0]
    ids = [TenantId(f"t{n}") for n in range(len(chosen))]
    jobs = queue(*(Tenant(id=name, weight=weight) for name, weight in zip(ids, chosen, strict=True)))
    serial = 0
    for name in ids:
        for _ in range(2):
            jobs.enqueue(_nth(serial, name, costs), T0)
            serial += 1
    served: Counter[TenantId] = Counter()
    for _ in range(1000):
        lease = one(jobs)
        assert lease is not None
        served[lease.tenant] += costs[int(lease.payload)]
        jobs.enqueue(_nth(serial, lease.tenant, costs), T0)  # each has always one waiting
        serial += 1
    most = max(costs)
    share = dict(zip(ids, chosen, strict=True))
    for a, b in combinations(ids, 2):
        assert abs(served[a] / share[a] - served[b] / share[b]) <= (most / share[a] + most / share[b]) * 1.000001
    total, whole = sum(served.values()), sum(chosen)
    for name in ids:
        assert abs(served[name] - total * share[name] / whole) < len(ids) * most


def _nth(serial: int, tenant: TenantId, costs: list[float]) -> Ticket:
    which = serial % len(costs)
    fields = {"enqueued_at_s": T0 + serial, "predicted_s": costs[which], "payload": str(which).encode()}
    return ticket(f"j{serial}", tenant=tenant, **fields)


@slow
@given(st.lists(st.tuples(tenants, classes, predictions), min_size=1, max_size=60), st.integers(1, 5))
def test_every_queued_job_is_leased_once(wanted: list[tuple[TenantId, Priority, float]], at_once: int) -> None:
    jobs = queue()
    for number, (tenant, priority, predicted_s) in enumerate(wanted):
        jobs.enqueue(ticket(f"j{number}", tenant=tenant, priority=priority, predicted_s=predicted_s), T0)
    leased = [lease.id for _ in wanted for lease in jobs.lease(ANN, at_once, T0, 0.0)]
    assert sorted(leased) == sorted(job(f"j{number}") for number in range(len(wanted)))
    assert jobs.lease(ANN, 1, T0, 0.0) == []


@slow
@given(st.lists(st.tuples(st.integers(0, 2000), predictions), min_size=2, max_size=60))
def test_within_a_tenant_shorter_goes_first_and_none_is_overtaken_for_longer_than_the_bound(
    wanted: list[tuple[int, float]],
) -> None:
    jobs = queue()
    for number, (after_s, predicted_s) in enumerate(wanted):
        jobs.enqueue(ticket(f"j{number}", enqueued_at_s=T0 + after_s, predicted_s=predicted_s), T0)
    place = {job(f"j{number}"): number for number in range(len(wanted))}
    order = [wanted[place[lease.id]] for lease in jobs.lease(ANN, len(wanted), T0 + 5000, 0.0)]
    for (came, predicted), (came_later_in_order, predicted_later) in combinations(order, 2):
        assert came - came_later_in_order <= MOST_DELAY_S, "overtaken by a job that came longer after it than allowed"
        if came == came_later_in_order:
            assert order_key(T0, predicted) <= order_key(T0, predicted_later), "longer, yet first"
        assert not (came > came_later_in_order and predicted > predicted_later), "later and longer, yet first"


@slow
@given(st.lists(st.tuples(tenants, classes), min_size=1, max_size=200), st.integers(0, TURNS), st.data())
def test_a_class_that_waits_is_never_passed_over_for_sixteen_leases(
    arrivals: list[tuple[TenantId, Priority]], begun: int, data
) -> None:
    """Whatever comes, and however much of the higher classes: within any TURNS leases each class that waits has one."""
    jobs = queue()
    for number in range(begun):  # the turns do not begin anew with the queue
        jobs.enqueue(ticket(f"begun{number}"), T0)
        one(jobs)
    waiting: Counter[Priority] = Counter()
    passed: Counter[Priority] = Counter()
    classes_of = {}
    number = 0
    for _ in range(150):
        for _ in range(data.draw(st.integers(0, 3)) if number < len(arrivals) else 0):
            if number < len(arrivals):
                tenant, priority = arrivals[number]
                jobs.enqueue(ticket(f"j{number}", tenant=tenant, priority=priority), T0)
                classes_of[job(f"j{number}")] = priority
                waiting[priority] += 1
                number += 1
        lease = one(jobs)
        if lease is None:
            continue
        taken = classes_of[lease.id]
        for priority in Priority:
            passed[priority] = passed[priority] + 1 if waiting[priority] and priority is not taken else 0
            assert passed[priority] < TURNS
        waiting[taken] -= 1


@slow
@given(
    st.lists(st.tuples(st.sampled_from(["enqueue", "lease", "complete", "release", "configure"]), tenants, classes)),
    st.data(),
)
def test_limits_are_never_passed_and_nobody_who_may_start_is_left_waiting(
    steps: list[tuple[str, TenantId, Priority]], data
) -> None:
    limits: dict[TenantId, int] = {}
    most: int | None = None
    jobs = queue()
    waiting: Counter[TenantId] = Counter()
    running: dict[str, tuple[TenantId, int]] = {}

    def held(tenant: TenantId | None = None) -> int:
        return sum(tenant in (None, owner) for owner, _ in running.values())

    for number, (step, tenant, priority) in enumerate(steps):
        match step:
            case "enqueue":
                jobs.enqueue(ticket(f"j{number}", tenant=tenant, priority=priority), T0)
                waiting[tenant] += 1
            case "lease":
                for lease in jobs.lease(ANN, data.draw(st.integers(1, 4)), T0, 0.0):
                    running[lease.id] = (lease.tenant, lease.attempt)
                    waiting[lease.tenant] -= 1
                    assert most is None or held() <= most
                    assert held(lease.tenant) <= limits.get(lease.tenant, 10**9)
            case "configure":
                named = data.draw(st.dictionaries(tenants, st.integers(1, 3)))
                limits, most = named, data.draw(st.none() | st.integers(1, 5))
                shares = (Tenant(id=name, max_running=limit) for name, limit in named.items())
                jobs.configure(Discipline(max_running=most, tenants=tuple(shares)))
            case _ if running:
                job_id = data.draw(st.sampled_from(sorted(running)))
                owner, attempt = running.pop(job_id)
                if step == "complete":
                    assert jobs.complete(ANN, _done(job_id, attempt), T0)
                else:
                    assert jobs.release(ANN, Held(job_id, attempt), T0)
                    waiting[owner] += 1
            case _:
                pass
        may = (most is None or held() < most) and any(
            count > 0 and held(name) < limits.get(name, 10**9) for name, count in waiting.items()
        )
        assert jobs.has_work == may


def _done(job_id, attempt: int):
    return Completion(id=job_id, attempt=attempt, outputs={})


def test_each_class_is_first_in_its_turn_and_all_are_always_offered() -> None:
    orders = [class_order(turn) for turn in range(5 * TURNS)]
    assert all(sorted(order) == sorted(Priority) for order in orders)
    for start in range(4 * TURNS):
        first = Counter(order[0] for order in orders[start : start + TURNS])
        assert first == {Priority.INTERACTIVE: TURNS - 2, Priority.STANDARD: 1, Priority.BATCH: 1}


@given(st.integers(0, 1000), weights, st.floats(0, 5000), st.integers(0, 1000))
def test_jobs_ahead_lie_between_the_own_rank_and_everything(rank: int, weight: float, others: float, n: int) -> None:
    assert rank <= jobs_ahead(rank, weight=weight, others_weight=others, others=n) <= rank + n
    assert jobs_ahead(rank, weight=weight, others_weight=0.0, others=n) == rank


def test_no_job_is_free() -> None:
    jobs = queue()
    for number in range(4):
        jobs.enqueue(ticket(f"a{number}", tenant=TenantId("a"), predicted_s=0.0), T0)
        jobs.enqueue(ticket(f"b{number}", tenant=TenantId("b"), predicted_s=LEAST_COST_S), T0)
    assert [lease.tenant for lease in jobs.lease(ANN, 8, T0, 0.0)] == ["a", "b"] * 4

"""The plainest policy: up at once, down after quiet, never on missing data."""

from hypothesis import given
from hypothesis import strategies as st

from springtide.policy.elastic.backlog import BacklogMemory, BacklogSettings, decide
from springtide.policy.elastic.view import PoolView


def view(now_s: float, waiting: int | None, busy: int = 0, *, replicas: int = 0) -> PoolView:
    idle = (1.0,) * (replicas - busy)
    return PoolView(now_s=now_s, waiting=waiting, busy_left_s=(1.0,) * busy, idle_for_s=idle)


def settings(low: int = 0, high: int = 4, *, idle_s: float = 10) -> BacklogSettings:
    return BacklogSettings(min_replicas=low, max_replicas=high, jobs_per_replica=2, idle_s=idle_s)


def test_one_job_starts_one_replica() -> None:
    decision, _ = decide(view(0, 1), BacklogMemory(), settings())
    assert (decision.replicas, decision.reason) == (1, "QUEUE")


def test_replicas_follow_the_queue_up_to_the_ceiling() -> None:
    assert decide(view(0, 5), BacklogMemory(), settings())[0].replicas == 3
    decision, _ = decide(view(0, 500), BacklogMemory(), settings())
    assert (decision.replicas, decision.reason) == (4, "CEILING")


def test_who_is_busy_stays_beside_who_is_wanted_for_what_waits() -> None:
    decision, _ = decide(view(0, 3, busy=1, replicas=1), BacklogMemory(), settings())
    assert (decision.replicas, decision.figures) == (3, {"waiting": 3.0, "busy": 1.0})


def test_the_floor_holds_without_work() -> None:
    decision, _ = decide(view(0, 0), BacklogMemory(), settings(low=1))
    assert (decision.replicas, decision.reason) == (1, "FLOOR")


def test_no_data_is_not_zero() -> None:
    decision, memory = decide(view(1e9, None, replicas=3), BacklogMemory(low_since_s=0.0), settings())
    assert (decision.replicas, decision.reason) == (3, "NO_DATA")
    assert memory.low_since_s == 0.0


def test_idle_replicas_go_only_after_the_quiet_time_and_never_below_what_was_wanted_meanwhile() -> None:
    memory = BacklogMemory()
    decision, memory = decide(view(0, 0, replicas=4), memory, settings())
    assert (decision.replicas, decision.reason) == (4, "HOLD")
    decision, memory = decide(view(5, 3, replicas=4), memory, settings())  # two would do
    assert decision.replicas == 4
    decision, memory = decide(view(9.9, 0, replicas=4), memory, settings())
    assert decision.replicas == 4
    decision, memory = decide(view(10, 0, replicas=4), memory, settings())
    assert (decision.replicas, decision.reason) == (2, "IDLE")


def test_work_in_between_starts_the_quiet_time_anew() -> None:
    memory = BacklogMemory()
    for now_s, queued in ((0, 0), (9, 8), (10, 0), (19, 0)):
        decision, memory = decide(view(now_s, queued, replicas=4), memory, settings())
        assert decision.replicas == 4
    assert decide(view(20, 0, replicas=4), memory, settings())[0].replicas == 0


@given(
    loads=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    low=st.integers(0, 3),
    extra=st.integers(0, 5),
)
def test_decisions_stay_within_bounds_and_hold_under_constant_load(loads: list[int], low: int, extra: int) -> None:
    limits, memory, replicas = settings(low, low + extra), BacklogMemory(), low
    for tick, load in enumerate(loads):
        decision, memory = decide(view(tick, load, replicas=replicas), memory, limits)
        assert low <= decision.replicas <= low + extra
        replicas = decision.replicas
    settled = []
    for tick in range(40):
        decision, memory = decide(view(1000 + tick, loads[-1], replicas=replicas), memory, limits)
        replicas = decision.replicas
        settled.append(replicas)
    assert len(set(settled[20:])) == 1


@given(load=st.integers(0, 100), more=st.integers(0, 100), now=st.integers(0, 4))
def test_more_work_never_means_fewer_replicas(load: int, more: int, now: int) -> None:
    less_work, _ = decide(view(0, load, replicas=now), BacklogMemory(), settings())
    more_work, _ = decide(view(0, load + more, replicas=now), BacklogMemory(), settings())
    assert more_work.replicas >= less_work.replicas

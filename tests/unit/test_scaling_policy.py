"""The queue policy: up at once, down after quiet, never on missing data."""

from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.fleet import QueueView, ScalingSnapshot
from springtide.domain.ids import ModelName
from springtide.policy.scaling import ScalingMemory, ScalingSettings, decide

MODEL = ModelName("m")


def snapshot(now_s: float, queued: int | None, leased: int = 0, *, replicas: int = 0) -> ScalingSnapshot:
    view = None
    if queued is not None:
        view = QueueView(
            model=MODEL,
            queued=queued,
            leased=leased,
            predicted_s=0,
            oldest_enqueued_at_s=None,
            workers=(),
            taken_at_s=now_s,
        )
    return ScalingSnapshot(now_s=now_s, queue=view, replicas=replicas)


def settings(low: int = 0, high: int = 4, *, idle_s: float = 10) -> ScalingSettings:
    return ScalingSettings(model=MODEL, min_replicas=low, max_replicas=high, jobs_per_replica=2, idle_s=idle_s)


def test_one_job_starts_one_replica() -> None:
    decision, _ = decide(snapshot(0, 1), ScalingMemory(), settings())
    assert (decision.replicas, decision.reason) == (1, "QUEUE")


def test_replicas_follow_the_queue_up_to_the_ceiling() -> None:
    assert decide(snapshot(0, 5), ScalingMemory(), settings())[0].replicas == 3
    decision, _ = decide(snapshot(0, 500), ScalingMemory(), settings())
    assert (decision.replicas, decision.reason) == (4, "CEILING")


def test_the_floor_holds_without_work() -> None:
    decision, _ = decide(snapshot(0, 0), ScalingMemory(), settings(low=1))
    assert (decision.replicas, decision.reason) == (1, "FLOOR")


def test_no_data_is_not_zero() -> None:
    decision, memory = decide(snapshot(1e9, None, replicas=3), ScalingMemory(low_since_s=0.0), settings())
    assert (decision.replicas, decision.reason) == (3, "NO_DATA")
    assert memory.low_since_s == 0.0


def test_idle_replicas_go_only_after_the_quiet_time_and_never_below_what_was_wanted_meanwhile() -> None:
    memory = ScalingMemory()
    decision, memory = decide(snapshot(0, 0, replicas=4), memory, settings())
    assert (decision.replicas, decision.reason) == (4, "HOLD")
    decision, memory = decide(snapshot(5, 3, replicas=4), memory, settings())  # two would do
    assert decision.replicas == 4
    decision, memory = decide(snapshot(9.9, 0, replicas=4), memory, settings())
    assert decision.replicas == 4
    decision, memory = decide(snapshot(10, 0, replicas=4), memory, settings())
    assert (decision.replicas, decision.reason) == (2, "IDLE")


def test_work_in_between_starts_the_quiet_time_anew() -> None:
    memory = ScalingMemory()
    for now_s, queued in ((0, 0), (9, 8), (10, 0), (19, 0)):
        decision, memory = decide(snapshot(now_s, queued, replicas=4), memory, settings())
        assert decision.replicas == 4
    assert decide(snapshot(20, 0, replicas=4), memory, settings())[0].replicas == 0


@given(
    loads=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    low=st.integers(0, 3),
    extra=st.integers(0, 5),
)
def test_decisions_stay_within_bounds_and_hold_under_constant_load(loads: list[int], low: int, extra: int) -> None:
    limits, memory, replicas = settings(low, low + extra), ScalingMemory(), low
    for tick, load in enumerate(loads):
        decision, memory = decide(snapshot(tick, load, replicas=replicas), memory, limits)
        assert low <= decision.replicas <= low + extra
        replicas = decision.replicas
    settled = []
    for tick in range(40):
        decision, memory = decide(snapshot(1000 + tick, loads[-1], replicas=replicas), memory, limits)
        replicas = decision.replicas
        settled.append(replicas)
    assert len(set(settled[20:])) == 1


@given(load=st.integers(0, 100), more=st.integers(0, 100), now=st.integers(0, 4))
def test_more_work_never_means_fewer_replicas(load: int, more: int, now: int) -> None:
    less_work, _ = decide(snapshot(0, load, replicas=now), ScalingMemory(), settings())
    more_work, _ = decide(snapshot(0, load + more, replicas=now), ScalingMemory(), settings())
    assert more_work.replicas >= less_work.replicas

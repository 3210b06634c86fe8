"""Elastic policies: what must hold for every view, and what each promises by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.policy.elastic import queue, schedule, tide, trisignal, utilization
from springtide.policy.elastic.behavior import Behavior, BehaviorMemory, Rule, Scaling, behave, from_utilization
from springtide.policy.elastic.bounds import Bounds
from springtide.policy.elastic.composed import Composed
from springtide.policy.elastic.forecast import ForecastMemory, forecast, observe
from springtide.policy.elastic.named import bound
from springtide.policy.elastic.patience import Patient
from springtide.policy.elastic.season import rates
from springtide.policy.elastic.view import Advice, PoolView, Reason

Decide = Callable[[PoolView, Any, Any], tuple[Advice, Any]]

LIMITS = Bounds(min_replicas=1, max_replicas=40)
POLICIES: dict[str, tuple[Decide, Any, type]] = {
    "tide": (tide.decide, tide.TideSettings(bounds=LIMITS), tide.TideMemory),
    "queue": (queue.decide, queue.QueueSettings(bounds=LIMITS), BehaviorMemory),
    "utilization": (
        utilization.decide,
        utilization.UtilizationSettings(bounds=LIMITS),
        utilization.UtilizationMemory,
    ),
    "trisignal": (trisignal.decide, trisignal.TrisignalSettings(bounds=LIMITS), trisignal.TrisignalMemory),
}
each_policy = pytest.mark.parametrize("name", POLICIES)

seconds = st.floats(0, 500)
fewer = st.lists(seconds, max_size=6).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> PoolView:
    waiting = draw(st.integers(0, 200))
    arrived = draw(st.integers(waiting, waiting + 10_000))
    size_s = draw(st.floats(0.1, 300))
    started = arrived - waiting
    return PoolView(
        now_s=draw(st.floats(0, 1e6)),
        age_s=draw(st.sampled_from([0.0, 5.0])),
        waiting=waiting,
        waiting_s=waiting * size_s,
        oldest_wait_s=draw(seconds) if waiting else 0.0,
        arrived=arrived,
        arrived_s=arrived * size_s,
        arrived_s2=arrived * size_s * size_s * draw(st.floats(1.0, 3.0)),
        started=started,
        late=draw(st.integers(0, started)),
        busy_s=draw(st.floats(0, 1e5)),
        ready_s=draw(st.floats(1e5, 2e5)),
        idle_for_s=draw(fewer),
        busy_left_s=draw(st.lists(st.floats(-100, 500), max_size=8).map(tuple)),
        loading_left_s=draw(fewer),
        failing=draw(st.sampled_from([0, 0, 0, 2])),
        cold_start_s=draw(st.sampled_from([None, 0.5, 8.0, 40.0, 90.0])),
        gpu_memory=draw(st.none() | st.floats(0, 1)),
        latency_s_p95=draw(st.none() | st.floats(0, 60)),
    )


def _later(view: PoolView, past_s: float) -> PoolView:
    return msgspec.structs.replace(view, now_s=view.now_s + past_s, arrived=view.arrived + 3, started=view.started + 2)


@each_policy
@given(view=views(), past_s=st.floats(0.5, 600))
@settings(max_examples=150, deadline=None)
def test_every_decision_is_within_its_bounds_explained_and_repeatable(name: str, view: PoolView, past_s: float) -> None:
    decide, own, kind = POLICIES[name]
    first, memory = decide(view, None, own)
    kept = msgspec.json.decode(msgspec.json.encode(memory), type=kind)
    second, after = decide(_later(view, past_s), memory, own)
    assert decide(_later(view, past_s), kept, own) == (second, after), "a new leader goes on where the old one stopped"
    for advice in (first, second):
        assert LIMITS.min_replicas <= advice.replicas <= LIMITS.max_replicas
        assert advice.reason in Reason
        assert all(math.isfinite(figure) for figure in advice.figures.values())


@each_policy
@given(view=views())
@settings(max_examples=100, deadline=None)
def test_what_is_busy_is_never_asked_to_go(name: str, view: PoolView) -> None:
    decide, own, _ = POLICIES[name]
    advice, _ = decide(view, None, own)
    assert advice.replicas >= min(len(view.busy_left_s), LIMITS.max_replicas)


@each_policy
@given(view=views(), broken=st.sampled_from(["no queue", "old"]))
@settings(max_examples=50, deadline=None)
def test_without_data_it_holds_and_says_so(name: str, view: PoolView, broken: str) -> None:
    decide, own, _ = POLICIES[name]
    own = msgspec.structs.replace(own, bounds=Bounds(min_replicas=0, max_replicas=1000))
    view = msgspec.structs.replace(view, **({"waiting": None} if broken == "no queue" else {"age_s": 3600.0}))
    advice, _ = decide(view, None, own)
    assert (advice.replicas, advice.reason) == (view.replicas, Reason.NO_DATA)


@pytest.mark.parametrize("name", ["tide", "queue"])
@given(view=views(), more=st.integers(1, 100))
@settings(max_examples=150, deadline=None)
def test_more_jobs_in_the_queue_never_ask_for_fewer_replicas(name: str, view: PoolView, more: int) -> None:
    decide, own, _ = POLICIES[name]
    assert view.waiting is not None
    size_s = view.waiting_s / view.waiting if view.waiting else 30.0
    longer = msgspec.structs.replace(
        view, waiting=view.waiting + more, waiting_s=view.waiting_s + more * size_s, oldest_wait_s=view.oldest_wait_s
    )
    assert decide(longer, None, own)[0].wish >= decide(view, None, own)[0].wish


@pytest.mark.parametrize("name", ["tide", "queue", "utilization", "trisignal"])
@given(silence_s=st.floats(10, 1e6), burst=st.integers(1, 500), size_s=st.floats(0.1, 600))
@settings(max_examples=100, deadline=None)
def test_a_burst_after_silence_gets_its_first_replica_at_the_next_look(
    name: str, silence_s: float, burst: int, size_s: float
) -> None:
    decide, own, _ = POLICIES[name]
    own = msgspec.structs.replace(own, bounds=Bounds(max_replicas=1000))
    quiet = PoolView(now_s=1e6, waiting=0)
    _, memory = decide(quiet, None, own)
    _, memory = decide(msgspec.structs.replace(quiet, now_s=1e6 + silence_s), memory, own)
    work_s = burst * size_s
    view = PoolView(
        now_s=1e6 + silence_s + 5.0, waiting=burst, waiting_s=work_s, arrived=burst, arrived_s=work_s, oldest_wait_s=2.0
    )
    advice, _ = decide(view, memory, own)
    assert advice.replicas >= 1


@pytest.mark.parametrize("name", ["tide", "queue", "utilization"])
@given(busy=st.integers(1, 20), per_look=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_constant_load_settles_and_stays(name: str, busy: int, per_look: int) -> None:
    decide, own, _ = POLICIES[name]
    own = msgspec.structs.replace(own, bounds=Bounds(max_replicas=1000))
    idle, memory, seen = 0, None, []
    for look in range(180):
        at_s, came = 10.0 * look, per_look * look + busy
        view = PoolView(
            now_s=at_s,
            waiting=0,
            arrived=came,
            arrived_s=30.0 * came,
            arrived_s2=900.0 * came,
            started=came,
            busy_s=busy * at_s,
            ready_s=(busy + idle) * at_s,
            busy_left_s=(15.0,) * busy,
            idle_for_s=(300.0,) * idle,
            cold_start_s=40.0,
        )
        advice, memory = decide(view, memory, own)
        seen.append(advice.replicas)
        idle = max(0, advice.replicas - busy)
    steps = [later - earlier for earlier, later in pairwise(seen[-30:])]
    assert not (any(step > 0 for step in steps) and any(step < 0 for step in steps)), "no flapping"
    assert sum(map(abs, steps)) <= 1, "what is still learnt may move it by one, not to and fro"


# --- each by itself ---------------------------------------------------------------------------------------------------


def test_the_bound_that_changed_a_wish_is_named() -> None:
    crowd = PoolView(now_s=1.0, waiting=500, waiting_s=500 * 60.0, arrived=500, arrived_s=30_000.0, arrived_s2=1.8e6)
    for bounds, reason, replicas, said in (
        (Bounds(max_replicas=3), Reason.CEILING, 3, "max_replicas is 3"),
        (Bounds(budget=2), Reason.BUDGET, 2, "the fleet has room for 2"),
        (Bounds(min_replicas=5), Reason.FLOOR, 5, "min_replicas is 5"),
    ):
        view = crowd if reason is not Reason.FLOOR else PoolView(now_s=1.0, waiting=0)
        advice, _ = tide.decide(view, None, tide.TideSettings(bounds=bounds))
        assert (advice.reason, advice.replicas) == (reason, replicas)
        assert advice.message.endswith(f"; {said}"), "the sentence speaks of the wish, and of what came of it"


def test_money_for_the_day_is_kept_to() -> None:
    own = tide.TideSettings(bounds=Bounds(replica_hours_a_day=48.0))
    memory, replicas = None, 10
    for hour in range(12):
        view = PoolView(
            now_s=3600.0 * hour + 1.0,
            waiting=400,
            waiting_s=24_000.0,
            arrived=400 * (hour + 1),
            arrived_s=24_000.0 * (hour + 1),
            arrived_s2=1.44e6 * (hour + 1),
            busy_left_s=(30.0,) * replicas,
        )
        advice, memory = tide.decide(view, memory, own)
    assert (advice.reason, advice.replicas) == (Reason.COST, 2), "48 hours a day are two at a time"


def test_replicas_that_do_not_come_up_are_not_multiplied() -> None:
    view = PoolView(now_s=9.0, waiting=50, waiting_s=3000.0, arrived=50, arrived_s=3000.0, arrived_s2=2e5, failing=2)
    advice, _ = tide.decide(view, None, tide.TideSettings())
    assert (advice.reason, advice.replicas) == (Reason.CRASH_LOOP, 2)


def test_loading_replicas_count() -> None:
    def asks(loading: int) -> int:
        view = PoolView(
            now_s=9.0,
            waiting=10,
            waiting_s=600.0,
            oldest_wait_s=5.0,
            arrived=10,
            arrived_s=600.0,
            arrived_s2=40_000.0,
            loading_left_s=(20.0,) * loading,
            cold_start_s=40.0,
        )
        return tide.decide(view, None, tide.TideSettings())[0].replicas - loading

    wanted = asks(0)
    assert wanted > 1
    assert asks(wanted) < wanted, "what is on its way is not launched again"


def test_utilization_follows_the_kubernetes_arithmetic() -> None:
    assert from_utilization(0.9, 0.6, ready=4, loading=0, now=4, tolerance=0.1) == 6
    assert from_utilization(0.63, 0.6, ready=4, loading=0, now=4, tolerance=0.1) == 4, "within the tolerance"
    assert from_utilization(0.9, 0.6, ready=2, loading=2, now=4, tolerance=0.1) == 4, "those that load count as unused"
    assert from_utilization(0.2, 0.6, ready=6, loading=0, now=6, tolerance=0.1) == 2
    sized = {"ready": 4, "loading": 0, "now": 4, "tolerance": 0.1}
    assert from_utilization(0.9, 0.6, missing=1, **sized) == 5, "who has not said counts as unused on the way up"
    assert from_utilization(0.2, 0.6, missing=1, **sized) == 3, "and as used in full on the way down"
    assert from_utilization(0.65, 0.5, missing=2, **sized) == 4, "it never turns a rise into a fall"
    assert from_utilization(0.9, 0.6, missing=4, **sized) == 4


def test_going_down_waits_for_the_most_cautious_wish_of_the_window() -> None:
    memory, now = BehaviorMemory(), 8
    seen: list[int] = []
    for look in range(22):
        wish = 6 if look == 5 else 3
        now, memory = behave(wish, now, 15.0 * look, memory=memory, behavior=Behavior())
        seen.append(now)
    assert seen[0] == 3, "with nothing to remember it goes at once"
    now, memory = behave(9, 8, 0.0, memory=BehaviorMemory(), behavior=Behavior())
    for look in range(1, 20):
        now, memory = behave(3, now, 15.0 * look, memory=memory, behavior=Behavior())
        assert now == 9, "for 300 s the nine are remembered"
    now, memory = behave(3, now, 301.0, memory=memory, behavior=Behavior())
    assert now == 3


def test_steps_are_no_larger_than_the_rules_allow() -> None:
    slow = Behavior(up=Scaling(rules=(Rule(kind="replicas", value=2, period_s=60),)))
    now, memory = behave(50, 4, 0.0, memory=BehaviorMemory(), behavior=slow)
    assert now == 6
    now, memory = behave(50, now, 15.0, memory=memory, behavior=slow)
    assert now == 6, "two in sixty seconds"
    now, memory = behave(50, now, 75.0, memory=memory, behavior=slow)
    assert now == 8


def test_three_signals_rest_after_a_change() -> None:
    own = trisignal.TrisignalSettings()
    full = PoolView(now_s=100.0, waiting=0, busy_left_s=(9.0,), gpu_memory=0.95, latency_s_p95=1.0)
    advice, memory = trisignal.decide(full, None, own)
    assert advice.reason is Reason.HOLD, "full, but not for thirty seconds"
    advice, memory = trisignal.decide(msgspec.structs.replace(full, now_s=131.0), memory, own)
    assert (advice.replicas, advice.reason) == (2, Reason.UTILIZATION)
    again = msgspec.structs.replace(full, now_s=200.0, busy_left_s=(9.0, 9.0), waiting=20)
    advice, memory = trisignal.decide(again, memory, own)
    assert (advice.replicas, advice.reason) == (2, Reason.COOLDOWN)


def test_three_signals_hold_and_say_so_where_memory_or_latency_is_not_known() -> None:
    calm = PoolView(now_s=100.0, waiting=0, idle_for_s=(500.0,) * 2, latency_s_p95=0.5)
    advice, _ = trisignal.decide(calm, None, trisignal.TrisignalSettings())
    assert (advice.replicas, advice.reason) == (2, Reason.NO_DATA)
    own = trisignal.TrisignalSettings(memory="memory")
    roomy = msgspec.structs.replace(calm, memory_utilization=0.1)
    advice, memory = trisignal.decide(roomy, None, own)
    assert advice.reason is Reason.HOLD, "all is low, but not for two minutes"
    advice, _ = trisignal.decide(msgspec.structs.replace(roomy, now_s=221.0), memory, own)
    assert (advice.replicas, advice.reason) == (1, Reason.IDLE)
    crowded = msgspec.structs.replace(calm, waiting=8)
    advice, _ = trisignal.decide(crowded, None, own)
    assert (advice.replicas, advice.reason) == (3, Reason.QUEUE), "what is known may still ask for more"


@pytest.mark.parametrize("signal", ["gpu", "gpu_memory", "cpu", "memory"])
def test_utilization_of_what_nobody_measures_holds(signal: Any) -> None:
    own = utilization.UtilizationSettings(bounds=LIMITS, signal=signal)
    view = PoolView(now_s=100.0, waiting=9, busy_left_s=(1.0, 2.0), measured=0)
    advice, _ = utilization.decide(view, None, own)
    assert (advice.replicas, advice.reason) == (2, Reason.NO_DATA)
    known = {"gpu": "gpu_utilization", "cpu": "cpu_utilization", "memory": "memory_utilization"}.get(signal, signal)
    view = msgspec.structs.replace(view, measured=2, **{known: 0.95})
    advice, _ = utilization.decide(view, None, own)
    assert (advice.replicas, advice.reason) == (3, Reason.UTILIZATION)


def test_floors_hold_at_their_times_over_midnight_and_on_their_days() -> None:
    monday = 4 * 86_400.0  # 1970-01-05
    own = schedule.ScheduleSettings(
        floors=(
            schedule.Floor(from_s=8 * 3600, until_s=18 * 3600, replicas=5, days=(0, 1, 2, 3, 4)),
            schedule.Floor(from_s=22 * 3600, until_s=2 * 3600, replicas=3, days=(0,)),
        ),
        lead_s=600.0,
    )
    at = [schedule.floor_at(monday + hour * 3600, own) for hour in (7.9, 12, 19, 23, 25, 27, 24 * 5 + 12)]
    assert at == [5, 5, 0, 3, 3, 0, 0]
    advice, _ = schedule.decide(PoolView(now_s=monday + 9 * 3600), None, own)
    assert (advice.replicas, advice.reason) == (5, Reason.SCHEDULE)


def test_of_several_policies_the_largest_wish_wins_with_its_reason() -> None:
    floors = schedule.ScheduleSettings(floors=(schedule.Floor(from_s=0, until_s=86_400, replicas=7),))
    parts = [
        bound(tide.TideSettings()),
        bound(floors),
    ]
    both = Composed(parts)
    advice, memory = both.decide(PoolView(now_s=5.0, waiting=0), None)
    assert (advice.replicas, advice.reason) == (7, Reason.SCHEDULE)
    assert advice.figures["tide_wish"] == 0.0
    assert both.interval_s == 5.0
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=both.memory_type)
    assert both.decide(PoolView(now_s=8.0, waiting=0), memory)[0].replicas == 7, "a new leader reads what it remembered"
    blind, _ = both.decide(PoolView(now_s=9.0, waiting=None, idle_for_s=(1.0,)), memory)
    assert blind.replicas == 7, "no data keeps what there is, and a floor needs none"
    assert msgspec.json.decode(msgspec.json.encode(memory), type=both.memory_type) == memory


def test_patience_keeps_replicas_that_were_busy_lately_and_is_no_excuse_before_a_bound() -> None:
    def idle(*for_s: float) -> PoolView:
        return PoolView(now_s=1e6, waiting=0, idle_for_s=for_s)

    patient = Patient(bound(tide.TideSettings(bounds=Bounds(max_replicas=3))), 300.0)
    assert patient.decide(idle(400.0, 350.0, 20.0), None)[0].replicas == 1
    held, _ = patient.decide(idle(100.0, 50.0), None)
    assert (held.replicas, held.reason) == (2, Reason.HOLD)
    assert "300 s" in held.message
    ceiling, _ = patient.decide(idle(1.0, 1.0, 1.0, 1.0), None)
    assert (ceiling.replicas, ceiling.reason) == (3, Reason.CEILING)


# --- what tide knows of the season ------------------------------------------------------------------------------------


def counted(day_s: float) -> float:
    """Jobs a second at a time of the day: ten a minute from nine to ten, one in five minutes else."""
    return 10 / 60 if 9 <= day_s % 86_400 / 3600 < 10 else 1 / 300


def watched(days: float, memory: ForecastMemory | None = None, since_s: float = 0.0) -> ForecastMemory:
    """What is known after so many days of that, a look every five minutes."""
    memory, came = memory or ForecastMemory(), 0.0
    arrived = memory.arrived
    for look in range(1, int(days * 288) + 1):
        at_s = since_s + 300.0 * look
        came += 300 * counted(at_s - 150)
        memory = observe(memory, at_s, arrived + int(came))
    return memory


def test_the_first_day_is_planned_from_what_comes_and_the_season_has_no_say() -> None:
    memory = watched(0.4)  # half past nine
    ahead = forecast(memory, memory.at_s)
    assert 6 / 60 < ahead.rate < 12 / 60, "it follows what has come this half hour"
    assert abs(ahead.season_ahead) < 1e-4
    quiet = watched(0.3)
    assert forecast(quiet, quiet.at_s).rate < 1 / 100


def test_the_season_is_known_after_some_days_and_survives_a_restart() -> None:
    before = watched(6 + 8.95 / 24)  # three minutes to nine
    after = msgspec.json.decode(msgspec.json.encode(before), type=ForecastMemory)
    assert forecast(after, before.at_s + 5) == forecast(before, before.at_s + 5)
    assert len(msgspec.json.encode(after)) < 60_000
    assert forecast(after, before.at_s + 5).season_ahead > 0, "before the first job of nine o'clock has come"
    assert forecast(watched(8.95 / 24), 8.95 * 3600).season_ahead == 0.0, "which the first day could not know"
    for _ in range(6):
        after = observe(after, after.at_s + 300, after.arrived)  # though nobody comes today
    assert rates(after.season, after.at_s, after.mean_rate)[0] > 8 / 60


def test_where_nothing_came_and_nothing_waits_nothing_is_thought_anew() -> None:
    own = tide.TideSettings(bounds=Bounds(max_replicas=9))
    view = PoolView(now_s=1000.0, waiting=0, arrived=60, arrived_s=1800.0, arrived_s2=54_000.0, busy_left_s=(9.0, 20.0))
    first, memory = tide.decide(view, None, own)
    quiet, same = tide.decide(msgspec.structs.replace(view, now_s=1005.0), memory, own)
    assert same is memory
    assert (quiet.replicas, quiet.reason, quiet.figures) == (2, Reason.HOLD, first.figures)
    _, later = tide.decide(msgspec.structs.replace(view, now_s=1015.0), memory, own)
    assert later.grew_at_s == 1015.0, "but every fifteen seconds: a season may rise"
    came = msgspec.structs.replace(view, now_s=1005.0, arrived=61, arrived_s=1830.0)
    assert tide.decide(came, memory, own)[1].grew_at_s == 1005.0

"""What an operator has ordered, against what a policy wishes."""

from __future__ import annotations

from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.orders import Drain, Pause, Pin, in_force
from springtide.policy.elastic.by_hand import WARM_S, paused, pinned
from springtide.policy.elastic.view import PoolView, Reason

M, N = ModelName("m"), ModelName("n")
PAUSE = Pause(model=M, at_s=1_800_000_000.0, by="local", note="new weights")
PIN = Pin(model=M, replicas=3, at_s=PAUSE.at_s, by="local", until_s=PAUSE.at_s + 60)


def view(after_s: float, *, idle: int = 0, busy: int = 0, waiting: int = 9) -> PoolView:
    return PoolView(now_s=PAUSE.at_s + after_s, waiting=waiting, idle_for_s=(1.0,) * idle, busy_left_s=(5.0,) * busy)


def test_a_short_pause_costs_no_start_and_a_long_one_no_idle_replica() -> None:
    early = paused(view(1, idle=2, busy=1), PAUSE)
    assert (early.replicas, early.reason) == (3, Reason.PAUSED), "never more than there are, however many wait"
    assert "new weights" in early.message
    assert "stays warm" in early.message
    assert paused(view(WARM_S, idle=2, busy=1), PAUSE).replicas == 1, "what runs is finished"
    assert paused(view(WARM_S, idle=2), PAUSE).replicas == 0


def test_a_pin_stands_before_the_policy_and_tells_what_that_wished() -> None:
    wish = Decision(model=M, replicas=1, reason="IDLE", message="", figures={"waiting": 0.0})
    found = pinned(PIN, wish)
    assert (found.replicas, found.wish, found.reason) == (3, 1, Reason.BY_HAND)
    assert "until 01-15 08:01:00 UTC; the policy would have 1 (IDLE)" in found.message
    kept = paused(view(WARM_S), PAUSE, PIN)
    assert (kept.replicas, kept.reason) == (3, Reason.PAUSED)


def test_an_order_that_has_run_out_is_not_in_force() -> None:
    drain = Drain(worker=WorkerId("w"), model=M, at_s=1.0, by="local")
    orders = in_force([PAUSE, PIN, drain], PAUSE.at_s + 59)
    assert (set(orders.pauses), set(orders.pins), set(orders.drains)) == ({M}, {M}, {"w"})
    assert in_force([PAUSE, PIN], PAUSE.at_s + 60).pins == {}


def test_workers_of_several_models_rest_only_where_all_are_paused() -> None:
    orders = in_force([PAUSE], PAUSE.at_s)
    assert orders.pause_of((M,)) == PAUSE
    assert orders.pause_of((M, N)) is None
    later = Pause(model=N, at_s=PAUSE.at_s + 5, by="local")
    assert in_force([PAUSE, later], PAUSE.at_s).pause_of((M, N)) == later

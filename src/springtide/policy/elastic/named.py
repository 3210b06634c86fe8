"""Policies with their settings bound, as the controller and the simulator ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from springtide.policy.elastic import backlog, queue, schedule, tide, trisignal, utilization
from springtide.policy.elastic.behavior import BehaviorMemory
from springtide.policy.elastic.view import Advice, PoolView

QUEUE_EVERY_S = 5.0
UTILIZATION_EVERY_S = 15.0  # as the Kubernetes autoscaler
TRISIGNAL_EVERY_S = 1.0  # its conditions are counted in seconds
SCHEDULE_EVERY_S = 15.0


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A rule and its settings: a `Policy`."""

    name: str
    interval_s: float
    settings: Any
    rule: Callable[[PoolView, Any, Any], tuple[Advice, Any]]
    memory_type: Any

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        return self.rule(view, memory, self.settings)


_RULES: dict[type, tuple[str, float, Callable[[PoolView, Any, Any], tuple[Advice, Any]], Any]] = {
    tide.TideSettings: ("tide", tide.LOOK_EVERY_S, tide.decide, tide.TideMemory),
    backlog.BacklogSettings: ("backlog", backlog.LOOK_EVERY_S, backlog.decide, backlog.BacklogMemory),
    queue.QueueSettings: ("queue", QUEUE_EVERY_S, queue.decide, BehaviorMemory),
    utilization.UtilizationSettings: (
        "utilization",
        UTILIZATION_EVERY_S,
        utilization.decide,
        utilization.UtilizationMemory,
    ),
    trisignal.TrisignalSettings: ("trisignal", TRISIGNAL_EVERY_S, trisignal.decide, trisignal.TrisignalMemory),
    schedule.ScheduleSettings: ("schedule", SCHEDULE_EVERY_S, schedule.decide, type(None)),
}


def bound(settings: Any) -> Bound:
    """The policy that these settings belong to, with them."""
    name, interval_s, rule, memory_type = _RULES[type(settings)]
    return Bound(name=name, interval_s=interval_s, settings=settings, rule=rule, memory_type=memory_type)

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


def tide_policy(settings: tide.TideSettings) -> Bound:
    """The default."""
    return Bound(
        name="tide",
        interval_s=tide.LOOK_EVERY_S,
        settings=settings,
        rule=tide.decide,
        memory_type=tide.TideMemory,
    )


def backlog_policy(settings: backlog.BacklogSettings) -> Bound:
    return Bound(
        name="backlog",
        interval_s=backlog.LOOK_EVERY_S,
        settings=settings,
        rule=backlog.decide,
        memory_type=backlog.BacklogMemory,
    )


def queue_policy(settings: queue.QueueSettings) -> Bound:
    return Bound(
        name="queue",
        interval_s=QUEUE_EVERY_S,
        settings=settings,
        rule=queue.decide,
        memory_type=BehaviorMemory,
    )


def utilization_policy(settings: utilization.UtilizationSettings) -> Bound:
    return Bound(
        name="utilization",
        interval_s=UTILIZATION_EVERY_S,
        settings=settings,
        rule=utilization.decide,
        memory_type=utilization.UtilizationMemory,
    )


def trisignal_policy(settings: trisignal.TrisignalSettings) -> Bound:
    return Bound(
        name="trisignal",
        interval_s=TRISIGNAL_EVERY_S,
        settings=settings,
        rule=trisignal.decide,
        memory_type=trisignal.TrisignalMemory,
    )


def schedule_policy(settings: schedule.ScheduleSettings) -> Bound:
    return Bound(
        name="schedule",
        interval_s=SCHEDULE_EVERY_S,
        settings=settings,
        rule=schedule.decide,
        memory_type=type(None),
    )

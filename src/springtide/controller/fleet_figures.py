"""What the scaler sees and decides, as metrics."""

from __future__ import annotations

from collections.abc import Mapping

from springtide.controller.signals import Looked
from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName
from springtide.policy.elastic.view import PoolView
from springtide.telemetry import metrics_catalogue as names
from springtide.telemetry.metrics import Metrics, Series

_GROWING: tuple[Series, ...] = (
    names.BUSY_SECONDS,
    names.IDLE_SECONDS,
    names.OBJECTIVE_JOBS,
    names.OBJECTIVE_LATE,
    names.RESTARTS,
)


class FleetFigures:
    """Tells after each round of the scaler."""

    def __init__(self, metrics: Metrics, shares: Mapping[ModelName, float]) -> None:
        """shares: of jobs that shall begin in time, by model or pool."""
        self._metrics = metrics
        self._shares = shares
        self._before: dict[ModelName, tuple[float, ...]] = {}

    def decided(self, decision: Decision, before: int) -> None:
        """A decision that is worth writing down."""
        direction = "none" if decision.replicas == before else "out" if decision.replicas > before else "in"
        self._metrics.add(names.DECISIONS, decision.model, decision.reason, direction)

    def looked(self, found: Mapping[ModelName, Looked], decisions: Mapping[ModelName, Decision]) -> None:
        """The fleet as it is, and what is wanted of it."""
        metrics = self._metrics
        metrics.forget(names.REASON)
        for name, looked in found.items():
            self._tell_states(name, looked.view)
            if name in decisions:
                metrics.set(names.REPLICAS_WANTED, name, value=decisions[name].replicas)
                metrics.set(names.REASON, name, decisions[name].reason, value=1)
            if looked.view.cold_start_s is not None:
                metrics.set(names.COLD_START_USUAL, name, value=looked.view.cold_start_s)
            if name in self._shares:
                metrics.set(names.OBJECTIVE_SHARE, name, value=self._shares[name])
            self._grow(name, looked)

    def _tell_states(self, name: ModelName, view: PoolView) -> None:
        states = {
            "idle": len(view.idle_for_s),
            "busy": len(view.busy_left_s),
            "loading": len(view.loading_left_s),
            "draining": view.draining,
            "failing": view.failing,
        }
        for state, count in states.items():
            self._metrics.set(names.REPLICAS, name, state, value=count)

    def _grow(self, name: ModelName, looked: Looked) -> None:
        """Sums of the signals, as far as they have grown since the last round."""
        view = looked.view
        now = (view.busy_s, view.ready_s - view.busy_s, float(view.started), float(view.late), float(looked.restarts))
        before = self._before.get(name, (0.0,) * len(now))
        for series, is_s, was_s in zip(_GROWING, now, before, strict=True):
            self._metrics.add(series, name, amount=max(0.0, is_s - was_s))
        self._before[name] = (*now[:-1], max(now[-1], before[-1]))  # where no replica is left, nobody tells restarts

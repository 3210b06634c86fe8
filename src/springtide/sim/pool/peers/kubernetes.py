"""HPA v2 and KEDA. Source: kubernetes pkg/controller/podautoscaler, kedacore/keda pkg/scaling; defaults of both.

The arithmetic is that of springtide.policy.elastic.behavior, without Springtide's care for what is busy.
"""

from __future__ import annotations

from typing import Any, Literal

from springtide.policy.elastic.behavior import Behavior, BehaviorMemory, Scaling, behave, from_average, from_utilization
from springtide.policy.elastic.view import Advice, PoolView, Reason


def advise(replicas: int, now: int) -> Advice:
    """What a peer wants, in our words."""
    reason = Reason.HOLD if replicas == now else Reason.QUEUE if replicas > now else Reason.IDLE
    return Advice(replicas=replicas, wish=replicas, reason=reason)


class Hpa:
    """Every 15 s; the metric is that of the last period, as it comes through an adapter."""

    interval_s = 15.0
    cancels_loading = True

    def __init__(
        self,
        metric: Literal["queue", "busy"] = "busy",
        target: float = 0.7,
        *,
        floor: int = 1,
        window_s: float = 300.0,
        lag: int = 1,
        name: str = "hpa",
    ) -> None:
        self.name, self.initial = name, floor
        self._metric, self._target, self._floor, self._lag = metric, target, floor, lag
        default = Behavior()
        self._behavior = Behavior(down=Scaling(rules=default.down.rules, window_s=window_s))
        self._reset()

    @property
    def policy(self) -> Hpa:
        return self

    def _reset(self) -> None:
        self._memory = BehaviorMemory()
        self._seen: list[float] = []
        self._counters = (0.0, 0.0)
        self._spec = self._floor

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        """memory: True once it has begun."""
        if memory is None:
            self._reset()
        value, now = self._scraped(view), self._spec
        if self._metric == "queue":
            wish = from_average(value, self._target, now, self._behavior.tolerance)
        else:
            loading = len(view.loading_left_s)
            tolerance = self._behavior.tolerance
            wish = from_utilization(
                value, self._target, ready=view.ready, loading=loading, now=now, tolerance=tolerance
            )
        wish = max(self._floor, wish)
        self._spec, self._memory = behave(wish, now, view.now_s, memory=self._memory, behavior=self._behavior)
        return advise(self._spec, view.replicas), True

    def _scraped(self, view: PoolView) -> float:
        if self._metric == "queue":
            self._seen.append(float(view.waiting or 0))
        else:
            busy_s, ready_s = view.busy_s - self._counters[0], view.ready_s - self._counters[1]
            self._counters = (view.busy_s, view.ready_s)
            self._seen.append(busy_s / ready_s if ready_s > 1e-9 else 0.0)
        del self._seen[: -self._lag - 1]
        return self._seen[0]

    def set_spec(self, replicas: int) -> None:
        """KEDA's operator sets the scale to zero and to one beside the autoscaler."""
        self._spec = replicas
        if replicas == 0:
            self._memory = BehaviorMemory()

    @property
    def spec(self) -> int:
        return self._spec


class Keda:
    """0 ↔ 1 by the operator, polled every 30 s with a cool-down of 300 s; 1 ↔ n is an HPA on the queue's length."""

    interval_s = 15.0
    cancels_loading = True
    initial = 0

    def __init__(self, target: float = 5.0, *, poll_s: float = 30.0, cooldown_s: float = 300.0, name: str = "keda"):
        self.name = name
        self._poll_s, self._cooldown_s = poll_s, cooldown_s
        self._hpa = Hpa("queue", target, lag=0)
        self._next_s, self._active_s = 0.0, -1e18

    @property
    def policy(self) -> Keda:
        return self

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        if memory is None:
            self._next_s, self._active_s = 0.0, -1e18
            self._hpa.decide(view, None)
            self._hpa.set_spec(0)
        if view.now_s >= self._next_s:
            self._next_s = view.now_s + self._poll_s
            if view.waiting:
                self._active_s = view.now_s
                if self._hpa.spec == 0:
                    self._hpa.set_spec(1)
            elif self._hpa.spec and view.now_s - self._active_s > self._cooldown_s:
                self._hpa.set_spec(0)
        if self._hpa.spec == 0:
            return advise(0, view.replicas), True
        return self._hpa.decide(view, True)[0], True

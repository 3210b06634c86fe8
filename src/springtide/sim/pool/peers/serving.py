"""Knative KPA, Ray Serve, a serverless idle timeout, and a fixed number. Sources beside each."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from springtide.policy.elastic.view import Advice, PoolView
from springtide.sim.pool.peers.kubernetes import advise


class Static:
    """Always the same number."""

    interval_s = 60.0  # nothing to decide: for the charts
    cancels_loading = True

    def __init__(self, replicas: int, *, name: str = "static") -> None:
        self.name, self.initial, self._replicas = name, replicas, replicas

    @property
    def policy(self) -> Static:
        return self

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        return advise(self._replicas, view.replicas), True


class Kpa:
    """Knative: every 2 s, stable window 60 s, panic window a tenth of it, entered at twice what is ready.

    Source: knative/serving pkg/autoscaler/scaling/autoscaler.go, config-autoscaler defaults (target 1 × 0.7).
    """

    interval_s = 2.0
    cancels_loading = True

    def __init__(self, target: float = 0.7, *, stable_s: float = 60.0, delay_s: float = 0.0, floor: int = 0) -> None:
        self.name, self.initial = "kpa", floor
        self._target, self._stable_s, self._delay_s, self._floor = target, stable_s, delay_s, floor
        self._panic_s, self._threshold, self._up, self._down, self._grace_s = stable_s / 10, 2.0, 1000.0, 2.0, 30.0
        self._reset()

    @property
    def policy(self) -> Kpa:
        return self

    def _reset(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._delayed: deque[tuple[float, int]] = deque()
        self._panicked_s: float | None = None
        self._most = 0
        self._zero_s: float | None = None

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        if memory is None:
            self._reset()
        now_s = view.now_s
        self._seen.append((now_s, view.inside_s))
        while len(self._seen) > self._stable_s / self.interval_s + 1:
            self._seen.popleft()
        ready = max(1, view.ready)
        most, least = math.ceil(self._up * ready), math.floor(ready / self._down)
        stable = math.ceil(self._mean(self._stable_s) / self._target - 1e-9)
        panic = math.ceil(self._mean(self._panic_s) / self._target - 1e-9)
        wish = min(max(stable, least), most)
        if panic / ready >= self._threshold:
            self._panicked_s = now_s
        elif self._panicked_s is not None and self._panicked_s + self._stable_s < now_s:
            self._panicked_s, self._most = None, 0
        if self._panicked_s is not None:
            self._most = wish = max(self._most, wish, min(max(panic, least), most))
        if self._delay_s:
            self._delayed.append((now_s, wish))
            while self._delayed[0][0] < now_s - self._delay_s:
                self._delayed.popleft()
            wish = max(n for _, n in self._delayed)
        return advise(self._to_zero(max(self._floor, wish), view), view.replicas), True

    def _mean(self, window_s: float) -> float:
        steps = round(window_s / self.interval_s)
        then_s, then = self._seen[max(0, len(self._seen) - 1 - steps)]
        now_s, now = self._seen[-1]
        return (now - then) / (now_s - then_s) if now_s > then_s else 0.0

    def _to_zero(self, wish: int, view: PoolView) -> int:
        if wish:
            self._zero_s = None
            return wish
        self._zero_s = view.now_s if self._zero_s is None else self._zero_s
        return min(1, view.replicas) if view.now_s - self._zero_s < self._grace_s else 0


class RayServe:
    """Ray Serve: requests in flight, averaged over 30 s, for each replica; up after 30 s of agreement, down after 600
    s.

    Source: ray python/ray/serve/autoscaling_policy.py (which counts ticks of its control loop; here one a second).
    """

    interval_s = 1.0
    cancels_loading = True

    def __init__(self, target: float = 2.0, *, up_s: float = 30.0, down_s: float = 600.0, floor: int = 1) -> None:
        self.name, self.initial = "ray", floor
        self._target, self._up_s, self._down_s, self._floor, self._look = target, up_s, down_s, floor, 30
        self._reset()

    @property
    def policy(self) -> RayServe:
        return self

    def _reset(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._agreed = 0
        self._replicas = self._floor

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        if memory is None:
            self._reset()
            self._replicas = max(self._floor, view.replicas)
        self._seen.append((view.now_s, view.inside_s))
        if len(self._seen) > self._look + 1:
            self._seen.popleft()
        past_s = view.now_s - self._seen[0][0]
        total = (view.inside_s - self._seen[0][1]) / past_s if past_s > 0 else 0.0
        now = self._replicas
        if now == 0:
            self._replicas = 1 if total > 0 or view.waiting else 0
            return advise(self._replicas, view.replicas), True
        wish = max(self._floor, math.ceil(total / self._target - 1e-9))
        if wish > now:
            self._agreed = max(self._agreed, 0) + 1
            if self._agreed > self._up_s:
                self._agreed, self._replicas = 0, wish
        elif wish < now:
            self._agreed = min(self._agreed, 0) - 1
            if self._agreed < -self._down_s:
                self._agreed, self._replicas = 0, max(wish, 1 if now > 1 else wish)
        else:
            self._agreed = 0
        return advise(self._replicas, view.replicas), True


class IdleTimeout:
    """Serverless GPU platforms: a container for each input that waits and has none coming, gone after an idle time.

    Source: the documented behaviour of Modal, fal and RunPod (scaledown window 60 s, buffer containers, queue delay).
    """

    interval_s = 1.0
    cancels_loading = False

    def __init__(self, idle_s: float = 60.0, *, buffer: int = 0, delay_s: float = 0.0, floor: int = 0) -> None:
        self.name, self.initial = "idle", floor
        self._idle_s, self._buffer, self._delay_s, self._floor = idle_s, buffer, delay_s, floor

    @property
    def policy(self) -> IdleTimeout:
        return self

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        waiting = view.waiting or 0
        if self._delay_s and view.oldest_wait_s < self._delay_s:
            waiting = 0
        active = waiting or view.busy_left_s or view.draining
        spare = len(view.idle_for_s) + len(view.loading_left_s)
        more = waiting + (self._buffer if active else 0) - spare
        if more > 0:
            return advise(max(self._floor, view.replicas + more), view.replicas), True
        over = sum(idle_s >= self._idle_s for idle_s in view.idle_for_s)
        return advise(max(self._floor, view.replicas - over), view.replicas), True

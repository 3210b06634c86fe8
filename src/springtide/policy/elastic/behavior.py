"""How the Kubernetes autoscaler (HPA v2) turns a ratio into replicas, and how fast it lets them change.

Source: kubernetes/kubernetes pkg/controller/podautoscaler (replica_calculator.go, horizontal.go), autoscaling/v2
defaults. Unlike there, replicas that still load are counted, and a busy replica is never asked to go.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal

import msgspec


class Select(StrEnum):
    """Which of several rules holds."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """At most so many replicas, or so many percent of them, in a period."""

    kind: Literal["replicas", "percent"]
    value: float
    period_s: float


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """One direction: rules, how they combine, and the window whose most cautious recommendation counts."""

    rules: tuple[Rule, ...]
    select: Select = Select.MAX
    window_s: float = 0.0


class Behavior(msgspec.Struct, frozen=True, kw_only=True):
    """Both directions, with the defaults of autoscaling/v2."""

    tolerance: float = 0.1
    up: Scaling = Scaling(
        rules=(Rule(kind="percent", value=100, period_s=15), Rule(kind="replicas", value=4, period_s=15))
    )
    down: Scaling = Scaling(rules=(Rule(kind="percent", value=100, period_s=15),), window_s=300.0)


class BehaviorMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Recommendations and changes of the last minutes, oldest first: (at_s, replicas), (at_s, change)."""

    recommended: tuple[tuple[float, int], ...] = ()
    changed: tuple[tuple[float, int], ...] = ()


def from_average(total: float, target: float, replicas: int, tolerance: float) -> int:
    """Replicas at which each has `target` of a total; as many as now where that is nearly so."""
    if replicas == 0:
        return math.ceil(total / target)
    ratio = total / (target * replicas)
    return replicas if abs(1.0 - ratio) <= tolerance else math.ceil(total / target - 1e-9)


def from_utilization(
    mean: float, target: float, *, ready: int, loading: int, now: int, tolerance: float, missing: int = 0
) -> int:
    """Replicas at which the mean utilisation would be the target; those that load count as unused on the way up.

    missing: ready replicas that `mean` does not rest on. They count as unused on the way up, and as used in full on the
    way down, so that what is not known never exaggerates a change."""
    if ready <= missing:
        return now
    if missing:
        assumed = 0.0 if mean > target else max(1.0, target)
        towards = (mean * (ready - missing) + assumed * missing) / ready
        if (mean > target) != (towards > target):
            return now
        mean = towards
    ratio = mean / target
    if abs(1.0 - ratio) <= tolerance:
        return now
    if ratio > 1.0 and loading:
        everyone = ready + loading
        cautious = mean * ready / everyone / target
        if cautious <= 1.0 or abs(1.0 - cautious) <= tolerance:
            return now
        return max(now, math.ceil(cautious * everyone - 1e-9))
    return math.ceil(ratio * ready - 1e-9)


def behave(
    wish: int, now: int, now_s: float, *, memory: BehaviorMemory, behavior: Behavior
) -> tuple[int, BehaviorMemory]:
    """The wish, stabilised and slowed. now: replicas there are, loading ones included."""
    window_s = max(behavior.up.window_s, behavior.down.window_s)
    recommended = (*(one for one in memory.recommended if one[0] > now_s - window_s), (now_s, wish))
    least = min(n for at_s, n in recommended if at_s > now_s - behavior.up.window_s or at_s == now_s)
    most = max(n for at_s, n in recommended if at_s > now_s - behavior.down.window_s or at_s == now_s)
    steady = max(least, min(now, most)) if least <= most else now
    longest_s = max((rule.period_s for rule in (*behavior.up.rules, *behavior.down.rules)), default=0.0)
    changed = tuple(one for one in memory.changed if one[0] > now_s - longest_s)
    if steady > now:
        steady = min(steady, _limit(now, now_s, changed, behavior.up, sign=1))
    elif steady < now:
        steady = max(steady, _limit(now, now_s, changed, behavior.down, sign=-1))
    if steady != now:
        changed = (*changed, (now_s, steady - now))
    return steady, BehaviorMemory(recommended=recommended, changed=changed)


def _limit(now: int, now_s: float, changed: tuple[tuple[float, int], ...], scaling: Scaling, *, sign: int) -> int:
    """How far the rules let it go from `now` in this direction."""
    if scaling.select is Select.DISABLED:
        return now
    ends: list[int] = []
    for rule in scaling.rules:
        done = sum(change for at_s, change in changed if at_s > now_s - rule.period_s and change * sign > 0)
        start = now - done  # what there was at the beginning of the period
        if rule.kind == "replicas":
            ends.append(start + sign * int(rule.value))
        elif sign > 0:
            ends.append(math.ceil(start * (1 + rule.value / 100)))
        else:
            ends.append(int(start * (1 - rule.value / 100)))
    if not ends:
        return now + sign * (1 << 30)
    furthest, nearest = (max(ends), min(ends)) if sign > 0 else (min(ends), max(ends))
    return furthest if scaling.select is Select.MAX else nearest

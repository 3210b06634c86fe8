"""Policies by the names that `springtide simulate --policies` takes: Springtide's own and those of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from springtide.domain.errors import ConfigError
from springtide.policy.elastic import queue, tide, trisignal, utilization
from springtide.policy.elastic.bounds import Bounds
from springtide.policy.elastic.named import bound
from springtide.policy.elastic.view import Policy
from springtide.sim.pool.engine import Contender
from springtide.sim.pool.peers.kubernetes import Hpa, Keda
from springtide.sim.pool.peers.serving import IdleTimeout, Kpa, RayServe, Static
from springtide.sim.pool.weather import Weather


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of the product as a contender: idle replicas are drained first, what loads is waited for."""

    policy: Policy
    initial: int = 0
    cancels_loading: bool = False


def tide_for(wait_s: float, share: float, weather: Weather | None = None, **changed: Any) -> Ours:
    """The default policy for an objective."""
    cold_start_s = weather.expected_s if weather is not None else tide.TideSettings().cold_start_s
    changed = {"explains": False, **changed}
    return Ours(policy=bound(tide.TideSettings(wait_s=wait_s, share=share, cold_start_s=cold_start_s, **changed)))


PEERS: dict[str, Callable[[], Contender]] = {
    "hpa": Hpa,
    "hpa-queue": lambda: Hpa("queue", 5.0, name="hpa-queue"),
    "keda": Keda,
    "kpa": Kpa,
    "ray": RayServe,
    "idle": IdleTimeout,
}
OWN = ("tide", "queue", "utilization", "trisignal")
MEANINGS = {
    "tide": "Springtide's default: what waits and a quantile of what will come over a cold start, against what the "
    "replicas there can do",
    "queue": "Springtide's rule of so many jobs a replica",
    "utilization": "Springtide's rule of so large a share of time in use",
    "trisignal": "Springtide's rule of memory, latency and queue",
    "hpa": "the Kubernetes HorizontalPodAutoscaler at 70 % of replicas busy, never fewer than one",
    "hpa-queue": "the Kubernetes HorizontalPodAutoscaler at five jobs a replica, never fewer than one",
    "keda": "KEDA with its defaults: from and to zero by the queue, between by five jobs a replica",
    "kpa": "Knative's autoscaler with its defaults: 0.7 jobs a replica over a minute, six seconds in a panic",
    "ray": "Ray Serve with its defaults: two requests in flight a replica, up after 30 s, down after 600 s",
    "idle": "a replica for each job that finds none, gone after so long idle (60 s unless said), as on serverless GPUs",
    "static": "always so many replicas",
}


def meaning(name: str) -> str:
    """What a policy of this name is, for whoever reads a report."""
    kind = name.partition("-")[0]
    return MEANINGS.get(name) or MEANINGS.get(name.removesuffix("-tuned")) or MEANINGS.get(kind, "")


def named(name: str, wait_s: float, share: float, weather: Weather) -> Contender:
    """One by its name; `static-8` are eight replicas, `idle-120` an idle timeout of two minutes."""
    kind, _, figure = name.partition("-")
    if figure.isdigit() and kind in {"static", "idle"}:
        return Static(int(figure)) if kind == "static" else IdleTimeout(float(figure))
    if name in PEERS:
        return PEERS[name]()
    match name:
        case "tide":
            return tide_for(wait_s, share, weather)
        case "queue":
            return Ours(policy=bound(queue.QueueSettings()))
        case "utilization":
            return Ours(policy=bound(utilization.UtilizationSettings()), initial=1)
        case "trisignal":
            settings = trisignal.TrisignalSettings(bounds=Bounds(min_replicas=1, max_replicas=1000))
            return Ours(policy=bound(settings), initial=1)
        case _:
            there = ", ".join([*OWN, *PEERS, "static-N", "idle-SECONDS", "PEER-tuned"])
            raise ConfigError(f"no policy is called {name!r}; there are: {there}")

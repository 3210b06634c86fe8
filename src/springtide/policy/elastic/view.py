"""What every elastic policy sees and says, in production and in the simulator alike.

A policy is `decide(view, memory, settings) -> (decision, memory)`. Figures that nobody could measure are None, and a
policy that needs them holds with the reason NO_DATA: no data is not zero. Counters only ever grow; a policy takes
differences, and a counter that fell (a restart) counts as no news. Everything here survives a round trip through JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec


class Reason(StrEnum):
    """Why a decision is what it is: the closed list."""

    QUEUE = "QUEUE"  # what waits and what runs asks for it
    FORECAST = "FORECAST"  # what is expected over the cold start asks for it
    UTILIZATION = "UTILIZATION"  # how busy, or how full, the replicas are asks for it
    LATENCY = "LATENCY"  # how long jobs take asks for it
    SCHEDULE = "SCHEDULE"  # the time of day asks for it
    IDLE = "IDLE"  # fewer will do
    HOLD = "HOLD"  # as many as there are
    COOLDOWN = "COOLDOWN"  # it would change, but has changed too recently
    NO_DATA = "NO_DATA"  # a figure that it needs is missing or too old
    FLOOR = "FLOOR"  # the least allowed is more
    CEILING = "CEILING"  # the most allowed is less
    BUDGET = "BUDGET"  # other models need the room
    COST = "COST"  # the money for the day is spent
    BY_HAND = "BY_HAND"  # an operator has ordered it
    PAUSED = "PAUSED"  # an operator has paused the model: what runs is finished, nothing is begun
    CRASH_LOOP = "CRASH_LOOP"  # replicas do not come up: more of them would not help


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """One model's queue and replicas at one time. The objective is the model's: a wait, and the share that keeps it."""

    now_s: float
    age_s: float = 0.0  # how old the figures of the queue are
    waiting: int | None = None  # None: the queue could not be asked
    waiting_s: float = 0.0  # predicted seconds of work in it
    oldest_wait_s: float = 0.0
    arrived: int = 0  # counters since the beginning: jobs that came,
    arrived_s: float = 0.0  # their predicted seconds,
    arrived_s2: float = 0.0  # and the squares of those, for the spread
    started: int = 0  # jobs that began to run (first attempts),
    late: int = 0  # of them those that had waited for longer than the objective
    inside_s: float = 0.0  # integral of jobs waiting or running, in job seconds
    busy_s: float = 0.0  # integral of busy replicas
    ready_s: float = 0.0  # integral of replicas that are up
    idle_for_s: tuple[float, ...] = ()  # one figure a replica: for how long it has been idle
    busy_left_s: tuple[float, ...] = ()  # predicted rest of what it runs; below zero: it is late by so much
    loading_left_s: tuple[float, ...] = ()  # predicted rest of its start
    draining: int = 0
    failing: int = 0  # died at the start and wait for another try; counted in no other figure
    cold_start_s: float | None = None  # as measured: the median
    cold_start_s_p90: float | None = None
    gpu_utilization: float | None = None  # mean share of time that accelerators computed, 0 to 1
    gpu_memory: float | None = None  # mean share of their memory in use
    cpu_utilization: float | None = None  # mean share of the processors that replicas may use
    memory_utilization: float | None = None  # mean share of the memory that they may have
    measured: int | None = None  # replicas that the four above rest on; None: all that are ready
    latency_s_p95: float | None = None  # from arrival to end, of the last jobs

    @property
    def ready(self) -> int:
        """Replicas that run or could run a job now."""
        return len(self.idle_for_s) + len(self.busy_left_s)

    @property
    def replicas(self) -> int:
        """Replicas that are there to stay: draining ones are not."""
        return len(self.idle_for_s) + len(self.busy_left_s) + len(self.loading_left_s) + self.failing


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy says: replicas within its bounds, what it wished for without them, why, and from which figures."""

    replicas: int
    wish: int
    reason: Reason
    message: str = ""
    figures: dict[str, float] = {}


MemoryT = TypeVar("MemoryT")


def memory_of(body: str, kind: type[MemoryT]) -> MemoryT | None:
    """What was remembered as JSON; None where this version cannot read it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        return None


class Policy(Protocol):
    """A policy with its settings bound. `memory` is a msgspec struct; None at the very beginning."""

    @property
    def name(self) -> str: ...

    @property
    def interval_s(self) -> float:
        """How often it is asked."""
        ...

    @property
    def memory_type(self) -> Any:
        """What `decide` remembers, to read it from JSON again."""
        ...

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]: ...

"""What is kept of the fleet's past: who came when, how it was sized and why, and what the controller has learnt.

Kept beside the jobs, so that a controller which starts anew goes on where the old one stopped, and an operator may ask
tomorrow why the fleet grew today. Written seldom (a few rows a second at most), never on a job's path.

Promises: a memory, a decision or a sample that was put is on disk; putting the same again changes nothing. Raises what
`ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from springtide.domain.fleet import Decision
from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import Foretold


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What came in for one model over some time."""

    model: ModelName
    jobs: int
    work_s: float  # sum of what the jobs were predicted to take
    work_s2: float  # sum of the squares of that


class Attained(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the jobs that came in some time began within the wait that is aimed at."""

    jobs: int
    late: int


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A job that came to a result."""

    id: JobId
    model: ModelName
    predicted_s: float  # as it was queued
    wait_s: float  # from its creation to the start of its last attempt
    run_s: float  # of that attempt
    took_s: float = 0.0  # from its creation to its end
    foretold: Foretold | None = None  # when it was accepted


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A job that came to a result, as a line of a trace."""

    id: JobId
    model: ModelName
    tenant: TenantId
    came_at_s: float
    predicted_s: float
    run_s: float  # of its last attempt


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that changed something: the number of replicas, or the reason for it."""

    at_s: float
    before: int  # replicas, as the decision found them
    decision: Decision


class FleetSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's queue and fleet at one time, for a timeline. None: it could not be learnt."""

    model: ModelName
    at_s: float
    arrived: int | None = None  # jobs since the sample before
    queued: int | None = None
    running: int | None = None
    oldest_wait_s: float | None = None
    wait_s_p95: float | None = None  # of the jobs that ended last
    wanted: int = 0
    ready: int = 0  # idle and busy
    busy: int = 0
    loading: int = 0
    draining: int = 0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Something learnt, as its owner wrote it down."""

    name: str  # such as tide:matting
    at_s: float
    body: str  # JSON


def cost_memory(model: ModelName) -> str:
    """What is known of how long jobs of a model run by what was predicted of them: a `policy.cost.CostMemory`. It puts
    right what the queue holds, whenever that was predicted."""
    return f"cost:{model}"


def features_memory(model: ModelName) -> str:
    """What is known of how long they run by the engine's estimate and features: a `policy.cost.CostMemory`."""
    return f"features:{model}"


def eta_memory(model: ModelName) -> str:
    """How far what clients were promised is off: a `policy.eta.Calibration`."""
    return f"eta:{model}"


def starts_memory(name: ModelName) -> str:
    """The last cold starts of a model, or of a pool of them, in seconds: a list."""
    return f"cold starts:{name}"


def fleet_memory(name: ModelName) -> str:
    """What keeps workers of a model, or of a pool of them, from coming up: a `domain.fleet.FleetNews`."""
    return f"fleet:{name}"


class FleetHistory(Protocol):
    """The past of the fleet."""

    async def arrived(self, *, since_s: float, until_s: float) -> list[Arrived]:
        """Jobs created in that time, by model; nothing for models without any. Steps of pipelines count, each when its
        turn came; the pipelines around them do not."""
        ...

    async def attained(
        self, model: ModelName, *, wait_s: float, since_s: float, until_s: float, now_s: float
    ) -> Attained:
        """Of the jobs created in that time (no steps): how many had not begun `wait_s` later. Who has not begun by
        `now_s`, as far as is on record, counts as waiting until then: ask when the answer is known, a few seconds after
        `until_s + wait_s`. Jobs that were cancelled while they waited do not count."""
        ...

    async def ended(self, *, since_s: float, limit: int) -> list[Ended]:
        """The newest jobs of all models, created from then on, that have completed; newest first. (Not by model: for
        one that has none, all the jobs of the others would be read.)"""
        ...

    async def ran(self, *, since_s: float, after: JobId | None, limit: int) -> list[Ran]:
        """Jobs of all models and tenants created from then on that have completed, oldest first by id; steps count,
        the pipelines around them do not. `after`: the last id of the page before."""
        ...

    async def put_scaled(self, made: Sequence[Scaled]) -> None: ...

    async def scaled(self, model: ModelName, *, before_s: float, limit: int) -> list[Scaled]:
        """Decisions on one model made before then, newest first."""
        ...

    async def put_samples(self, taken: Sequence[FleetSample]) -> None: ...

    async def samples(self, model: ModelName, *, since_s: float, limit: int) -> list[FleetSample]:
        """Samples of one model from then on, oldest first."""
        ...

    async def put_memories(self, learnt: Sequence[Memory]) -> None:
        """Write down what was learnt; the newest of one name stays, whoever wrote it."""
        ...

    async def memories(self, names: Sequence[str]) -> list[Memory | None]: ...

    async def forget_history(self, *, before_s: float) -> None:
        """Delete decisions and samples from before then."""
        ...

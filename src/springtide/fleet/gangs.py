"""Groups of processes that run one attempt together ("gangs"), and what whoever runs them must be able to do.

Siblings: `processes` (of this machine), `pytorchjob` (objects in a cluster). The worker of a distributed model holds
the lease and its heartbeat; the gang computes, and its rank 0 reports the result to the broker in the worker's name.
An attempt has one gang, ever: its name has the attempt's number, so what a lost gang still says is refused.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from springtide.domain.ids import JobId, WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import Lease, Payload

FETCH = "fetch"  # the init container that brings the inputs of an attempt
REPORTED_EXIT = 3  # of a rank that has told the broker how the attempt ended, and it did not end well
_NAME = re.compile(r"job-([0-9a-f]{32})-(\d+)")


class Runs(StrEnum):
    """What a gang is made of."""

    PROCESSES = "processes"
    PYTORCHJOB = "pytorchjob"
    TRAINJOB = "trainjob"


class GangShape(msgspec.Struct, frozen=True, kw_only=True):
    """How large the gangs of a model are, and how patient one is with their start."""

    processes: int = 1
    gpus_each: int = 0
    start_timeout_s: float = 600.0  # until all of them run; images may have to be pulled


class GangPods(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's gangs are made of in a cluster, the same for each: written by `deploy`, read by the worker."""

    pod: dict[str, Any] = {}  # for templates: spec, container, env, resources, fetch_resources, before
    instance: str = "springtide"  # [kubernetes] name
    template: str | None = None  # file of the operator's own
    runtime: str = "torch-distributed"  # of a TrainJob
    runtime_is_ours: bool = False  # as `deploy` wrote it for this model; else a ClusterTrainingRuntime of the cluster
    queue: str = ""  # Kueue's LocalQueue
    volcano_queue: str = ""
    keep_s: int = 600  # an object that is over, for who reads its logs


class GangPhase(StrEnum):
    """Where a gang is."""

    PENDING = "pending"  # not all of its processes run
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # rank 0 has reported how the attempt ended
    FAILED = "failed"  # a process was lost, and so the gang


class GangView(msgspec.Struct, frozen=True, kw_only=True):
    """A gang as it was last seen."""

    name: str
    job: JobId
    attempt: int
    worker: WorkerId  # who started it
    phase: GangPhase
    message: str = ""  # what it waits for
    error: JobError | None = None  # of one that failed: what was lost, and how
    is_orphan: bool = False  # its worker is known to be dead

    @property
    def is_over(self) -> bool:
        return self.phase in (GangPhase.SUCCEEDED, GangPhase.FAILED)


class Gangs(Protocol):
    """Starts gangs and tells how they are."""

    async def open(self) -> None:
        """Raises ConfigError where no gang could be started here (a cluster without the kind of object), Unavailable
        where that cannot be asked now."""
        ...

    async def close(self) -> None:
        """Let go of connections. Gangs that run are stopped before, one by one."""
        ...

    async def start(self, lease: Lease) -> GangView:
        """Start the gang of this attempt; the same again changes nothing. Raises Unavailable or OutcomeUnknown (safe to
        repeat), ConfigError, AttemptFailed for a job that cannot be started so."""
        ...

    async def change(self, seen: GangView) -> GangView:
        """Wait until a gang is not as it was `seen`; one that is gone has failed. Raises Unavailable."""
        ...

    async def stop(self, name: str) -> None:
        """End it with all its processes; returns when none of them is left. Raises Unavailable: then some may be."""
        ...

    async def list(self) -> list[GangView]:
        """All gangs of this model that are there, of whatever worker: also those of workers that are gone."""
        ...


def gang_name(job: JobId, attempt: int) -> str:
    """A DNS label of at most 46 characters."""
    return f"{job.replace('_', '-')}-{attempt}"


def has_files(lease: Lease) -> bool:
    """Whether something is to be fetched before its gang runs."""
    try:
        return lease.checkpoint is not None or bool(msgspec.msgpack.decode(lease.payload, type=Payload).files)
    except msgspec.DecodeError:
        return False  # its rank 0 will say so


def attempt_of(name: str) -> tuple[JobId, int] | None:
    """The other way round; None for a name that is no gang's."""
    found = _NAME.fullmatch(name)
    return None if found is None else (JobId(f"job_{found[1]}"), int(found[2]))

"""Rollouts on record, beside the jobs: every gateway and controller that has the ledger follows the same ones.

Promises: a change that was put is on disk, and of two changes to the same revision one is refused, so nothing is
overwritten unseen; `rollout_changes` differs after every change, whoever made it. A job that waits for an aborted
version goes to the other one in one step. Raises what `ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from springtide.domain.ids import JobId, ModelName
from springtide.domain.job import Job
from springtide.domain.rollout import Retired, Rollout, Sample


class Rollouts(Protocol):
    """What decides which version of a model a job is for, and what is known of how the versions do."""

    async def rollout_changes(self) -> int:
        """A number that grows with every rollout that was put, and with nothing else."""
        ...

    async def rollouts(self) -> list[Rollout]:
        """All there ever were, in the order they began for each model."""
        ...

    async def put_rollout(self, rollout: Rollout) -> bool:
        """Record a new one (revision 1), or a change of the revision before. False, and nothing happens, where somebody
        else was first."""
        ...

    async def sampled(self, model: ModelName, unit: ModelName | None, *, since_s: float, limit: int) -> Sample:
        """What the first attempts came to of a version's newest jobs created from then on, at most `limit` of them.
        `unit` as a job has it. Attempts that were cancelled, or failed by what the caller sent, do not count."""
        ...

    async def waiting_for(self, retired: Retired, *, after: JobId | None, limit: int) -> list[Job]:
        """Jobs that wait, as far as is on record, in the queue of a version that is retired, and whose callers have not
        asked for it by name; oldest first."""
        ...

    async def reroute(self, jobs: Sequence[JobId], retired: Retired) -> list[Job]:
        """Send those that still wait there to the other version. Returns them as they are now."""
        ...

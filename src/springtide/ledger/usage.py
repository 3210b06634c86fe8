"""What tenants used, by day and model: for bills, overviews and daily quotas.

Promises: a job's end and the seconds of an attempt are counted in the commit that puts them on record, so each counts
once, whatever is repeated or crashes; the figures stay when the jobs are deleted. Uploaded bytes are counted by the
gateway that took them in, a second or so later; one that is killed loses that second's. Raises what
`ledger.protocol.Ledger` raises.

A second is one of a worker with a job: the run as the engine's process measured it, or, where an attempt ended without
a result, from its lease to its end. An attempt that was lost with its worker costs nothing. A day is one of UTC, and a
job's seconds are those of the day on which its attempt ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from springtide.domain.ids import ModelName, TenantId
from springtide.domain.lease import Outcome

DAY_S = 86_400
NO_FAULT_OF_THE_JOBS = frozenset({"worker_lost"})


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant used of one model on one day. A pipeline is counted as a job of its own name, without seconds:
    its steps have them."""

    tenant: TenantId
    day: int  # since 1970-01-01
    model: ModelName | None  # None: what is no model's, such as uploads
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    seconds: float = 0.0
    uploaded_bytes: int = 0


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What daily quotas look at."""

    seconds: float = 0.0
    uploaded_bytes: int = 0
    waiting_s: float = 0.0  # what the tenant's jobs without an end are predicted to take


class Usage(Protocol):
    """Usage on record."""

    async def used(self, tenant: TenantId | None, *, since_day: int, until_day: int) -> list[Used]:
        """Of one tenant or all, both days included; by day, tenant and model."""
        ...

    async def spent(self, tenants: Sequence[TenantId], day: int) -> dict[TenantId, Spent]:
        """Those without any are missing."""
        ...

    async def add_uploaded(self, uploaded: Mapping[TenantId, int], day: int) -> None: ...

    async def forget_used(self, *, before_day: int) -> None:
        """Delete what was used on days before then."""
        ...


def day_of(at_s: float) -> int:
    return int(at_s // DAY_S)


def used_s(outcome: Outcome) -> float:
    """Seconds of a worker that an attempt took, now that it has ended."""
    if not outcome.attempt or (outcome.error is not None and outcome.error.code in NO_FAULT_OF_THE_JOBS):
        return 0.0
    if outcome.run_s is not None:
        return max(0.0, outcome.run_s)
    return 0.0 if outcome.started_at_s is None else max(0.0, outcome.finished_at_s - outcome.started_at_s)

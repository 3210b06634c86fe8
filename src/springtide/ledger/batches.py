"""Batches on record: many jobs that came in one request, and what became of each of its items.

Most of a batch is told by its jobs, whose ids follow from its own (`domain.ids.job_in_batch`): only items without a job
of their own are written down, those that were refused and those that got a job known already by its key.

Promises: what was begun, noted or asked is on disk when the call returns; doing it again changes nothing. Raises what
`ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from springtide.domain.ids import BatchId, JobId, ModelName, TenantId
from springtide.domain.job import Job, JobStatus


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch as it is on record."""

    id: BatchId
    tenant: TenantId
    created_at_s: float
    total: int  # items of the request
    fingerprint: str  # SHA-256 of what was sent
    idempotency_key: str | None = None
    retry_of: BatchId | None = None  # the batch whose unsuccessful jobs this one does again
    received: int = 0  # items that were dealt with, from the first on
    touched_at_s: float = 0.0  # when that was noted last
    closed_at_s: float | None = None  # since when all of them have been
    cancel_asked_at_s: float | None = None


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    """An item without a job of its own: refused (`problem`), or answered with a `job` that was there before."""

    place: int
    job: JobId | None = None
    problem: dict[str, Any] | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a batch have one model and one state."""

    model: ModelName
    status: JobStatus
    jobs: int
    predicted_s: float  # sum of what they were thought to take


class Batches(Protocol):
    """Batches of jobs."""

    async def begin(self, batch: Batch) -> Batch:
        """Record a batch; the one that has this tenant's idempotency key already, where there is one."""
        ...

    async def note(
        self, batch: BatchId, received: int, now_s: float, *, lines: Sequence[BatchLine] = (), closed: bool = False
    ) -> Batch | None:
        """The first `received` items have been dealt with; `lines`: those without a job of their own. The batch as it
        is then."""
        ...

    async def ask_cancel(self, batch: BatchId, now_s: float) -> None:
        """Note that its jobs shall be cancelled. The first wish stays."""
        ...

    async def get(self, batch: BatchId) -> Batch | None: ...

    async def list(self, tenant: TenantId, *, after: BatchId | None, limit: int) -> list[Batch]:
        """Newest first; `after` is the last id of the page before."""
        ...

    async def lines(self, batch: BatchId, *, first: int, end: int) -> list[BatchLine]:
        """Items without a job of their own at places from `first` to before `end`, in order."""
        ...

    async def refused(self, batch: BatchId, *, limit: int) -> tuple[int, list[BatchLine]]:
        """How many items were refused, and the first of them."""
        ...

    async def jobs(self, batch: BatchId, *, first: int, end: int) -> list[Job]:
        """Its own jobs at places from `first` to before `end`, in order; those that were deleted are not among them."""
        ...

    async def tally(self, batch: BatchId) -> list[Tally]:
        """Its jobs by model and state, those that were known before included."""
        ...

    async def running(self, batch: BatchId, *, limit: int) -> list[Job]:
        """Its own jobs that have been noted as in progress, and pipelines without an end."""
        ...

    async def last_queued(self, batch: BatchId, model: ModelName) -> Job | None:
        """Of its own jobs of a model that wait, the newest: likely to be the last to start."""
        ...

    async def forget_batches(self, *, before_s: float) -> None:
        """Delete batches from before then of which no job is on record any more."""
        ...


class Secrets(Protocol):
    """Secrets that all processes at one ledger share."""

    async def shared(self, name: str, fresh: str) -> str:
        """The secret of that name. `fresh` becomes it where there is none."""
        ...

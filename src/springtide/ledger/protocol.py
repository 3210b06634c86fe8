"""What every ledger does. One implementation, `sql`, on SQLite and PostgreSQL; `testing.ledger_suite` holds both.

Promises:

- When `insert` returns, the jobs are on disk (fsync). Concurrent calls share one commit.
- A job's terminal state is written once: the first terminal outcome wins, every later one changes nothing.
- Reads see every write whose call has returned.

Raises `Unavailable` where the database cannot be reached, with the cause kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from springtide.domain.errors import SpringtideError
from springtide.domain.ids import BlobId, JobId, ModelName, TenantId
from springtide.domain.job import BlobRef, Job, JobError, JobStatus
from springtide.domain.lease import LiveJob, Outcome


class Inserted(msgspec.Struct, frozen=True):
    """What `insert` did with one job: `job` is new, or the one that already has this tenant's idempotency key."""

    job: Job
    is_new: bool


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs `list` shows. All conditions hold together; None asks for nothing."""

    tenant: TenantId
    model: ModelName | None = None
    statuses: tuple[JobStatus, ...] = ()
    created_after_s: float | None = None
    created_before_s: float | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that ended while its job went on, or failed."""

    job: JobId
    attempt: int
    worker: str | None
    started_at_s: float | None
    finished_at_s: float
    error: JobError | None


class StoredBlob(msgspec.Struct, frozen=True, kw_only=True):
    """A blob on record."""

    ref: BlobRef
    tenant: TenantId
    created_at_s: float


class Ledger(Protocol):
    """Jobs, their ends, and the blobs they own."""

    async def start(self) -> None:
        """Connect and migrate. Raises Unavailable, or ConfigError where the schema is newer than this code."""
        ...

    async def stop(self) -> None: ...

    async def insert(self, jobs: Sequence[Job]) -> list[Inserted]:
        """Record jobs. The insert is the promise."""
        ...

    async def insert_each(self, jobs: Sequence[Job]) -> list[Inserted | SpringtideError]:
        """The same, each job on its own: one that is refused, or that was on its way when the database went, takes no
        other along. Raises only where none was tried."""
        ...

    async def get(self, ids: Sequence[JobId]) -> list[Job | None]: ...

    async def list(self, where: JobFilter, *, after: JobId | None, limit: int) -> list[Job]:
        """Newest first; `after` is the last id of the page before (ids sort by time)."""
        ...

    async def live(self, *, after: JobId | None, limit: int, created_before_s: float) -> list[Job]:
        """Jobs without a terminal state, oldest first, for rebuilding a broker and for the sweep."""
        ...

    async def record_running(self, running: Sequence[LiveJob]) -> None:
        """Note jobs as in progress (attempt, worker, start). Changes nothing for jobs that have ended, nor for an older
        attempt than the one noted."""
        ...

    async def record(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Write outcomes; True for each terminal one that became its job's end now. Idempotent by (job, attempt)."""
        ...

    async def attempts(self, job: JobId) -> list[Attempt]:
        """Attempts on record, in order: those that ended in failure, loss or cancellation."""
        ...

    async def put_blobs(self, blobs: Sequence[StoredBlob]) -> None: ...

    async def get_blobs(self, ids: Sequence[BlobId]) -> list[StoredBlob | None]: ...

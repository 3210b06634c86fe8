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
from springtide.domain.ids import BatchId, BlobId, JobId, ModelName, TenantId
from springtide.domain.job import BlobRef, Job, JobError, JobRef, JobStatus
from springtide.domain.lease import LiveJob, Outcome


class Inserted(msgspec.Struct, frozen=True):
    """What `insert` did with one job: `job` is new, or the one that already has this tenant's idempotency key."""

    job: Job
    is_new: bool


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs `list` shows. All conditions hold together; None asks for nothing but where said."""

    tenant: TenantId
    model: ModelName | None = None
    parent: JobId | None = None  # the steps of this pipeline; None: jobs that are nobody's step
    batch: BatchId | None = None  # those that came in with it
    statuses: tuple[JobStatus, ...] = ()
    created_after_s: float | None = None
    created_before_s: float | None = None
    oldest_first: bool = False  # the order; not for `parent`


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
    loose_since_s: float | None = None  # since when no job has it; None while one does


class PendingUpload(msgspec.Struct, frozen=True, kw_only=True):
    """A blob whose bytes a client was told where to put, and what it said of them."""

    id: BlobId
    tenant: TenantId
    bytes: int
    name: str | None
    media_type: str | None
    sha256: str | None
    created_at_s: float
    expires_at_s: float
    token_sha256: str  # of the secret in the gateway's own upload URL


class LiveRef(msgspec.Struct, frozen=True):
    """Of a job without an end what says where it should be, and since when."""

    id: JobId
    queue: ModelName
    created_at_s: float

    @property
    def ref(self) -> JobRef:
        return JobRef(self.queue, self.id)


class Ledger(Protocol):
    """Jobs, their ends, and the blobs they have."""

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

    async def keyed(self, keys: Sequence[tuple[TenantId, str]]) -> list[Job | None]:
        """Jobs by tenant and idempotency key."""
        ...

    async def list(self, where: JobFilter, *, after: JobId | None, limit: int) -> list[Job]:
        """Newest first, unless asked otherwise; `after` is the last id of the page before (ids sort by time)."""
        ...

    async def live(self, *, after: JobId | None, limit: int, created_before_s: float) -> list[LiveRef]:
        """Jobs without a terminal state, oldest first, for rebuilding a broker and for the sweep, which asks for all of
        a long queue and needs few of them whole. No pipelines: they are never in a broker."""
        ...

    async def live_pipelines(self, *, after: JobId | None, limit: int) -> list[Job]:
        """Pipelines without a terminal state, oldest first."""
        ...

    async def ask_cancel(self, job: JobId, now_s: float) -> None:
        """Note that a job shall be cancelled. The first wish stays; one for a job that has ended changes nothing."""
        ...

    async def record_running(self, running: Sequence[LiveJob]) -> None:
        """Note jobs as in progress: attempt, worker, start, and the checkpoint where there is one. Changes nothing for
        jobs that have ended, nor for an older attempt than the one noted."""
        ...

    async def record(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Write outcomes; True for each terminal one that became its job's end now. Idempotent by (job, attempt). A job
        that goes on keeps its checkpoint; one that has ended has none."""
        ...

    async def attempts(self, job: JobId) -> list[Attempt]:
        """Attempts on record, in order: those that ended in failure, loss or cancellation."""
        ...

    async def put_blobs(self, blobs: Sequence[StoredBlob]) -> None:
        """Note blobs that no job has yet. Those of a job are noted in its own commit, by `insert` and `record`."""
        ...

    async def get_blobs(self, ids: Sequence[BlobId]) -> list[StoredBlob | None]: ...

    # --- uploads that clients make themselves ---

    async def put_upload(self, upload: PendingUpload) -> None: ...

    async def get_upload(self, blob: BlobId) -> PendingUpload | None: ...

    async def claim_upload(self, blob: BlobId, now_s: float, *, stale_before_s: float) -> bool:
        """Whether the upload is ours to look at: of several that ask at once one gets it, until `release_upload`. A
        claim from before `stale_before_s` is one that a crash left."""
        ...

    async def release_upload(self, blob: BlobId) -> None: ...

    async def finish_upload(self, blob: StoredBlob) -> None:
        """The blob is on record and its upload is not, in one commit: an upload on record is never a blob."""
        ...

    async def drop_uploads(self, blobs: Sequence[BlobId]) -> None: ...

    async def stale_uploads(self, *, expired_before_s: float, limit: int) -> list[BlobId]:
        """Uploads that were never completed, oldest first."""
        ...

    # --- what is kept for a time ---

    async def ended(self, *, before_s: float, after: JobId | None, limit: int) -> list[JobId]:
        """Jobs that ended before then, oldest first; `after` is the last one of the page before."""
        ...

    async def forget(self, jobs: Sequence[JobId], *, loose_since_s: float) -> None:
        """Delete ended jobs with their attempts. Blobs that no other job has are loose, as if since `loose_since_s`."""
        ...

    async def loose_blobs(self, *, before_s: float, limit: int) -> list[BlobId]:
        """Blobs that no job has had since before then, longest first."""
        ...

    async def drop_blobs(self, blobs: Sequence[BlobId]) -> None:
        """Take loose blobs off the record; their bytes are gone by now."""
        ...

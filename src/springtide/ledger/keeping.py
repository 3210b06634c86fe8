"""What is rare enough for plain statements: uploads under way, and what has been kept for its time and may go.

Each is a function of a connection that runs inside the writer's transaction. Deleting goes by primary key in small
batches, so that it never holds up what is submitted meanwhile, and works the same on a table that PostgreSQL keeps in
partitions by id: ids sort by time.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, exists, insert, or_, select, update

from springtide.domain.ids import BlobId, JobId
from springtide.ledger.rows import Row, padded
from springtide.ledger.tables import blobs, job_blobs, jobs, uploads

_IDS = bindparam("ids", expanding=True)
_BEFORE = bindparam("before_s")
_LIMIT = bindparam("limit")

# jobs_pk: from the oldest on. What is passed over has lived from before `born_before` to after `before_s`: few. Steps
# are not asked for: they go with their pipeline, which may need their results until its own end.
_ENDED = (
    select(jobs.c.id)
    .where(
        jobs.c.id > bindparam("after"),
        jobs.c.id < bindparam("born_before"),
        jobs.c.finished_at_s < _BEFORE,
        jobs.c.parent.is_(None),
    )
    .order_by(jobs.c.id)
    .limit(_LIMIT)
)
_LOOSE = (  # blobs_loose
    select(blobs.c.id).where(blobs.c.loose_since_s < _BEFORE).order_by(blobs.c.loose_since_s).limit(_LIMIT)
)
_STALE = select(uploads.c.id).where(uploads.c.expires_at_s < _BEFORE).order_by(uploads.c.id).limit(_LIMIT)  # uploads_pk
_UPLOAD = select(uploads).where(uploads.c.id == bindparam("id"))

_BLOBS_OF = select(job_blobs.c.blob).distinct().where(job_blobs.c.job.in_(_IDS))
_UNLINK = delete(job_blobs).where(job_blobs.c.job.in_(_IDS))
_LOOSEN = (
    update(blobs)
    .values(loose_since_s=bindparam("since_s"))
    .where(blobs.c.id.in_(_IDS), ~exists().where(job_blobs.c.blob == blobs.c.id))
)
_FORGET = delete(jobs).where(jobs.c.id.in_(_IDS), jobs.c.finished_at_s.is_not(None)).returning(jobs.c.id)
_FORGET_STEPS = delete(jobs).where(jobs.c.parent.in_(_IDS), jobs.c.finished_at_s.is_not(None)).returning(jobs.c.id)
_DROP_BLOBS = delete(blobs).where(blobs.c.id.in_(_IDS), blobs.c.loose_since_s.is_not(None))
_DROP_UPLOADS = delete(uploads).where(uploads.c.id.in_(_IDS))
_CLAIM = (
    update(uploads)
    .values(claimed_at_s=bindparam("now_s"))
    .where(
        uploads.c.id == bindparam("upload"),
        or_(uploads.c.claimed_at_s.is_(None), uploads.c.claimed_at_s < bindparam("stale_before_s")),
    )
    .returning(uploads.c.id)
)
_RELEASE = update(uploads).values(claimed_at_s=None).where(uploads.c.id == bindparam("upload"))


def ended_jobs(
    connection: Connection, *, after: JobId | None, born_before: str, before_s: float, limit: int
) -> Sequence[Row]:
    parameters = {"after": after or "", "born_before": born_before, "before_s": before_s, "limit": limit}
    return connection.execute(_ENDED, parameters).all()


def loose_blobs(connection: Connection, *, before_s: float, limit: int) -> Sequence[Row]:
    return connection.execute(_LOOSE, {"before_s": before_s, "limit": limit}).all()


def stale_uploads(connection: Connection, *, before_s: float, limit: int) -> Sequence[Row]:
    return connection.execute(_STALE, {"before_s": before_s, "limit": limit}).all()


def upload_by_id(connection: Connection, blob: BlobId) -> Row | None:
    return connection.execute(_UPLOAD, {"id": blob}).first()


def put_upload(connection: Connection, row: Row) -> None:
    connection.execute(insert(uploads).values(tuple(row)))


def claim_upload(connection: Connection, blob: BlobId, now_s: float, stale_before_s: float) -> bool:
    parameters = {"upload": blob, "now_s": now_s, "stale_before_s": stale_before_s}
    return connection.execute(_CLAIM, parameters).first() is not None


def release_upload(connection: Connection, blob: BlobId) -> None:
    connection.execute(_RELEASE, {"upload": blob})


def finish_upload(connection: Connection, blob: BlobId, row: Row) -> None:
    connection.execute(insert(blobs).values(tuple(row)))
    drop_uploads(connection, [blob])


def drop_uploads(connection: Connection, ids: Sequence[BlobId]) -> None:
    connection.execute(_DROP_UPLOADS, {"ids": padded(ids)})


def forget_jobs(connection: Connection, ids: Sequence[JobId], loose_since_s: float) -> None:
    """Attempts go with their job (ON DELETE CASCADE), steps with their pipeline."""
    gone = [row[0] for row in connection.execute(_FORGET, {"ids": padded(ids)})]
    gone += [row[0] for row in connection.execute(_FORGET_STEPS, {"ids": padded(gone)})]
    held = [row[0] for row in blobs_of_jobs(connection, gone)]
    connection.execute(_UNLINK, {"ids": padded(gone)})
    loosen(connection, held, loose_since_s)


def blobs_of_jobs(connection: Connection, ids: Sequence[JobId]) -> Sequence[Row]:
    return connection.execute(_BLOBS_OF, {"ids": padded(ids)}).all()


def loosen(connection: Connection, ids: Sequence[BlobId], since_s: float) -> None:
    """Blobs that lost a job and have no other one."""
    connection.execute(_LOOSEN, {"ids": padded(ids), "since_s": since_s})


def drop_blobs(connection: Connection, ids: Sequence[BlobId]) -> None:
    connection.execute(_DROP_BLOBS, {"ids": padded(ids)})

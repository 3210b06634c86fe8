"""Every query, as a function of a connection. None of them writes; each is served by an index named in `tables`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select, text, tuple_

from springtide.domain.ids import BlobId, JobId, first_job_id_at, shared_by_jobs_of
from springtide.ledger.protocol import JobFilter
from springtide.ledger.rows import Row, padded
from springtide.ledger.tables import LIVE_JOB, LIVE_PIPELINE, NO_STEP, attempts, blobs, jobs

LATE_S = (
    86_400.0  # between the making of an id and of its job: a batch that was cut off goes on the same day, a step later
)

_BY_IDS = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
_BY_ID = select(jobs).where(jobs.c.id == bindparam("id"))  # the hot one: a list is written out anew at each call
_BY_KEYS = select(jobs).where(
    tuple_(jobs.c.tenant, jobs.c.idempotency_key).in_(bindparam("keys", expanding=True)),
    text("idempotency_key IS NOT NULL"),  # names the partial index
)
_LIVE = (
    select(jobs.c.id, func.coalesce(jobs.c.unit, jobs.c.model), jobs.c.created_at_s)
    .where(
        text(LIVE_JOB),
        jobs.c.id > bindparam("after"),
        jobs.c.created_at_s < bindparam("created_before_s"),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("limit"))
)
_LIVE_PIPELINES = (
    select(jobs)
    .where(text(LIVE_PIPELINE), jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(bindparam("limit"))
)
_ATTEMPTS = select(attempts).where(attempts.c.job == bindparam("job")).order_by(attempts.c.attempt)
_BLOBS = select(blobs).where(blobs.c.id.in_(bindparam("ids", expanding=True)))


def jobs_by_ids(connection: Connection, ids: Sequence[JobId]) -> Sequence[Row]:
    if len(ids) == 1:
        return connection.execute(_BY_ID, {"id": ids[0]}).all()
    return connection.execute(_BY_IDS, {"ids": padded(ids)}).all() if ids else []


def jobs_by_keys(connection: Connection, keys: Sequence[tuple[str, str]]) -> Sequence[Row]:
    """Jobs by (tenant, idempotency key)."""
    return connection.execute(_BY_KEYS, {"keys": padded(keys)}).all() if keys else []


def jobs_newest_first(connection: Connection, where: JobFilter, after: JobId | None, limit: int) -> Sequence[Row]:
    query = select(jobs).where(jobs.c.tenant == where.tenant).limit(limit)
    if where.parent is None:
        query = query.where(text(NO_STEP)).order_by(jobs.c.id if where.oldest_first else jobs.c.id.desc())
    else:  # the id of a later step is the larger one, too
        query = query.where(jobs.c.parent == where.parent).order_by(jobs.c.step.desc())
    if where.model is not None:
        query = query.where(jobs.c.model == where.model)
    if where.batch is not None:
        alike = shared_by_jobs_of(where.batch)
        query = query.where(jobs.c.id >= alike, jobs.c.id < f"{alike}g")
    if where.statuses:
        query = query.where(jobs.c.status.in_([status.value for status in where.statuses]))
    if where.created_after_s is not None:
        oldest = first_job_id_at(where.created_after_s - LATE_S)
        query = query.where(jobs.c.created_at_s > where.created_after_s, jobs.c.id > oldest)
    if where.created_before_s is not None:
        newest = first_job_id_at(where.created_before_s + LATE_S)
        query = query.where(jobs.c.created_at_s < where.created_before_s, jobs.c.id < newest)
    if after is not None:
        query = query.where(jobs.c.id > after if where.oldest_first else jobs.c.id < after)
    return connection.execute(query).all()


def live_jobs(connection: Connection, after: JobId | None, limit: int, created_before_s: float) -> Sequence[Row]:
    parameters = {"after": after or "", "limit": limit, "created_before_s": created_before_s}
    return connection.execute(_LIVE, parameters).all()


def live_pipelines(connection: Connection, after: JobId | None, limit: int) -> Sequence[Row]:
    return connection.execute(_LIVE_PIPELINES, {"after": after or "", "limit": limit}).all()


def attempts_of(connection: Connection, job: JobId) -> Sequence[Row]:
    return connection.execute(_ATTEMPTS, {"job": job}).all()


def blobs_by_ids(connection: Connection, ids: Sequence[BlobId]) -> Sequence[Row]:
    return connection.execute(_BLOBS, {"ids": padded(ids)}).all() if ids else []

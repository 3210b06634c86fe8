"""Batches, and shared secrets, on the ledger's own database. `ledger.batches` says what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, FromClause, bindparam, delete, exists, func, literal, or_, select, text, update
from sqlalchemy.sql.dml import UpdateBase

from springtide.domain.ids import (
    BATCH_PREFIX,
    JOB_PREFIX,
    SHARED,
    BatchId,
    JobId,
    ModelName,
    TenantId,
    first_job_id_at,
    job_in_batch,
    shared_by_jobs_of,
)
from springtide.domain.job import Job, JobStatus
from springtide.ledger.batches import Batch, BatchLine, Tally
from springtide.ledger.bulk import MAX_ROWS, BulkStatement, InsertInto
from springtide.ledger.rows import Row, job_from
from springtide.ledger.sql_history import Connected
from springtide.ledger.tables import LIVE, batch_items, batches, jobs, secrets

_encode = msgspec.json.Encoder().encode
_problem = msgspec.json.Decoder(dict[str, Any])
_AFTER_DIGITS = "g"  # sorts after every hex digit
_ANY = text("true")  # SQLite needs a WHERE between SELECT ... FROM s and ON CONFLICT

_BY_ID = select(batches).where(batches.c.id == bindparam("id"))
_BY_KEY = select(batches).where(
    batches.c.tenant == bindparam("tenant"),
    batches.c.idempotency_key == bindparam("key"),
    text("idempotency_key IS NOT NULL"),  # names the partial index
)
_TENANTS = (
    select(batches)
    .where(batches.c.tenant == bindparam("tenant"), batches.c.id < bindparam("after"))
    .order_by(batches.c.id.desc())
    .limit(bindparam("limit"))
)
_OWN = (jobs.c.id >= bindparam("first"), jobs.c.id < bindparam("end"))  # jobs_pk
_JOBS = select(jobs).where(*_OWN).order_by(jobs.c.id)
_COUNTED = select(jobs.c.model, jobs.c.status, func.count(), func.sum(jobs.c.predicted_s)).group_by(
    jobs.c.model, jobs.c.status
)
_TALLY = _COUNTED.where(*_OWN)
_TALLY_OF_OTHERS = _COUNTED.join_from(batch_items, jobs, jobs.c.id == batch_items.c.job).where(
    batch_items.c.batch == bindparam("batch"), batch_items.c.job.is_not(None)
)
_RUNNING = (
    select(jobs)
    .where(*_OWN, text(LIVE), or_(jobs.c.status == JobStatus.IN_PROGRESS.value, jobs.c.plan.is_not(None)))
    .limit(bindparam("limit"))
)
_LAST_QUEUED = (
    select(jobs)
    .where(*_OWN, jobs.c.status == JobStatus.QUEUED.value, jobs.c.model == bindparam("model"))
    .order_by(jobs.c.id.desc())
    .limit(1)
)
_LINES = (
    select(batch_items)
    .where(
        batch_items.c.batch == bindparam("batch"),
        batch_items.c.place >= bindparam("first"),
        batch_items.c.place < bindparam("end"),
    )
    .order_by(batch_items.c.place)
)
_IS_REFUSED = (batch_items.c.batch == bindparam("batch"), batch_items.c.problem.is_not(None))
_REFUSED = select(batch_items).where(*_IS_REFUSED).order_by(batch_items.c.place).limit(bindparam("limit"))
_HOW_MANY_REFUSED = select(func.count()).select_from(batch_items).where(*_IS_REFUSED)
_NOTE = (
    update(batches)
    .values(
        received=bindparam("many"),
        touched_at_s=bindparam("now_s"),
        closed_at_s=func.coalesce(bindparam("closed_at_s", type_=batches.c.closed_at_s.type), batches.c.closed_at_s),
    )
    .where(batches.c.id == bindparam("batch"))
    .returning(*batches.c)
)
_ASK_CANCEL = (
    update(batches)
    .values(cancel_asked_at_s=bindparam("now_s"))
    .where(batches.c.id == bindparam("batch"), batches.c.cancel_asked_at_s.is_(None))
)


_BEGIN_ALIKE = literal(JOB_PREFIX) + func.substr(batches.c.id, len(BATCH_PREFIX) + 1, SHARED)
_FORGET = delete(batches).where(  # batches_pk, and jobs_pk for each
    batches.c.id < bindparam("born_before"),
    ~exists().where(jobs.c.id >= _BEGIN_ALIKE, jobs.c.id < _BEGIN_ALIKE + literal(_AFTER_DIGITS)),
)


def _insert_batch(s: FromClause, insert: InsertInto) -> UpdateBase:
    rows = select(*s.c).where(_ANY)
    return insert(batches).from_select(list(batches.c.keys()), rows).on_conflict_do_nothing()


def _insert_lines(s: FromClause, insert: InsertInto) -> UpdateBase:
    rows = select(*s.c).where(_ANY)
    return insert(batch_items).from_select(list(batch_items.c.keys()), rows).on_conflict_do_nothing()


def _insert_secret(s: FromClause, insert: InsertInto) -> UpdateBase:
    rows = select(*s.c).where(_ANY)
    return insert(secrets).from_select(list(secrets.c.keys()), rows).on_conflict_do_nothing()


_INSERT_BATCH = BulkStatement(tuple(batches.c), _insert_batch)
_INSERT_LINES = BulkStatement(tuple(batch_items.c), _insert_lines)
_INSERT_SECRET = BulkStatement(tuple(secrets.c), _insert_secret)


class SqlBatches:
    """`Batches` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def begin(self, batch: Batch) -> Batch:
        return await self._ledger.write(partial(begin, batch=batch))

    async def note(
        self, batch: BatchId, received: int, now_s: float, *, lines: Sequence[BatchLine] = (), closed: bool = False
    ) -> Batch | None:
        values = {"many": received, "now_s": now_s, "closed_at_s": now_s if closed else None}
        return await self._ledger.write(partial(note, batch=batch, values=values, lines=lines))

    async def ask_cancel(self, batch: BatchId, now_s: float) -> None:
        await self._ledger.write(partial(ask_cancel, batch=batch, now_s=now_s))

    async def get(self, batch: BatchId) -> Batch | None:
        return await self._ledger.read(partial(batch_by_id, batch=batch))

    async def list(self, tenant: TenantId, *, after: BatchId | None, limit: int) -> list[Batch]:
        return await self._ledger.read(partial(newest_batches, tenant=tenant, after=after, limit=limit))

    async def lines(self, batch: BatchId, *, first: int, end: int) -> list[BatchLine]:
        return await self._ledger.read(partial(lines_of, batch=batch, first=first, end=end))

    async def refused(self, batch: BatchId, *, limit: int) -> tuple[int, list[BatchLine]]:
        return await self._ledger.read(partial(refused_of, batch=batch, limit=limit))

    async def jobs(self, batch: BatchId, *, first: int, end: int) -> list[Job]:
        return await self._ledger.read(partial(jobs_of, batch=batch, first=first, end=end))

    async def tally(self, batch: BatchId) -> list[Tally]:
        return await self._ledger.read(partial(tally_of, batch=batch))

    async def running(self, batch: BatchId, *, limit: int) -> list[Job]:
        return await self._ledger.read(partial(running_of, batch=batch, limit=limit))

    async def last_queued(self, batch: BatchId, model: ModelName) -> Job | None:
        return await self._ledger.read(partial(last_queued_of, batch=batch, model=model))

    async def forget_batches(self, *, before_s: float) -> None:
        born_before = first_job_id_at(before_s).replace(JOB_PREFIX, BATCH_PREFIX)
        await self._ledger.write(partial(forget_batches, born_before=born_before))


class SqlSecrets:
    """`Secrets` beside a ledger."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def shared(self, name: str, fresh: str) -> str:
        return await self._ledger.write(partial(shared_secret, name=name, fresh=fresh))


def begin(connection: Connection, batch: Batch) -> Batch:
    if _INSERT_BATCH.run(connection, [_row(batch)]).row_count:
        return batch
    found = batch_by_id(connection, batch.id)
    if found is not None:
        return found
    return _batch(connection.execute(_BY_KEY, {"tenant": batch.tenant, "key": batch.idempotency_key}).one())


def note(connection: Connection, batch: BatchId, *, values: dict[str, Any], lines: Sequence[BatchLine]) -> Batch | None:
    known = connection.execute(_NOTE, {**values, "batch": batch}).first()
    rows = [] if known is None else [_line_row(batch, line) for line in lines]
    for at in range(0, len(rows), MAX_ROWS):
        _INSERT_LINES.run(connection, rows[at : at + MAX_ROWS])
    return None if known is None else _batch(known)


def ask_cancel(connection: Connection, batch: BatchId, *, now_s: float) -> None:
    connection.execute(_ASK_CANCEL, {"batch": batch, "now_s": now_s})


def batch_by_id(connection: Connection, batch: BatchId) -> Batch | None:
    row = connection.execute(_BY_ID, {"id": batch}).first()
    return None if row is None else _batch(row)


def newest_batches(connection: Connection, *, tenant: TenantId, after: BatchId | None, limit: int) -> list[Batch]:
    parameters = {"tenant": tenant, "after": after or f"{BATCH_PREFIX}{_AFTER_DIGITS}", "limit": limit}
    return [_batch(row) for row in connection.execute(_TENANTS, parameters)]


def lines_of(connection: Connection, batch: BatchId, *, first: int, end: int) -> list[BatchLine]:
    return [_line(row) for row in connection.execute(_LINES, {"batch": batch, "first": first, "end": end})]


def refused_of(connection: Connection, batch: BatchId, *, limit: int) -> tuple[int, list[BatchLine]]:
    count = connection.execute(_HOW_MANY_REFUSED, {"batch": batch}).scalar_one()
    found = connection.execute(_REFUSED, {"batch": batch, "limit": limit}) if count else ()
    return count, [_line(row) for row in found]


def jobs_of(connection: Connection, batch: BatchId, *, first: int, end: int) -> list[Job]:
    places = {"first": job_in_batch(batch, first), "end": job_in_batch(batch, end)}
    return [job_from(row) for row in connection.execute(_JOBS, places)]


def tally_of(connection: Connection, batch: BatchId) -> list[Tally]:
    counted = [*connection.execute(_TALLY, _all_of(batch)), *connection.execute(_TALLY_OF_OTHERS, {"batch": batch})]
    return [
        Tally(model=ModelName(model), status=JobStatus(status), jobs=count, predicted_s=seconds)
        for model, status, count, seconds in counted
    ]


def running_of(connection: Connection, batch: BatchId, *, limit: int) -> list[Job]:
    return [job_from(row) for row in connection.execute(_RUNNING, {**_all_of(batch), "limit": limit})]


def last_queued_of(connection: Connection, batch: BatchId, *, model: ModelName) -> Job | None:
    row = connection.execute(_LAST_QUEUED, {**_all_of(batch), "model": model}).first()
    return None if row is None else job_from(row)


def forget_batches(connection: Connection, *, born_before: str) -> None:
    connection.execute(_FORGET, {"born_before": born_before})


def shared_secret(connection: Connection, *, name: str, fresh: str) -> str:
    _INSERT_SECRET.run(connection, [(name, fresh)])
    return connection.execute(select(secrets.c.body).where(secrets.c.name == name)).scalar_one()


def _all_of(batch: BatchId) -> dict[str, str]:
    """The range of ids in which its own jobs lie."""
    alike = shared_by_jobs_of(batch)
    return {"first": alike, "end": alike + _AFTER_DIGITS}


def _row(batch: Batch) -> Row:
    """A row of `tables.batches`."""
    return [getattr(batch, column.name) for column in batches.c]


def _batch(row: Any) -> Batch:
    return Batch(**row._mapping)


def _line_row(batch: BatchId, line: BatchLine) -> Row:
    return (batch, line.place, line.job, None if line.problem is None else _encode(line.problem).decode())


def _line(row: Any) -> BatchLine:
    problem = None if row.problem is None else _problem.decode(row.problem)
    return BatchLine(place=row.place, job=None if row.job is None else JobId(row.job), problem=problem)

"""Everything that is ever written, as one queue of small operations that share a transaction.

`apply` does a batch with at most a few statements per kind of operation. Promises: the result of each operation is what
it would be alone; an operation done twice changes nothing the second time. Nothing here touches a job that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Double,
    FromClause,
    Integer,
    Text,
    case,
    func,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.sql.dml import UpdateBase

from springtide.domain.job import JobStatus
from springtide.ledger import accounting
from springtide.ledger.bulk import MAX_ROWS, BulkStatement, InsertInto
from springtide.ledger.reads import jobs_by_ids, jobs_by_keys
from springtide.ledger.rows import Row
from springtide.ledger.tables import LIVE, attempts, blobs, job_blobs, jobs
from springtide.ledger.telling import deliveries_of, has_webhooks, returning_what_is_told

Columns = Sequence[Column[Any]]

OUTCOME_COLUMNS: Columns = (
    Column("id", Text),
    Column("status", Text),
    Column("attempt", Integer),
    Column("worker", Text),
    Column("started_at_s", Double),
    Column("finished_at_s", Double),
    Column("outputs", Text),
    Column("output_files", Text),
    Column("error", Text),
    Column("checkpoint", Text),
    Column("used_s", Double),
    Column("day", Integer),
)
RUNNING_COLUMNS: Columns = (
    Column("id", Text),
    Column("attempt", Integer),
    Column("worker", Text),
    Column("started_at_s", Double),
    Column("checkpoint", Text),
)
FILE_COLUMNS: Columns = (
    Column("job", Text),
    Column("blob", Text),
    Column("ref", Text),
    Column("at_s", Double),
)
CANCEL_COLUMNS: Columns = (Column("id", Text), Column("at_s", Double))
# Places in a row of OUTCOME_COLUMNS, and in one of jobs.
_ID, _STATUS, _ATTEMPT, _FINISHED_AT_S, _OUTPUTS, _USED_S, _DAY = 0, 1, 2, 5, 6, 10, 11
_JOB_TENANT, _JOB_STATUS, _JOB_INPUTS, _JOB_KEY, _JOB_FINISHED_AT_S, _JOB_PARENT = 1, 4, 5, 13, 18, 24
FILLED_ROWS = 16  # fewer are done sooner by one statement: COPY takes two round trips


class Kind(IntEnum):
    """What an operation does, in the order a batch does them."""

    INSERT = 0  # result: True, or the row of the job that was there already
    BLOB = 1
    RUNNING = 2
    CANCEL = 3
    OUTCOME = 4  # result: whether it is the job's end
    RARE = 5  # `row` holds a function of the connection; result: what it returns


class Write(NamedTuple):
    """One operation."""

    kind: Kind
    row: Row
    files: Sequence[Row] = ()  # rows of FILE_COLUMNS: what a new job, or one that ended by this, has from now on


def length(write: Write) -> int:
    """Characters of what a caller sent or an engine gave: all else of a row is short."""
    place = _JOB_INPUTS if write.kind is Kind.INSERT else _OUTPUTS if write.kind is Kind.OUTCOME else None
    return 0 if place is None else len(write.row[place] or "")


class Uncertain(Exception):
    """Fewer rows changed than were given. Roll back, and apply again with `careful=True` to learn which."""


def apply(connection: Connection, writes: Sequence[Write], *, careful: bool) -> list[Any]:
    """Do `writes` in the connection's transaction; one result each.

    careful: ask the database which rows changed, where otherwise counting them is enough. Raises Uncertain without it.
    """
    careful = careful or connection.dialect.name == "postgresql"  # there, asking costs no round trip
    places: dict[Kind, list[int]] = {}
    for place, write in enumerate(writes):
        places.setdefault(write.kind, []).append(place)
    results: list[Any] = [None] * len(writes)
    for kind in sorted(places):
        rows = [writes[place].row for place in places[kind]]
        for place, result in zip(places[kind], _APPLY[kind](connection, rows, careful), strict=True):
            results[place] = result
    taken = (write.files for write, result in zip(writes, results, strict=True) if result is True)
    _hold(connection, [row for files in taken for row in files])
    return results


def end_of(job: Row) -> Row:
    """Of a row of jobs: what tells its end from any other."""
    return (job[_ID], job[_JOB_STATUS], job[_JOB_FINISHED_AT_S])


def end_told(outcome: Row) -> Row:
    """The same of a row of OUTCOME_COLUMNS."""
    return (outcome[_ID], outcome[_STATUS], outcome[_FINISHED_AT_S])


def alone(operations: Sequence[Write]) -> BulkStatement | None:
    """The one statement that does all of these and returns the ids it changed, where there is such a one."""
    kinds = {one.kind for one in operations}
    if any(one.files for one in operations) or len({one.row[0] for one in operations}) < len(operations):
        return None
    if kinds == {Kind.INSERT}:
        return _INSERT_JOBS_RETURNING
    if kinds == {Kind.OUTCOME} and all(one.row[_STATUS] == JobStatus.COMPLETED for one in operations):
        return _COMPLETE_JOBS_TELLING
    return None


def are_new(operations: Sequence[Write]) -> bool:
    """Whether these are jobs without a key or a pipeline, which are almost certainly not on record: many are put there
    at a third less than by a statement that looks for them first."""
    many = len(operations) >= FILLED_ROWS
    return many and all(
        one.kind is Kind.INSERT and not one.files and one.row[_JOB_KEY] is None and one.row[_JOB_PARENT] is None
        for one in operations
    )


def _hold(connection: Connection, files: Sequence[Row]) -> None:
    """Note that jobs have these blobs, and the blobs themselves where they are new."""
    links = {(row[0], row[1]): row for row in files}
    blobs_once = {row[1]: row for row in files}  # PostgreSQL refuses to touch a row twice in one statement
    for statement, rows in ((_HOLD_BLOBS, list(blobs_once.values())), (_LINK_BLOBS, list(links.values()))):
        for at in range(0, len(rows), MAX_ROWS):
            statement.run(connection, rows[at : at + MAX_ROWS])


def _insert(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    new = _changed(connection, (_INSERT_JOBS, _INSERT_JOBS_RETURNING), rows, careful)
    if len(new) == len(rows):
        return [True] * len(rows)
    results: list[Any] = []
    for row in rows:
        results.append(row[_ID] in new)
        new.discard(row[_ID])  # the same id once more in this batch is not new
    known = [row for row, is_new in zip(rows, results, strict=True) if not is_new]
    by_id = {each[_ID]: each for each in jobs_by_ids(connection, [row[_ID] for row in known])}
    keys = [(row[_JOB_TENANT], row[_JOB_KEY]) for row in known if row[_ID] not in by_id]
    by_key = {(each[_JOB_TENANT], each[_JOB_KEY]): each for each in jobs_by_keys(connection, keys)}
    return [
        is_new or by_id.get(row[_ID]) or by_key[row[_JOB_TENANT], row[_JOB_KEY]]
        for row, is_new in zip(rows, results, strict=True)
    ]


def _put_blobs(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    _INSERT_BLOBS.run(connection, rows)
    return [None] * len(rows)


def _run(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    newest: dict[str, Row] = {}
    for row in rows:
        if row[0] not in newest or newest[row[0]][1] <= row[1]:
            newest[row[0]] = row
    _NOTE_RUNNING.run(connection, list(newest.values()))
    return [None] * len(rows)


def _one_at_a_time(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    return [row[0](connection) for row in rows]


def _ask_cancel(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    first = {row[_ID]: row for row in reversed(rows)}
    _ASK_CANCEL.run(connection, list(first.values()))
    return [None] * len(rows)


def _record(connection: Connection, rows: list[Row], careful: bool) -> Sequence[Any]:
    """Outcomes of one job keep their order: each round takes at most one of every job."""
    results = [False] * len(rows)
    left = list(range(len(rows)))
    while left:
        taken: dict[str, int] = {}
        later: list[int] = []
        for place in left:
            if taken.setdefault(rows[place][_ID], place) != place:
                later.append(place)
        places = list(taken.values())
        for place, is_end in zip(
            places, _record_round(connection, [rows[each] for each in places], careful), strict=True
        ):
            results[place] = is_end
        left = later
    return results


def _record_round(connection: Connection, rows: list[Row], careful: bool) -> list[bool]:
    requeued = [row for row in rows if row[_STATUS] == JobStatus.QUEUED]
    ends = [row for row in rows if row[_STATUS] != JobStatus.QUEUED]
    ended: set[str] = set()
    if ends and connection.dialect.name == "postgresql":
        ended = {row[0] for row in _END_JOBS_TELLING.run(connection, ends).returned}
    elif ends:
        ended = _changed(connection, (_END_JOBS, _END_JOBS_RETURNING), ends, careful)
        if ended and has_webhooks(connection):
            _NOTE_DELIVERIES.run(connection, [(job,) for job in ended])
    unsuccessful = [row for row in requeued if row[_ATTEMPT] > 0]
    unsuccessful += [row for row in ends if row[_ID] in ended and row[_ATTEMPT] > 0 and row[_STATUS] in _WITHOUT_RESULT]
    fresh: set[str] = set()
    if unsuccessful:
        fresh = {row[0] for row in _INSERT_ATTEMPTS.run(connection, unsuccessful).returned}
    if requeued:
        _REQUEUE_JOBS.run(connection, requeued)
    accounting.count(
        connection,
        [_fact(row, counts=row[_STATUS] == JobStatus.COMPLETED) for row in ends if row[_ID] in ended],
        [_fact(row, counts=True) for row in unsuccessful if row[_ID] in fresh and row[_USED_S]],
    )
    return [row[_STATUS] != JobStatus.QUEUED and row[_ID] in ended for row in rows]


def _fact(row: Row, *, counts: bool) -> Row:
    """A row of `accounting.FACT_COLUMNS`. counts: the attempt's seconds are told by this."""
    return (row[_ID], row[_ATTEMPT], row[_DAY], row[_STATUS], row[_USED_S] if counts else 0.0)


def _changed(
    connection: Connection, statement: tuple[BulkStatement, BulkStatement], rows: list[Row], careful: bool
) -> set[str]:
    """Ids of the rows that `statement` changed (counting it, or returning them)."""
    counting, returning = statement
    if careful:
        return {row[0] for row in returning.run(connection, rows).returned}
    if counting.run(connection, rows).row_count != len(rows):
        raise Uncertain
    return {row[_ID] for row in rows}


_WITHOUT_RESULT = (JobStatus.FAILED, JobStatus.CANCELLED)
_APPLY = {
    Kind.INSERT: _insert,
    Kind.BLOB: _put_blobs,
    Kind.RUNNING: _run,
    Kind.CANCEL: _ask_cancel,
    Kind.OUTCOME: _record,
    Kind.RARE: _one_at_a_time,
}

# --- the statements ---------------------------------------------------------------------------------------------------

_ANY = text("true")  # SQLite needs a WHERE between SELECT ... FROM s and ON CONFLICT
_IS_LIVE = text(f"jobs.{LIVE}")


def _insert_jobs(s: FromClause, insert: InsertInto) -> Any:
    return insert(jobs).from_select(list(jobs.c.keys()), select(*s.c).where(_ANY)).on_conflict_do_nothing()


def _insert_blobs(s: FromClause, insert: InsertInto) -> Any:
    return insert(blobs).from_select(list(blobs.c.keys()), select(*s.c).where(_ANY)).on_conflict_do_nothing()


def _hold_blobs(s: FromClause, insert: InsertInto) -> Any:
    owned = select(s.c.blob, jobs.c.tenant, s.c.ref, s.c.at_s, null()).join_from(s, jobs, jobs.c.id == s.c.job)
    return (
        insert(blobs)
        .from_select(list(blobs.c.keys()), owned.where(_ANY))
        .on_conflict_do_update(
            index_elements=[blobs.c.id], set_={"loose_since_s": null()}, where=blobs.c.loose_since_s.is_not(None)
        )
    )


def _link_blobs(s: FromClause, insert: InsertInto) -> Any:
    rows = select(s.c.job, s.c.blob).where(_ANY)
    return insert(job_blobs).from_select(list(job_blobs.c.keys()), rows).on_conflict_do_nothing()


def _note_running(s: FromClause, insert: InsertInto) -> UpdateBase:
    # An attempt that is queued again under the same number has ended: the note came late.
    newer = or_(
        jobs.c.attempt < s.c.attempt, (jobs.c.attempt == s.c.attempt) & (jobs.c.status == text("'in_progress'"))
    )
    return (
        update(jobs)
        .values(
            status=text("'in_progress'"),
            attempt=s.c.attempt,
            worker=s.c.worker,
            started_at_s=s.c.started_at_s,
            checkpoint=func.coalesce(s.c.checkpoint, jobs.c.checkpoint),
        )
        .where(jobs.c.id == s.c.id, _IS_LIVE, newer)
    )


def _wish_for_cancel(s: FromClause, insert: InsertInto) -> UpdateBase:
    return (
        update(jobs)
        .values(cancel_asked_at_s=s.c.at_s)
        .where(jobs.c.id == s.c.id, _IS_LIVE, jobs.c.cancel_asked_at_s.is_(None))
    )


def _end_jobs(s: FromClause, insert: InsertInto) -> Any:
    return (
        update(jobs)
        .values(
            status=s.c.status,
            attempt=case((jobs.c.attempt > s.c.attempt, jobs.c.attempt), else_=s.c.attempt),
            worker=func.coalesce(s.c.worker, jobs.c.worker),
            started_at_s=func.coalesce(s.c.started_at_s, jobs.c.started_at_s),
            finished_at_s=s.c.finished_at_s,
            outputs=s.c.outputs,
            output_files=s.c.output_files,
            error=s.c.error,
            checkpoint=null(),
            used_s=case(
                (s.c.status == text("'completed'"), func.coalesce(jobs.c.used_s, accounting.NO_SECONDS) + s.c.used_s),
                else_=jobs.c.used_s,
            ),
        )
        .where(jobs.c.id == s.c.id, _IS_LIVE)
    )


def _requeue_jobs(s: FromClause, insert: InsertInto) -> UpdateBase:
    return (
        update(jobs)
        .values(
            status=text("'queued'"),
            attempt=s.c.attempt,
            worker=func.coalesce(s.c.worker, jobs.c.worker),
            started_at_s=func.coalesce(s.c.started_at_s, jobs.c.started_at_s),
            checkpoint=func.coalesce(s.c.checkpoint, jobs.c.checkpoint),
        )
        .where(jobs.c.id == s.c.id, _IS_LIVE, jobs.c.attempt <= s.c.attempt)
    )


def _insert_attempts(s: FromClause, insert: InsertInto) -> Any:
    # That an attempt was lost may come to light late, but not for the one that made the job's end.
    true_still = or_(s.c.status != text("'queued'"), _IS_LIVE, jobs.c.attempt > s.c.attempt)
    fields = (s.c.id, s.c.attempt, s.c.worker, s.c.started_at_s, s.c.finished_at_s, s.c.error)
    rows = select(*fields).join_from(s, jobs, jobs.c.id == s.c.id).where(true_still)
    fresh = insert(attempts).from_select(list(attempts.c.keys()), rows).on_conflict_do_nothing()
    return fresh.returning(attempts.c.job)


_INSERT_JOBS = BulkStatement(tuple(jobs.c), _insert_jobs)
_INSERT_JOBS_RETURNING = BulkStatement(tuple(jobs.c), lambda s, insert: _insert_jobs(s, insert).returning(jobs.c.id))
_INSERT_BLOBS = BulkStatement(tuple(blobs.c), _insert_blobs)
_HOLD_BLOBS = BulkStatement(FILE_COLUMNS, _hold_blobs)
_LINK_BLOBS = BulkStatement(FILE_COLUMNS, _link_blobs)
_NOTE_RUNNING = BulkStatement(RUNNING_COLUMNS, _note_running)
_ASK_CANCEL = BulkStatement(CANCEL_COLUMNS, _wish_for_cancel)
_END_JOBS = BulkStatement(OUTCOME_COLUMNS, _end_jobs)
_END_JOBS_RETURNING = BulkStatement(OUTCOME_COLUMNS, lambda s, insert: _end_jobs(s, insert).returning(jobs.c.id))
_END_JOBS_TELLING = BulkStatement(  # one statement, where each is a round trip; SQLite has no such thing
    OUTCOME_COLUMNS, lambda s, insert: returning_what_is_told(_end_jobs(s, insert), insert)
)
_NOTE_DELIVERIES = BulkStatement((Column("id", Text),), deliveries_of)
_COMPLETE_JOBS_TELLING = BulkStatement(  # all that an end brings about
    OUTCOME_COLUMNS,
    lambda s, insert: returning_what_is_told(
        _end_jobs(s, insert),
        insert,
        more=accounting.completed_columns(s),
        also=lambda ended: accounting.counted(ended, insert),
    ),
)
_REQUEUE_JOBS = BulkStatement(OUTCOME_COLUMNS, _requeue_jobs)
_INSERT_ATTEMPTS = BulkStatement(OUTCOME_COLUMNS, _insert_attempts)

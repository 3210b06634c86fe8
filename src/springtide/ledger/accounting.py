"""The statements that count usage, in the commit that puts an end on record. `ledger.usage` says what is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Executable,
    FromClause,
    Integer,
    Text,
    case,
    func,
    literal_column,
    select,
    text,
    update,
)

from springtide.domain.ids import TenantId
from springtide.domain.job import JobStatus
from springtide.ledger.bulk import BulkStatement, InsertInto
from springtide.ledger.rows import Row
from springtide.ledger.tables import jobs, usage

FACT_COLUMNS = (
    Column("id", Text),
    Column("attempt", Integer),
    Column("day", Integer),
    Column("status", Text),  # how the job has ended by this; empty: it has not
    Column("used_s", Double),
)
COUNTED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)  # in the order of the columns
_COLUMNS = [column.name for column in usage.c]
_KEYS = [column.name for column in usage.primary_key]
NO_SECONDS = literal_column("0.0", Double)  # written out: a bulk statement has no parameters but its rows
_NONE, _ONE = literal_column("0", Integer), literal_column("1", Integer)
_ANY = text("true")  # SQLite needs a WHERE between SELECT ... FROM and ON CONFLICT


def add_to(insert: InsertInto, rows: Any) -> Any:
    """Add rows of `usage` to those there are. They come in one order from everybody, so that nobody waits crosswise."""
    statement = insert(usage).from_select(_COLUMNS, rows)
    sums = {name: usage.c[name] + statement.excluded[name] for name in _COLUMNS if name not in _KEYS}
    return statement.on_conflict_do_update(index_elements=_KEYS, set_=sums)


def _count(s: FromClause, insert: InsertInto) -> Any:
    facts = select(*s.c).distinct().subquery("facts")  # the last row of a statement may be there twice
    seconds = func.sum(case((jobs.c.plan.is_(None), facts.c.used_s), else_=NO_SECONDS))
    ends = (func.sum(case((facts.c.status == text(f"'{status.value}'"), _ONE), else_=_NONE)) for status in COUNTED)
    groups = (jobs.c.tenant, facts.c.day, jobs.c.model)
    rows = select(*groups, *ends, seconds, _NONE).join_from(facts, jobs, jobs.c.id == facts.c.id).where(_ANY)
    return add_to(insert, rows.group_by(*groups).order_by(*groups))


def _add_to_jobs(s: FromClause, insert: InsertInto) -> Any:
    added = func.coalesce(jobs.c.used_s, NO_SECONDS) + s.c.used_s
    return update(jobs).values(used_s=added).where(jobs.c.id == s.c.id)


def completed_columns(s: FromClause) -> Sequence[Any]:
    """What an update to `completed` must return besides tenant and model for `counted`."""
    return s.c.day, case((jobs.c.plan.is_(None), s.c.used_s), else_=NO_SECONDS).label("seconds")


def counted(ended: Any, insert: InsertInto) -> Any:
    """A part of the one statement that ends jobs on PostgreSQL: those in `ended` are counted as completed."""
    groups = (ended.c.tenant, ended.c.day, ended.c.model)
    none = [_NONE] * (len(COUNTED) - 1)
    rows = select(*groups, func.count(), *none, func.sum(ended.c.seconds), _NONE)
    return add_to(insert, rows.group_by(*groups).order_by(*groups)).cte("counted")


_COUNT = BulkStatement(FACT_COLUMNS, _count)
_ADD_TO_JOBS = BulkStatement(FACT_COLUMNS, _add_to_jobs)


def count(connection: Connection, ends: Sequence[Row], attempts: Sequence[Row]) -> None:
    """Count these facts, rows of FACT_COLUMNS with at most one of a job in each: jobs that have ended, and attempts
    without a result. Each must be news to the record."""
    if attempts:
        _ADD_TO_JOBS.run(connection, attempts)
    facts: dict[Any, list[Any]] = {row[0]: [*row] for row in ends}
    for row in attempts:
        if row[0] in facts:
            facts[row[0]][-1] += row[-1]
        else:
            facts[row[0]] = [*row[:3], "", row[-1]]
    if facts:
        _COUNT.run(connection, list(facts.values()))


def add_uploaded(connection: Connection, uploaded: Mapping[TenantId, int], day: int) -> None:
    none = dict.fromkeys((status.value for status in COUNTED), 0)
    for tenant, size in sorted(uploaded.items()):
        row = {"tenant": tenant, "day": day, "model": "", **none, "seconds": 0.0, "uploaded_bytes": size}
        connection.execute(_uploaded(connection.dialect.name), row)


@cache  # a statement is a net of cycles that only the collector frees
def _uploaded(dialect: str) -> Executable:
    insert: Any
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # 5 MB that SQLite has no use for

        insert = postgresql.insert
    else:
        from sqlalchemy.dialects import sqlite

        insert = sqlite.insert
    statement = insert(usage)
    added = {"uploaded_bytes": usage.c.uploaded_bytes + statement.excluded.uploaded_bytes}
    return statement.on_conflict_do_update(index_elements=_KEYS, set_=added)

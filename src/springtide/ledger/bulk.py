"""One statement over many rows, the same Core code on both databases.

A flush wants few statements, not few bytes: on SQLite every step of a statement gives up Python's GIL and has to win it
back from a busy event loop (measured: 512 steps by `executemany` beside a busy thread took up to 25 s, one step 8 ms),
on PostgreSQL every statement is a round trip. So rows enter as one relation `s`:

- PostgreSQL: `unnest($1::text[], $2::bigint[], ...)`, one array a column.
- SQLite: `VALUES (?, ...), ...`, padded to a power of two by repeating the last row, so that ten texts per statement
  stay prepared. A statement here must therefore do nothing the second time it meets a row.

Refuses more than MAX_ROWS rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    CursorResult,
    Double,
    FromClause,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.type_api import TypeEngine

from springtide.ledger.rows import Row

MAX_ROWS = 512  # 29 columns of a job make 14,848 variables; SQLite allows 32,766

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

# Both dialects spell ON CONFLICT the same; SQLAlchemy keeps it on their own insert.
InsertInto = Callable[[Table], "postgresql.Insert | sqlite.Insert"]
Build = Callable[[FromClause, InsertInto], UpdateBase]


class BulkStatement:
    """`build` makes a Core statement out of the relation `s`, whose columns are named and typed like `columns`."""

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._names = [each.name for each in columns]
        self._arrays = [f"all_{each.name}" for each in columns]
        self._types = [_plain(each.type) for each in columns]
        self._build = build
        self._for_postgres: UpdateBase | None = None
        self._for_sqlite: dict[int, str] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> CursorResult[Any]:
        if len(rows) > MAX_ROWS:
            raise ValueError(f"{len(rows)} rows are more than {MAX_ROWS}")
        if connection.dialect.name == "postgresql":
            arrays = dict(zip(self._arrays, map(list, zip(*rows, strict=True)), strict=True))
            return connection.execute(self._postgres(), arrays)
        size = 1 << (len(rows) - 1).bit_length()
        padding = size - len(rows)
        values = [value for row in rows for value in row]
        values += list(rows[-1]) * padding
        return connection.exec_driver_sql(self._sqlite(size), tuple(values))

    def _postgres(self) -> UpdateBase:
        if self._for_postgres is None:
            from sqlalchemy.dialects import postgresql  # 5 MB that SQLite has no use for

            arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in zip(self._arrays, self._types, strict=True)]
            columns = [column(name, kind) for name, kind in zip(self._names, self._types, strict=True)]
            relation = func.unnest(*arrays).table_valued(*columns).render_derived(name="s")
            self._for_postgres = self._build(relation, postgresql.insert)
        return self._for_postgres

    def _sqlite(self, size: int) -> str:
        if size not in self._for_sqlite:
            one = "(" + ", ".join("?" * len(self._names)) + ")"
            fields = [
                literal_column(f"column{n}", kind).label(name)
                for n, (name, kind) in enumerate(zip(self._names, self._types, strict=True), start=1)
            ]
            relation = select(*fields).select_from(text(f"(VALUES {one})")).subquery("s")
            statement = str(self._build(relation, sqlite.insert).compile(dialect=sqlite.dialect()))
            self._for_sqlite[size] = statement.replace(f"VALUES {one}", "VALUES " + ", ".join([one] * size))
        return self._for_sqlite[size]


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The bare type for a parameter: collations belong to the column."""
    if isinstance(kind, String):
        return Text()
    return Integer() if isinstance(kind, Integer) else Double()

"""One statement over many rows, the same Core code on both databases.

A flush wants few statements, not few bytes: on SQLite every step of a statement gives up Python's GIL and has to win it
back from a busy event loop (measured: 512 steps by `executemany` beside a busy thread took up to 25 s, one step 8 ms),
on PostgreSQL every statement is a round trip. So rows enter as one relation `s`:

- PostgreSQL: `unnest($1::text[], $2::bigint[], ...)`, one array a column. Columns that are null in every row are left
  out of it: half of a job's are, and the driver's work is in the values.
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
    cast,
    column,
    func,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.type_api import TypeEngine

from springtide.ledger.rows import Row

MAX_ROWS = 512  # 31 columns of a job make 15,872 variables; SQLite allows 32,766

MOST_FORMS = 32  # of one statement, by which columns are empty: each is prepared once on every connection

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
        self._for_postgres: dict[frozenset[int], UpdateBase] = {}
        self._texts: dict[frozenset[int], tuple[str, list[str]]] = {}
        self._for_sqlite: dict[int, str] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> CursorResult[Any]:
        if len(rows) > MAX_ROWS:
            raise ValueError(f"{len(rows)} rows are more than {MAX_ROWS}")
        if connection.dialect.name == "postgresql":
            empty, arrays = self._columns(rows)
            return connection.execute(self._postgres(empty), arrays)
        size = 1 << (len(rows) - 1).bit_length()
        padding = size - len(rows)
        values = [value for row in rows for value in row]
        values += list(rows[-1]) * padding
        return connection.exec_driver_sql(self._sqlite(size), tuple(values))

    def for_asyncpg(self, rows: Sequence[Row]) -> tuple[str, list[list[Any]]]:
        """The statement's text and parameters, to be run past SQLAlchemy."""
        empty, arrays = self._columns(rows)
        if empty not in self._texts:
            from sqlalchemy.dialects.postgresql import asyncpg

            compiled = self._postgres(empty).compile(dialect=asyncpg.dialect())
            assert compiled.positiontup is not None
            self._texts[empty] = str(compiled), compiled.positiontup
        text, names = self._texts[empty]
        return text, [arrays[name] for name in names]

    def _columns(self, rows: Sequence[Row]) -> tuple[frozenset[int], dict[str, list[Any]]]:
        """The places of columns that hold nothing, and the others by parameter."""
        columns = list(map(list, zip(*rows, strict=True)))
        nothing = [None] * len(rows)
        empty = frozenset(place for place, values in enumerate(columns) if values[0] is None and values == nothing)
        if empty not in self._for_postgres and len(self._for_postgres) >= MOST_FORMS:
            empty = frozenset[int]()
        names = self._arrays
        return empty, {names[place]: values for place, values in enumerate(columns) if place not in empty}

    def _postgres(self, empty: frozenset[int]) -> UpdateBase:
        if empty not in self._for_postgres:
            from sqlalchemy.dialects import postgresql  # 5 MB that SQLite has no use for

            kept = [place for place in range(len(self._names)) if place not in empty]
            arrays = [bindparam(self._arrays[place], type_=ARRAY(self._types[place])) for place in kept]
            columns = [column(self._names[place], self._types[place]) for place in kept]
            given = func.unnest(*arrays).table_valued(*columns).render_derived(name="given")
            fields = [
                (cast(null(), kind) if place in empty else given.c[name]).label(name)
                for place, (name, kind) in enumerate(zip(self._names, self._types, strict=True))
            ]
            relation = select(*fields).select_from(given).subquery("s")
            self._for_postgres[empty] = self._build(relation, postgresql.insert)
        return self._for_postgres[empty]

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

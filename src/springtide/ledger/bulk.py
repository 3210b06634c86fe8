"""One statement over many rows, the same Core code on both databases.

A flush wants few statements, not few bytes: on SQLite every step of a statement gives up Python's GIL and has to win it
back from a busy event loop (measured: 512 steps by `executemany` beside a busy thread took up to 25 s, one step 8 ms),
on PostgreSQL every statement is a round trip. So rows enter as one relation `s`:

- PostgreSQL: `unnest($1::text[], $2::bigint[], ...)`, one array a column: the driver's work is in the values (0.3 µs
  each). So columns that are null in every row, half of a job's, are left out, and of many rows those that are the same
  in all (a model, a status, a worker) are given once.
- SQLite: `VALUES (?, ...), ...`, padded to a power of two by repeating the last row, so that ten texts per statement
  and form stay prepared. A statement here must therefore do nothing the second time it meets a row. The same columns
  are left out or given once: of 256 new jobs the statement takes 2.0 µs each instead of 8.5. It goes to the driver
  itself (docs/decisions/0062).

Refuses more than MAX_ROWS rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
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

MOST_FORMS = 32  # of one statement, by which columns are empty and which the same: each is prepared on every connection
MOST_SQLITE_FORMS = 4  # the same there, where each has a text of up to 100 kB for every size
ALIKE_ROWS = 8  # of fewer, columns are the same by chance, and each chance would be a form

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

# Both dialects spell ON CONFLICT the same; SQLAlchemy keeps it on their own insert.
InsertInto = Callable[[Table], "postgresql.Insert | sqlite.Insert"]
Build = Callable[[FromClause, InsertInto], UpdateBase]


class _Form(NamedTuple):
    """Places of columns that are not given row by row."""

    empty: frozenset[int] = frozenset()
    same: frozenset[int] = frozenset()


class Changed(NamedTuple):
    """What a statement did."""

    row_count: int
    returned: Sequence[Any]  # by RETURNING


class BulkStatement:
    """`build` makes a Core statement out of the relation `s`, whose columns are named and typed like `columns`."""

    def __init__(self, columns: Sequence[Column[Any]], build: Build) -> None:
        self._names = [each.name for each in columns]
        self._parameters = [f"all_{each.name}" for each in columns]
        self._types = [_plain(each.type) for each in columns]
        self._build = build
        self._forms: set[_Form] = set()  # those in use
        self._for_postgres: dict[_Form, UpdateBase] = {}
        self._texts: dict[_Form, tuple[str, list[str]]] = {}
        self._for_one_row: dict[_Form, str] = {}  # compiled once: milliseconds, for which nobody should wait six times
        self._for_sqlite: dict[tuple[_Form, int], str] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> Changed:
        if len(rows) > MAX_ROWS:
            raise ValueError(f"{len(rows)} rows are more than {MAX_ROWS}")
        if connection.dialect.name == "postgresql":
            form, parameters = self._columns(rows)
            done = connection.execute(self._postgres(form), parameters)
            return Changed(done.rowcount, done.all() if done.returns_rows else ())
        size = 1 << (len(rows) - 1).bit_length()
        columns = list(zip(*rows, strict=True))
        form = self._form(columns, most=MOST_SQLITE_FORMS) if len(rows) >= ALIKE_ROWS else _Form()
        varied = [values for place, values in enumerate(columns) if place not in form.empty and place not in form.same]
        parameters = [columns[place][0] for place in sorted(form.same)]
        parameters += chain.from_iterable(zip(*varied, strict=True))
        parameters += [values[-1] for values in varied] * (size - len(rows))
        cursor = driver_of(connection).execute(self._sqlite(form, size), parameters)
        returned = cursor.fetchall()
        return Changed(cursor.rowcount, returned)

    def for_asyncpg(self, rows: Sequence[Row]) -> tuple[str, list[Any]]:
        """The statement's text and parameters, to be run past SQLAlchemy."""
        form, parameters = self._columns(rows)
        if form not in self._texts:
            from sqlalchemy.dialects.postgresql import asyncpg

            compiled = self._postgres(form).compile(dialect=asyncpg.dialect())
            assert compiled.positiontup is not None
            self._texts[form] = str(compiled), compiled.positiontup
        text, names = self._texts[form]
        return text, [parameters[name] for name in names]

    def _columns(self, rows: Sequence[Row]) -> tuple[_Form, dict[str, Any]]:
        """Which columns are not given row by row, and the parameters for the others."""
        columns = list(zip(*rows, strict=True))
        form = self._form(columns, most=MOST_FORMS)
        names = self._parameters
        return form, {
            names[place]: values[0] if place in form.same else list(values)
            for place, values in enumerate(columns)
            if place not in form.empty
        }

    def _form(self, columns: Sequence[Sequence[Any]], *, most: int) -> _Form:
        """Of these rows; a plainer one where there are too many."""
        many = len(columns[0])
        alike = [place for place, values in enumerate(columns) if values.count(values[0]) == many]
        empty = frozenset(place for place in alike if columns[place][0] is None)
        same = frozenset(alike) - empty - {0} if many >= ALIKE_ROWS else frozenset[int]()  # the first one counts them
        for form, limit in ((_Form(empty, same), most), (_Form(empty), 2 * most)):
            if form in self._forms or len(self._forms) < limit:
                self._forms.add(form)
                return form
        return _Form()

    def _postgres(self, form: _Form) -> UpdateBase:
        if form not in self._for_postgres:
            from sqlalchemy.dialects import postgresql  # 5 MB that SQLite has no use for

            kept = [place for place in range(len(self._names)) if place not in form.empty | form.same]
            arrays = [bindparam(self._parameters[place], type_=ARRAY(self._types[place])) for place in kept]
            columns = [column(self._names[place], self._types[place]) for place in kept]
            given = func.unnest(*arrays).table_valued(*columns).render_derived(name="given")

            def field(place: int) -> ColumnElement[Any]:
                name, kind = self._names[place], self._types[place]
                if place in form.empty:
                    return cast(null(), kind)
                return (
                    cast(bindparam(self._parameters[place], type_=kind), kind) if place in form.same else given.c[name]
                )

            fields = [field(place).label(name) for place, name in enumerate(self._names)]
            relation = select(*fields).select_from(given).subquery("s")
            self._for_postgres[form] = self._build(relation, postgresql.insert)
        return self._for_postgres[form]

    def _sqlite(self, form: _Form, size: int) -> str:
        known = self._for_sqlite.get((form, size))
        if known is None:
            one = "(" + ", ".join("?" * (len(self._names) - len(form.empty | form.same))) + ")"
            if form not in self._for_one_row:
                self._for_one_row[form] = self._compiled(form, one)
            known = self._for_one_row[form].replace(f"VALUES {one}", "VALUES " + ", ".join([one] * size))
            self._for_sqlite[form, size] = known
        return known

    def _compiled(self, form: _Form, row: str) -> str:
        """For one row, whose place is `VALUES` and `row`."""
        varied = [place for place in range(len(self._names)) if place not in form.empty | form.same]
        values = {place: f"column{n}" for n, place in enumerate(varied, start=1)}

        def field(place: int) -> ColumnElement[Any]:
            # What is the same in all rows comes first in the text: its parameter stands before those of the rows.
            given = "NULL" if place in form.empty else values.get(place, "?")
            return literal_column(given, self._types[place])

        fields = [field(place).label(name) for place, name in enumerate(self._names)]
        relation = select(*fields).select_from(text(f"(VALUES {row})")).subquery("s")
        return str(self._build(relation, sqlite.insert).compile(dialect=sqlite.dialect()))


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Of a connection to SQLite, to be used past SQLAlchemy."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The bare type for a parameter: collations belong to the column."""
    if isinstance(kind, String):
        return Text()
    return Integer() if isinstance(kind, Integer) else Double()

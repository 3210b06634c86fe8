"""What the ledger asks of a database: to run a plain function on a connection, off the event loop's back.

The functions in `reads` and `writes` are ordinary SQLAlchemy Core code, written once. How they are driven differs:
SQLite on threads of its own (`sqlite.py`), PostgreSQL on asyncpg through SQLAlchemy's greenlets (`postgres.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Table

from springtide.ledger.bulk import BulkStatement
from springtide.ledger.rows import Row

R = TypeVar("R")


class BrokenLine(Exception):
    """The statement may have been done, or not."""


class ShortWay(Protocol):
    """A way past SQLAlchemy, for one statement in a transaction of its own."""

    async def run(self, statement: BulkStatement, rows: Sequence[Row]) -> set[str] | None:
        """The ids that the statement returned. None where the database refuses it, and nothing was done. Raises
        BrokenLine."""
        ...

    async def fill(self, table: Table, rows: Sequence[Row]) -> bool:
        """Put whole rows into the table, all or none: False where the database refuses one. Raises BrokenLine."""
        ...


class Database(Protocol):
    """One database, connected between `start` and `stop`. Raises what SQLAlchemy and the driver raise."""

    def short_way(self) -> ShortWay | None:
        """A connection of its own for single statements, where that is worth while."""
        ...

    async def start(self) -> None:
        """Migrate the schema and connect."""
        ...

    async def stop(self) -> None: ...

    async def write(self, work: Callable[[Connection], R]) -> R:
        """Run `work` in one transaction, which is on disk when this returns. One at a time."""
        ...

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Run `work` on a connection that sees every write that has returned."""
        ...

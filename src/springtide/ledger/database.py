"""What the ledger asks of a database: to run a plain function on a connection, off the event loop's back.

The functions in `reads` and `writes` are ordinary SQLAlchemy Core code, written once. How they are driven differs:
SQLite on threads of its own (`sqlite.py`), PostgreSQL on asyncpg through SQLAlchemy's greenlets (`postgres.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from springtide.ledger.writes import Write

R = TypeVar("R")


class BrokenLine(Exception):
    """What was asked for may have been done, or not."""


class NotDone(Enum):
    """The result of an operation that has to go the long way, by `Database.write`."""

    NOT_DONE = 0


NOT_DONE = NotDone.NOT_DONE


class ShortWay(Protocol):
    """A faster way for what is done often; it may do any part of what it is asked for, or nothing."""

    async def apply(self, operations: Sequence[Write]) -> Sequence[Any]:
        """On disk when this returns, one result each as of `writes.apply`, or NOT_DONE. Raises BrokenLine."""
        ...


class Database(Protocol):
    """One database, connected between `start` and `stop`. Raises what SQLAlchemy and the driver raise."""

    def short_ways(self) -> Sequence[ShortWay]:
        """One for whatever is written, or one for that and one for new jobs, which then do not wait for ends."""
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

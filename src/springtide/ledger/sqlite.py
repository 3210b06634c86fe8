"""The ledger in one SQLite file: write-ahead log, synchronous=FULL, one writer, readers beside it.

Each `write` and `read` is one hop to a thread and back, where SQLAlchemy's plain engine runs. aiosqlite would hop for
every cursor, statement and fetch: a lone insert of two columns took 0.29 ms by it, 0.13 ms so (p50, file in memory).

Promises: a write that returned survives a power cut; two processes may start on the same file at once. Refuses a
database in memory, and an SQLite too old for RETURNING.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from springtide.domain.errors import ConfigError
from springtide.ledger.bulk import driver_of
from springtide.ledger.database import ShortWay
from springtide.ledger.migrations.upgrade import upgrade
from springtide.ledger.writing import Writing
from springtide.runtime.threads import Threads

R = TypeVar("R")

OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
BUSY_TIMEOUT_MS = 10_000  # another process on the same file (a backup, a second start) is waited for this long
READERS = 2  # reads are short; more threads would only fight for the interpreter


class SqliteWriter:
    """The connection that writes, for whichever thread calls."""

    def __init__(self, url: URL, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        """busy_timeout_ms: how long another process on the same file is waited for."""
        self._engine = _engine(url, busy_timeout_ms, poolclass=StaticPool)
        self._connection: Connection | None = None

    def connect(self) -> Connection:
        """A connection that is not in a transaction, to be closed."""
        return self._engine.connect()

    def write(self, work: Callable[[Connection], R]) -> R:
        """Run `work` in one transaction, which is on disk when this returns."""
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            return _in_transaction(self._connection, work)
        except (DBAPIError, sqlite3.Error):
            self._connection.invalidate()  # whatever was wrong with it, the next write starts afresh
            self._connection.close()
            self._connection = None
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()


class SqliteDatabase:
    """`Database` on a file."""

    def __init__(self, url: URL, aside: Writing | None = None) -> None:
        """aside: writes in a process of its own while much is written."""
        if not url.database or url.database == ":memory:":
            raise ConfigError("ledger.url: sqlite:// needs a file, such as sqlite:////var/lib/springtide/springtide.db")
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old: the ledger needs 3.35 or newer")
        self._path = Path(url.database)
        self._url = url
        self._aside = aside
        self._writer: SqliteWriter | None = None
        self._reader_engine: Engine | None = None
        self._threads: tuple[Threads, Threads] | None = None

    async def start(self) -> None:
        write = Threads("ledger-write")
        self._threads = write, Threads("ledger-read", READERS)
        try:
            await write.run(self._open)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        try:
            if self._aside is not None:
                await self._aside.stop()
        finally:
            await self._stop_threads()

    async def _stop_threads(self) -> None:
        if self._threads is None:
            return
        write, read = self._threads
        self._threads = None
        await read.run(self._close_readers)
        await write.run(self._close_writer)  # last, so that closing it checkpoints the log
        read.stop()
        write.stop()

    def short_ways(self) -> Sequence[ShortWay]:
        return [] if self._aside is None else [self._aside, self._aside]

    async def write(self, work: Callable[[Connection], R]) -> R:
        assert self._threads is not None
        async with contextlib.nullcontext() if self._aside is None else self._aside.paused():
            return await self._threads[0].run(lambda: self._write(work))

    async def read(self, work: Callable[[Connection], R]) -> R:
        assert self._threads is not None
        return await self._threads[1].run(lambda: self._read(work))

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = SqliteWriter(self._url)
        with _alone(self._path.with_name(self._path.name + ".lock")), self._writer.connect() as connection:
            _switch_to_wal(connection)
            _in_transaction(connection, upgrade)
        self._reader_engine = _engine(
            self._url,
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_reset_on_return=None,  # a read is one statement and leaves nothing to roll back
            isolation_level="AUTOCOMMIT",
        )

    def _write(self, work: Callable[[Connection], R]) -> R:
        assert self._writer is not None
        return self._writer.write(work)

    def _read(self, work: Callable[[Connection], R]) -> R:
        assert self._reader_engine is not None
        with self._reader_engine.connect() as connection:
            return work(connection)

    def _close_readers(self) -> None:
        if self._reader_engine is not None:
            self._reader_engine.dispose()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _engine(url: URL, busy_timeout_ms: int = BUSY_TIMEOUT_MS, **pool: Any) -> Engine:
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy begins them, not where sqlite3 guesses
        for pragma in (f"busy_timeout = {busy_timeout_ms}", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    engine = create_engine(url, connect_args={"check_same_thread": False}, **pool)
    event.listen(engine, "connect", configure)
    return engine


def _switch_to_wal(connection: Connection) -> None:
    """The file remembers it. Past SQLAlchemy, because SQLite ignores the change inside a transaction."""
    (mode,) = driver_of(connection).execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigError(f"ledger.url: the file stays in journal mode {mode}; it must be on a local disk, writable")


def _in_transaction(connection: Connection, work: Callable[[Connection], R]) -> R:
    """Past SQLAlchemy, whose own transaction is only begun by work that uses it, and then ends the driver's: see
    docs/decisions/0062."""
    driver = driver_of(connection)
    driver.execute("BEGIN IMMEDIATE").close()
    try:
        result = work(connection)
        connection.commit()
        driver.commit()
    except BaseException:
        connection.rollback()
        driver.rollback()
        raise
    return result


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Hold a lock file: SQLite does not always wait where two switch to WAL (1 of 360 starts, six at once, failed)."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets go

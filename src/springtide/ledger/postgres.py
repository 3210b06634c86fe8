"""The ledger in PostgreSQL, by asyncpg: one connection that writes, a few that read.

Promises: a write that returned is on the server's disk (`synchronous_commit` is on, whatever the server's default). A
connection that broke while idle is replaced without anybody noticing; one that broke during COMMIT is `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from springtide.domain.errors import OutcomeUnknown
from springtide.ledger import tables, writes
from springtide.ledger.bulk import BulkStatement
from springtide.ledger.database import NOT_DONE, BrokenLine, ShortWay
from springtide.ledger.failures import FAILURES, is_disconnect, is_passing
from springtide.ledger.migrations.upgrade import upgrade
from springtide.ledger.rows import Row
from springtide.ledger.writes import Kind, Write

R = TypeVar("R")

READERS = 3
TRIES = 3
CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 60.0  # a flush takes milliseconds; a page of the list, at worst seconds
MIGRATION_LOCK = 0x737072696E67  # "spring": any fixed number that no other application takes
_SETTINGS = {
    "application_name": "springtide",
    # In milliseconds. Who goes without a farewell in the middle of a transaction, as a machine does that loses its
    # network, would keep its locks for hours, and whoever repeats the same request would wait for them.
    "idle_in_transaction_session_timeout": "30000",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
}
_BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, OSError, TimeoutError)
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, UnicodeError, OverflowError)


class PostgresDatabase:
    """`Database` on a server."""

    def __init__(self, url: URL) -> None:
        self._url = _for_asyncpg(url)
        self._writer: AsyncEngine | None = None
        self._readers: AsyncEngine | None = None
        self._lines = (_Line(self._url), _Line(self._url))

    async def start(self) -> None:
        await asyncio.to_thread(asyncio.run, self._migrate())  # loading Alembic would hold this loop up
        self._writer = _engine(self._url, pool_size=1, max_overflow=0)
        # Each read is one statement, so a transaction around it would be two more round trips.
        self._readers = _engine(self._url, pool_size=READERS, max_overflow=0, isolation_level="AUTOCOMMIT")

    async def stop(self) -> None:
        for line in self._lines:
            await line.close()
        for engine in (self._writer, self._readers):
            if engine is not None:
                await engine.dispose()

    def short_ways(self) -> Sequence[ShortWay]:
        return self._lines

    async def write(self, work: Callable[[Connection], R]) -> R:
        return await _again(partial(self._write, work))

    async def read(self, work: Callable[[Connection], R]) -> R:
        return await _again(partial(self._read, work))

    async def _read(self, work: Callable[[Connection], R]) -> R:
        async with _connected(self._readers) as connection:
            return await connection.run_sync(work)

    async def _write(self, work: Callable[[Connection], R]) -> R:
        async with _connected(self._writer) as connection:
            result = await connection.run_sync(work)
            try:
                await connection.commit()
            except FAILURES as error:
                if is_passing(error):
                    raise
                raise OutcomeUnknown("the connection to the ledger's database broke during a commit") from error
            return result

    async def _migrate(self) -> None:
        engine = _engine(self._url, poolclass=NullPool)
        try:
            async with _connected(engine) as connection, connection.begin():
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
                await connection.run_sync(upgrade)
        finally:
            await engine.dispose()


class _Line:
    """`ShortWay`: a connection of asyncpg's, borrowed from an engine that knows how to make one. SQLAlchemy would take
    four times as long for the statement, and two more round trips for its transaction."""

    def __init__(self, url: URL) -> None:
        self._engine = _engine(url, pool_size=1, max_overflow=0)
        self._held: AsyncConnection | None = None
        self._plain: asyncpg.Connection | None = None

    async def apply(self, operations: Sequence[Write]) -> Sequence[Any]:
        """Those that one statement can do; where there is no server, none of them: the long way says so."""
        given = [one.row for one in operations]
        if not await self._is_connected():
            return [NOT_DONE] * len(operations)
        if writes.are_new(operations) and await self._fill(tables.jobs, given):
            return [True] * len(operations)
        statement = writes.alone(operations)
        changed = None if statement is None else await self._run(statement, given)
        if changed is None:
            return [NOT_DONE] * len(operations)
        otherwise = NOT_DONE if operations[0].kind is Kind.INSERT else False
        return [one.row[0] in changed or otherwise for one in operations]

    async def _run(self, statement: BulkStatement, rows: Sequence[Row]) -> set[str] | None:
        """The ids that the statement returned. None where the database refuses it, and nothing was done."""
        text, parameters = statement.for_asyncpg(rows)
        with contextlib.suppress(*_REFUSED):
            async with self._in_use() as plain:
                return {row[0] for row in await plain.fetch(text, *parameters)}
        return None

    async def _fill(self, table: Table, rows: Sequence[Row]) -> bool:
        """Put whole rows into the table, all or none: False where the database refuses one."""
        with contextlib.suppress(*_REFUSED, TypeError, ValueError):  # of a copy asyncpg passes on what its codecs raise
            async with self._in_use() as plain:
                await plain.copy_records_to_table(table.name, records=rows, columns=table.c.keys())
                return True
        return False

    @asynccontextmanager
    async def _in_use(self) -> AsyncGenerator[asyncpg.Connection]:
        assert self._plain is not None
        try:
            yield self._plain
        except _REFUSED:
            raise
        except _BROKEN as error:
            await self.close()
            raise BrokenLine from error

    async def _is_connected(self) -> bool:
        try:
            if self._plain is None or self._plain.is_closed():
                self._plain = await self._connect()
        except _BROKEN:
            await self.close()
            return False
        return True

    async def _connect(self) -> asyncpg.Connection:
        await self.close()
        held = self._engine.connect()
        await held.start()
        self._held = held  # there is nothing to close before it has started
        plain = (await held.get_raw_connection()).driver_connection
        assert isinstance(plain, asyncpg.Connection)
        return plain

    async def close(self) -> None:
        held, self._held, self._plain = self._held, None, None
        if held is not None:
            await held.invalidate()
            await held.close()


async def _again(call: Callable[[], Awaitable[R]]) -> R:
    """The result of `call`, tried again where its connection was found broken or PostgreSQL asks for that."""
    for _ in range(TRIES - 1):
        try:
            return await call()
        except DBAPIError as error:
            if not (is_disconnect(error) or is_passing(error)):
                raise
    return await call()


@asynccontextmanager
async def _connected(engine: AsyncEngine | None) -> AsyncGenerator[AsyncConnection]:
    assert engine is not None
    connection = engine.connect()
    try:
        await connection.start()
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # past SQLAlchemy, which only wraps statements
        raise ConnectionError(str(error)) from error
    try:
        yield connection
    finally:
        await connection.close()  # rolls back what was not committed


def _engine(url: URL, **pool: Any) -> AsyncEngine:
    arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S, "server_settings": _SETTINGS}
    return create_async_engine(url, connect_args=arguments, **pool)


def _for_asyncpg(url: URL) -> URL:
    """`postgresql://…?sslmode=require`, as every other tool writes it, for SQLAlchemy's asyncpg dialect."""
    query = {("ssl" if key == "sslmode" else key): value for key, value in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=query)

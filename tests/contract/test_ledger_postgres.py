"""The ledger's contract on a real PostgreSQL, and what only a server has: it can go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from springtide.domain.errors import ConfigError, InvalidInput, OutcomeUnknown, Unavailable
from springtide.domain.job import JobStatus
from springtide.ledger import postgres
from springtide.ledger.migrations import upgrade
from springtide.ledger.protocol import Inserted, Ledger
from springtide.ledger.sql import SqlLedger
from springtide.ledger.tables import metadata
from springtide.ledger.writes import FILLED_ROWS
from springtide.testing.ledger_cases import Reopen, job, outcome
from springtide.testing.ledger_processes import start_at_once
from springtide.testing.ledger_suite import LedgerSuite
from springtide.testing.postgres import NoPostgres, PostgresServer, postgres_server
from springtide.testing.servers import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(f"no PostgreSQL: {reason}")


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
async def opened() -> AsyncIterator[list[SqlLedger]]:
    ledgers: list[SqlLedger] = []
    yield ledgers
    for ledger in ledgers:
        await ledger.stop()


@pytest.fixture
async def ledger(url: str, opened: list[SqlLedger]) -> Ledger:
    ledger = SqlLedger(url)
    await ledger.start()
    opened.append(ledger)
    return ledger


@pytest.fixture
async def reopen(url: str, opened: list[SqlLedger]) -> Reopen:
    async def again() -> Ledger:
        await opened.pop().stop()
        ledger = SqlLedger(url)
        await ledger.start()
        opened.append(ledger)
        return ledger

    return again


class TestPostgres(LedgerSuite):
    pass


async def test_every_commit_waits_for_the_disk(ledger: SqlLedger) -> None:
    def ask(connection: Connection) -> object:
        return connection.execute(text("SHOW synchronous_commit")).scalar()

    assert await ledger._database.write(ask) == "on"


async def test_who_falls_silent_in_a_transaction_holds_nobody_up_and_tries_again(
    server: PostgresServer, url: str, opened: list[SqlLedger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres._SETTINGS, "idle_in_transaction_session_timeout", "500")
    ledger = SqlLedger(url)
    await ledger.start()
    opened.append(ledger)
    await ledger.insert([job(1)])
    write = "UPDATE jobs SET priority = priority"
    calls = 0

    def work(connection: Connection) -> object:
        nonlocal calls
        calls += 1
        connection.execute(text(write))
        if calls == 1:
            server.sql(write, url)  # another's, of the same row: nothing else happens here until it is done
        return connection.execute(text("SELECT count(*) FROM jobs")).scalar()

    assert await ledger._database.write(work) == 1
    assert calls == 2


async def test_two_processes_that_start_at_once_agree_on_the_schema(url: str) -> None:
    assert await asyncio.to_thread(start_at_once, url, 2) == [0, 0]


async def test_the_migrations_build_exactly_the_tables(ledger: SqlLedger) -> None:
    def details(connection: Connection) -> list[object]:
        """What `compare_metadata` leaves out: conditions of indexes, and how full pages are made."""
        indexes = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
        tables = "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL ORDER BY 1"
        return [sorted(map(tuple, connection.execute(text(query)))) for query in (indexes, tables)]

    def rebuilt(connection: Connection) -> tuple[list[object], ...]:
        before = details(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        upgrade.take_the_steps(connection, None)
        return compare_metadata(MigrationContext.configure(connection), metadata), before, details(connection)

    differences, at_once, by_steps = await ledger._database.write(rebuilt)
    assert differences == []
    assert at_once == by_steps


async def test_a_schema_newer_than_the_code_is_refused(ledger: SqlLedger, url: str) -> None:
    await ledger._database.write(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    )
    newer = SqlLedger(url)
    with pytest.raises(ConfigError, match=rf"9999, newer than .* knows \({upgrade.NEWEST}\)"):
        await newer.start()


async def test_two_gateways_with_the_same_key_make_one_job(ledger: Ledger, url: str) -> None:
    other = SqlLedger(url)
    await other.start()
    ledgers = (ledger, other)
    results = await asyncio.gather(
        *(ledgers[n % 2].insert([job(n, idempotency_key=f"key {n // 2 % 20}")]) for n in range(200))
    )
    ends = await asyncio.gather(
        *(ledgers[n % 2].record([outcome(result.job, JobStatus.COMPLETED)]) for n, (result,) in enumerate(results))
    )
    await other.stop()
    assert sum(result.is_new for (result,) in results) == 20
    assert len({result.job.id for (result,) in results}) == 20
    assert sum(is_end for (is_end,) in ends) == 20


@pytest.mark.parametrize("bad", [{"model_version": "\x00"}, {"max_attempts": 2**40}, {"max_attempts": "3"}])
async def test_what_postgresql_alone_cannot_hold_fails_alone(ledger: Ledger, bad: dict[str, object]) -> None:
    results = await asyncio.gather(ledger.insert([job(1, **bad)]), ledger.insert([job(2)]), return_exceptions=True)
    assert isinstance(results[0], InvalidInput)
    assert results[1] == [Inserted(job(2), True)]


async def test_connections_cut_while_idle_are_replaced_unseen(ledger: Ledger, server: PostgresServer) -> None:
    await ledger.insert([job(1)])
    await ledger.get([job(1).id])
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'springtide'")
    assert await ledger.insert([job(2)]) == [Inserted(job(2), True)]
    assert await ledger.get([job(1).id]) == [job(1)]


async def test_a_server_that_went_away_is_unavailable_until_it_is_back(ledger: Ledger, server: PostgresServer) -> None:
    await ledger.insert([job(1)])
    server.kill()
    try:
        for unlucky in (job(2), job(2, input_files=())):  # the long way and the short one
            with pytest.raises(Unavailable):
                await ledger.insert([unlucky])
        with pytest.raises(Unavailable):
            await ledger.get([job(1).id])
    finally:
        server.start()
    assert await ledger.insert([job(1), job(3)]) == [Inserted(job(1), False), Inserted(job(3), True)]


async def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def commit_then_break(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("COMMIT")
        raise ConnectionResetError("cut before the answer came")

    with monkeypatch.context() as during:
        during.setattr(AsyncConnection, "commit", commit_then_break)
        with pytest.raises(OutcomeUnknown):
            await ledger.insert([job(1)])
    assert await ledger.insert([job(1)]) == [Inserted(job(1), False)], "an idempotent retry settles it"


async def test_new_jobs_whose_commit_was_not_heard_of_are_new(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [job(n, input_files=()) for n in range(3)]
    await ledger.insert([plain[0]])
    fetch = asyncpg.Connection.fetch
    cut: list[str] = []

    async def do_then_break(connection: asyncpg.Connection, query: str, *arguments: object) -> None:
        await fetch(connection, query, *arguments)
        cut.append(query.split()[0])
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    with monkeypatch.context() as during:
        during.setattr(asyncpg.Connection, "fetch", do_then_break)
        assert await ledger.insert(plain[1:]) == [Inserted(plain[1], True), Inserted(plain[2], True)]
        ends = [outcome(each, JobStatus.COMPLETED, output_files=()) for each in plain]
        await ledger.record(ends)
    assert cut == ["INSERT", "WITH"]  # the second ends jobs and notes who is to be told, in one statement
    assert [each.status for each in await ledger.get([each.id for each in plain]) if each] == [JobStatus.COMPLETED] * 3
    assert await ledger.insert(plain) == [Inserted(each, False) for each in await ledger.get([j.id for j in plain])]


async def test_many_new_jobs_are_put_there_in_one_go_and_known_ones_among_them_are_found(ledger: Ledger) -> None:
    many = [job(n, input_files=()) for n in range(3 * FILLED_ROWS)]
    first, rest = many[:FILLED_ROWS], many[FILLED_ROWS:]
    assert await ledger.insert(first) == [Inserted(each, True) for each in first]
    assert await ledger.get([each.id for each in first]) == first
    assert [each.is_new for each in await ledger.insert([*rest, first[0]])] == [True] * len(rest) + [False]
    assert await ledger.get([each.id for each in rest]) == rest


@pytest.mark.parametrize("bad", [{"model_version": "\x00"}, {"max_attempts": 2**40}, {"max_attempts": "3"}])
async def test_of_many_new_jobs_one_that_postgresql_cannot_hold_fails_alone(
    ledger: Ledger, bad: dict[str, object]
) -> None:
    many = [job(n, input_files=()) for n in range(FILLED_ROWS)]
    results = await ledger.insert_each([*many, job(99, input_files=(), **bad)])
    assert results[:-1] == [Inserted(each, True) for each in many]
    assert isinstance(results[-1], InvalidInput)


async def test_many_new_jobs_whose_commit_was_not_heard_of_are_new(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [job(n, input_files=()) for n in range(FILLED_ROWS)]
    copy = asyncpg.Connection.copy_records_to_table

    async def do_then_break(connection: asyncpg.Connection, table: str, **options: object) -> None:
        await copy(connection, table, **options)
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    with monkeypatch.context() as during:
        during.setattr(asyncpg.Connection, "copy_records_to_table", do_then_break)
        assert await ledger.insert(many) == [Inserted(each, True) for each in many]
    assert await ledger.insert(many) == [Inserted(each, False) for each in many]


@pytest.mark.parametrize("change", [("test_", "missing_"), ("springtide@", "nobody@"), ("?host=", "?host=/nowhere")])
async def test_what_cannot_be_reached_is_unavailable(url: str, change: tuple[str, str]) -> None:
    ledger = SqlLedger(url.replace(*change))
    with pytest.raises(Unavailable):
        await ledger.start()
    await ledger.stop()


async def test_a_database_that_is_not_there_is_told_with_its_setting_and_address_and_without_its_password() -> None:
    port = free_port()
    ledger = SqlLedger(f"postgresql://ann:s3cr3t@127.0.0.1:{port}/tide?sslmode=disable")
    with pytest.raises(Unavailable, match=rf"\[ledger\] url = postgresql://ann:\*\*\*@127.0.0.1:{port}/tide") as caught:
        await ledger.start()
    await ledger.stop()
    assert "s3cr3t" not in str(caught.value)

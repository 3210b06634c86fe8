"""The ledger's contract on SQLite, and what only a file has."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, update

from springtide.domain.errors import ConfigError, Conflict, Unavailable
from springtide.domain.ids import JobId
from springtide.ledger import rows
from springtide.ledger import sqlite as sqlite_module
from springtide.ledger.bulk import driver_of
from springtide.ledger.history import Memory
from springtide.ledger.migrations import upgrade
from springtide.ledger.protocol import Ledger
from springtide.ledger.sql import SqlLedger
from springtide.ledger.tables import jobs, metadata
from springtide.ledger.writes import Kind, Write, apply
from springtide.testing.ledger_cases import ACME, NOW_S, Reopen, blob_ref, job
from springtide.testing.ledger_processes import start_at_once
from springtide.testing.ledger_suite import LedgerSuite


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'folder with spaces' / 'ledger.db'}"


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


class TestSqlite(LedgerSuite):
    pass


async def test_every_commit_waits_for_the_disk(ledger: SqlLedger) -> None:
    async def asked(pragma: str) -> object:
        return await ledger._database.write(lambda on: on.exec_driver_sql(f"PRAGMA {pragma}").scalar())

    assert await asked("journal_mode") == "wal"
    assert await asked("synchronous") == 2  # FULL
    assert await asked("foreign_keys") == 1
    assert await asked("busy_timeout") == 10_000


async def test_two_processes_that_start_at_once_agree_on_the_schema(url: str) -> None:
    assert await asyncio.to_thread(start_at_once, url, 2) == [0, 0]


async def test_a_start_is_alone_while_it_changes_the_schema(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_file = Path(url.removeprefix("sqlite:///") + ".lock")

    def is_free() -> bool:
        with lock_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    during: list[bool] = []
    monkeypatch.setattr(sqlite_module, "upgrade", lambda connection: during.append(is_free()))
    ledger = SqlLedger(url)
    await ledger.start()
    await ledger.stop()
    assert during == [False]
    assert is_free()


async def test_the_migrations_build_exactly_the_tables(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'stepwise.db'}")
    with engine.begin() as connection:
        upgrade.take_the_steps(connection, None)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_a_new_database_has_the_schema_of_the_steps(ledger: Ledger, url: str, tmp_path: Path) -> None:
    def schema(file: str) -> list[list[str]]:
        """Each statement as its clauses: a column that came later stands after the constraints, and means the same."""
        with contextlib.closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        found = [re.sub(r'[\s"]+|CONSTRAINT \w+', "", sql).lower() for (sql,) in rows if "alembic" not in sql]
        return sorted(sorted(sql.removesuffix(")").split(",")) for sql in found)

    engine = create_engine(f"sqlite:///{tmp_path / 'stepwise.db'}")
    with engine.begin() as connection:
        upgrade.take_the_steps(connection, None)
    engine.dispose()
    assert schema(url.removeprefix("sqlite:///")) == schema(str(tmp_path / "stepwise.db"))


def test_the_newest_step_is_the_one_the_code_wants() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(upgrade.__file__).parent))
    config.set_main_option("path_separator", "newline")
    assert ScriptDirectory.from_config(config).get_heads() == [upgrade.NEWEST]


async def test_sqlite_alone_loads_neither_alembic_nor_what_is_for_postgresql(ledger: Ledger, url: str) -> None:
    script = (
        "import asyncio, sys; from springtide.ledger.sql import SqlLedger; ledger = SqlLedger(sys.argv[1]);"
        "asyncio.run(ledger.start()); needless = {'alembic', 'asyncpg', 'sqlalchemy.ext.asyncio'};"
        "print((needless | {'sqlalchemy.dialects.postgresql'}) & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


async def test_a_schema_newer_than_the_code_is_refused(ledger: Ledger, url: str) -> None:
    await ledger.stop()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    newer = SqlLedger(url)
    with pytest.raises(ConfigError, match=rf"9999, newer than .* knows \({upgrade.NEWEST}\)"):
        await newer.start()
    await newer.stop()


async def test_a_read_only_folder_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")
    with pytest.raises(Unavailable):
        await ledger.start()
    await ledger.stop()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"something else entirely" * 100)
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(Unavailable, match="not a database"):
        await ledger.start()
    await ledger.stop()


async def test_the_ledger_recovers_when_a_write_could_not_be_made(ledger: SqlLedger) -> None:
    # As a full disk: SQLite answers SQLITE_FULL. The limit belongs to the connection.
    await ledger._database.write(lambda on: on.exec_driver_sql("PRAGMA max_page_count = 1").close())
    with pytest.raises(Unavailable, match="full"):
        await ledger.insert([job(n, inputs={"long": "x" * 5000}) for n in range(20)])
    assert await ledger.get([job(1).id]) == [None], "nothing of a failed transaction stays"
    (result,) = await ledger.insert([job(1)])
    assert result.is_new


@pytest.mark.parametrize("by_sqlalchemy", [False, True])
async def test_nothing_stays_of_work_that_failed_whoever_ran_its_statements(
    ledger: SqlLedger, by_sqlalchemy: bool
) -> None:
    def fails(on: Connection) -> None:
        # An insert goes to the driver; SQLAlchemy's own transaction is begun, or not, before it.
        if by_sqlalchemy:
            on.execute(update(jobs).values(worker="w")).close()
        apply(on, [Write(Kind.INSERT, rows.job_row(job(1)))], careful=False)
        raise LookupError("halfway")

    await ledger.insert([job(2)])
    with pytest.raises(LookupError, match="halfway"):
        await ledger._database.write(fails)
    [missing, kept] = await ledger.get([job(1).id, job(2).id])
    assert missing is None and kept is not None and kept.worker is None
    assert (await ledger.insert([job(1)]))[0].is_new, "and the next write is not inside the one that failed"


async def test_what_the_driver_refuses_fails_alone(ledger: SqlLedger) -> None:
    def refused(on: Connection) -> None:
        driver_of(on).execute("INSERT INTO jobs (id) VALUES ('one')")

    outcomes = await asyncio.gather(
        ledger.write(refused), ledger.insert([job(1)]), ledger.write(refused), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [Conflict, list, Conflict]
    assert (await ledger.get([job(1).id]))[0] is not None


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "mysql://host/name", "nonsense"])
def test_urls_it_cannot_serve_are_refused_at_once(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        SqlLedger(bad)


async def test_words_that_are_written_every_few_seconds_leave_nothing_for_the_collector(url: str) -> None:
    """A statement of SQLAlchemy is a net of cycles: made anew with each row they pile up until a collection."""
    ledger = SqlLedger(url)
    await ledger.start()

    async def write() -> None:
        for number in range(20):
            await ledger.history.put_memories([Memory(name="tide", at_s=NOW_S + number, body="{}")])
            await ledger.usage.add_uploaded({ACME: 100}, 20_000)

    await write()
    gc.collect()
    gc.disable()
    try:
        await write()
        assert gc.collect() < 20, "objects of 40 rows; a statement for each is a thousand"
    finally:
        gc.enable()
    await ledger.stop()


async def test_lists_of_any_length_take_few_statements(url: str) -> None:
    """The driver keeps a prepared statement for each text: one for each length of a list fills it for hours."""
    ledger = SqlLedger(url)
    await ledger.start()
    texts: set[str] = set()

    def note(*call: object) -> None:
        texts.add(str(call[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        for count in range(1, 40):
            ids = [blob_ref(number).id for number in range(count)]
            await ledger.get_blobs(ids)
            await ledger.drop_blobs(ids)
            await ledger.get([JobId(f"job{number}") for number in range(count)])
            await ledger.forget([JobId(f"job{number}") for number in range(count)], loose_since_s=NOW_S)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(texts) < 40, "of four verbs and lists of 39 lengths"
    await ledger.stop()

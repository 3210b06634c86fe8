"""A database of an older version keeps what it holds, on both databases."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from springtide.domain.ids import JobId
from springtide.domain.job import JobStatus
from springtide.ledger.migrations import upgrade
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import NOW_S, blob_ref
from springtide.testing.postgres import PostgresServer

_JOB = (
    "INSERT INTO jobs (id, tenant, model, model_version, status, inputs, input_files, priority, max_attempts, "
    "timeout_s, predicted_s, created_at_s, attempt, output_files, finished_at_s) VALUES (:id, 'acme', 'matting', '1', "
    "'completed', '{}', :input_files, 'standard', 3, 300, 1, 1, 1, :output_files, 2)"
)
_BLOB = "INSERT INTO blobs (id, tenant, ref, created_at_s) VALUES (:id, 'acme', :ref, 1)"


def _fill_as_of_0001(connection: Connection) -> None:
    upgrade.take_the_steps(connection, None, to="0001")
    refs = [f'{{"id": "{blob_ref(n).id}", "media_type": "image/png", "bytes": 1, "sha256": "a"}}' for n in range(4)]
    for number, (taken, given) in enumerate([(refs[0:2], refs[2:3]), ([], []), (refs[0:1], [])]):
        files = {"input_files": f"[{', '.join(taken)}]", "output_files": f"[{', '.join(given)}]"}
        connection.execute(text(_JOB), {"id": f"job_{number:032x}", **files})
    for number, ref in enumerate(refs):
        connection.execute(text(_BLOB), {"id": blob_ref(number).id, "ref": ref})


async def _check(ledger: SqlLedger) -> None:
    await ledger.start()
    first, second, third = [JobId(f"job_{number:032x}") for number in range(3)]
    assert [job and job.status for job in await ledger.get([first, second])] == [JobStatus.COMPLETED] * 2
    assert await ledger.loose_blobs(before_s=NOW_S, limit=9) == [blob_ref(3).id]
    await ledger.forget([first], loose_since_s=2.0)
    assert set(await ledger.loose_blobs(before_s=NOW_S, limit=9)) == {blob_ref(n).id for n in (1, 2, 3)}
    await ledger.forget([second, third], loose_since_s=2.0)
    assert len(await ledger.loose_blobs(before_s=NOW_S, limit=9)) == 4
    await ledger.stop()


async def test_files_of_older_jobs_are_held_and_loosened_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        _fill_as_of_0001(connection)
    engine.dispose()
    await _check(SqlLedger(url))


async def test_files_of_older_jobs_are_held_and_loosened_on_postgresql(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(_fill_as_of_0001)
    await engine.dispose()
    await _check(SqlLedger(url))

"""Every query of the ledger is served by the index that `tables` names for it, on both databases.

PostgreSQL is asked with sequential scans priced out, since on an almost empty table they are the better plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import JobStatus
from springtide.ledger import reads
from springtide.ledger.protocol import JobFilter
from springtide.ledger.sql import SqlLedger
from springtide.testing.postgres import NoPostgres, postgres_server

ANN = TenantId("ann")
Query = Callable[[Connection], Sequence[Any]]

QUERIES: dict[str, tuple[Query, str]] = {
    "one job": (partial(reads.jobs_by_ids, ids=[JobId("a")]), "jobs_pk"),
    "several jobs": (partial(reads.jobs_by_ids, ids=[JobId("a"), JobId("b")]), "jobs_pk"),
    "by idempotency key": (partial(reads.jobs_by_keys, keys=[("ann", "k")]), "jobs_by_key"),
    "a tenant's list": (
        partial(reads.jobs_newest_first, where=JobFilter(tenant=ANN), after=JobId("z"), limit=5),
        "jobs_by_tenant",
    ),
    "a tenant's failed jobs": (
        partial(
            reads.jobs_newest_first,
            where=JobFilter(tenant=ANN, statuses=(JobStatus.FAILED,)),
            after=None,
            limit=5,
        ),
        "jobs_by_tenant",
    ),
    "a tenant's jobs of one model": (
        partial(reads.jobs_newest_first, where=JobFilter(tenant=ANN, model=ModelName("matting")), after=None, limit=5),
        "jobs_by_model",
    ),
    "live jobs": (partial(reads.live_jobs, after=JobId("a"), limit=5, created_before_s=1e12), "jobs_live"),
    "attempts": (partial(reads.attempts_of, job=JobId("a")), "attempts_pk"),
    "blobs": (partial(reads.blobs_by_ids, ids=["b1", "b2"]), "blobs_pk"),
}


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    try:
        with postgres_server() as server:
            yield server.new_database()
    except NoPostgres as error:
        pytest.skip(str(error))


async def plans_of(ledger: SqlLedger, query: Query, how: str) -> str:
    """What the database says it would do for each statement of `query`."""

    def ask(connection: Connection) -> str:
        asked: list[tuple[str, Any]] = []

        def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
            asked.append((statement, parameters))

        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        event.listen(connection, "before_cursor_execute", note)
        query(connection)
        event.remove(connection, "before_cursor_execute", note)
        found: list[str] = []
        for statement, parameters in asked:
            found += [str(row) for row in connection.exec_driver_sql(f"{how} {statement}", parameters)]
        return "\n".join(found)

    return await ledger._read(ask)


@pytest.mark.parametrize("name", QUERIES)
async def test_sqlite_serves_each_query_by_its_index(name: str, tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'plans.db'}")
    await ledger.start()
    query, index = QUERIES[name]
    plan = await plans_of(ledger, query, "EXPLAIN QUERY PLAN")
    await ledger.stop()
    automatic = f"sqlite_autoindex_{index.removesuffix('_pk')}_1"  # SQLite names a primary key's index itself
    assert f"USING INDEX {index}" in plan or f"USING INDEX {automatic}" in plan, plan
    assert "SCAN jobs" not in plan.replace("SCAN jobs USING INDEX jobs_live", ""), plan
    assert "USE TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize("name", QUERIES)
async def test_postgresql_serves_each_query_by_its_index(name: str, postgres_url: str) -> None:
    ledger = SqlLedger(postgres_url)
    await ledger.start()
    query, index = QUERIES[name]
    plan = await plans_of(ledger, query, "EXPLAIN")
    await ledger.stop()
    assert index in plan, plan
    assert "Seq Scan" not in plan, plan

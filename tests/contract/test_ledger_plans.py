"""Every query of the ledger is served by the index that `tables` names for it, on both databases.

PostgreSQL is asked with the other ways priced out (reading all, sorting), since on a small table they are the better
plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from springtide.domain.ids import BatchId, BlobId, JobId, ModelName, TenantId
from springtide.domain.job import JobStatus
from springtide.domain.webhook import MessageId, WebhookId
from springtide.ledger import keeping, reads, sql_batches, sql_history, sql_webhooks
from springtide.ledger.protocol import JobFilter
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import job
from springtide.testing.postgres import NoPostgres, postgres_server

ANN = TenantId("ann")
BATCH = BatchId(f"batch_{'0' * 16}c{'0' * 15}")
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
    "the steps of a pipeline": (
        partial(reads.jobs_newest_first, where=JobFilter(tenant=ANN, parent=JobId("p")), after=None, limit=5),
        "jobs_by_parent",
    ),
    "a batch's jobs as a list": (
        partial(reads.jobs_newest_first, where=JobFilter(tenant=ANN, batch=BATCH), after=None, limit=5),
        "jobs_by_tenant",
    ),
    "a batch's own jobs": (partial(sql_batches.jobs_of, batch=BATCH, first=0, end=5), "jobs_pk"),
    "a batch's running jobs": (partial(sql_batches.running_of, batch=BATCH, limit=5), "jobs_pk"),
    "a batch's last job": (partial(sql_batches.last_queued_of, batch=BATCH, model=ModelName("matting")), "jobs_pk"),
    "a batch's items": (partial(sql_batches.lines_of, batch=BATCH, first=0, end=5), "batch_items_pk"),
    "a tenant's batches": (
        partial(sql_batches.newest_batches, tenant=ANN, after=None, limit=5),
        "batches_by_tenant",
    ),
    "live pipelines": (partial(reads.live_pipelines, after=JobId("a"), limit=5), "jobs_pipelines"),
    "live jobs": (partial(reads.live_jobs, after=JobId("a"), limit=5, created_before_s=1e12), "jobs_live"),
    "attempts": (partial(reads.attempts_of, job=JobId("a")), "attempts_pk"),
    "ended jobs": (
        partial(keeping.ended_jobs, after=JobId("a"), born_before="job_9", before_s=1e12, limit=5),
        "jobs_pk",
    ),
    "loose blobs": (partial(keeping.loose_blobs, before_s=1e12, limit=5), "blobs_loose"),
    "stale uploads": (partial(keeping.stale_uploads, before_s=1e12, limit=5), "uploads_pk"),
    "one upload": (lambda connection: [keeping.upload_by_id(connection, BlobId("b"))], "uploads_pk"),
    "blobs of forgotten jobs": (partial(keeping.blobs_of_jobs, ids=[JobId("a")]), "job_blobs_pk"),
    "other jobs of a blob": (lambda connection: [keeping.loosen(connection, [BlobId("b")], 1.0)], "job_blobs_by_blob"),
    "jobs that came": (partial(sql_history.jobs_that_came, since_s=1.0, until_s=9.0), "jobs_pk"),
    "steps that came": (partial(sql_history.steps_that_came, since_s=1.0, until_s=9.0), "jobs_steps"),
    "jobs in time": (
        partial(
            sql_history.jobs_in_time, model=ModelName("matting"), wait_s=30.0, since_s=1.0, until_s=9.0, now_s=99.0
        ),
        "jobs_pk",
    ),
    "the newest ended jobs": (
        partial(sql_history.newest_ended, since_s=1.0, limit=5),
        "jobs_pk",
    ),
    "the past as a trace": (partial(sql_history.jobs_that_ran, since_s=1.0, after=None, limit=5), "jobs_pk"),
    "decisions": (
        partial(sql_history.decisions_on, model=ModelName("matting"), before_s=1e12, limit=5),
        "decisions_pk",
    ),
    "samples": (partial(sql_history.samples_of, model=ModelName("matting"), since_s=1.0, limit=5), "samples_pk"),
    "memories": (partial(sql_history.memories_by_name, names=["tide:matting", "b"]), "memories_pk"),
    "a tenant's webhooks": (partial(sql_webhooks.webhooks_of, tenant=ANN), "webhooks_by_tenant"),
    "webhooks with something to send": (partial(sql_webhooks.webhooks_due, now_s=1e12), "deliveries_due"),
    "what is due for a webhook": (
        partial(sql_webhooks.deliveries_due, webhook=WebhookId("w"), now_s=1e12, limit=5),
        "deliveries_due",
    ),
    "a webhook's log": (
        partial(sql_webhooks.deliveries_of, webhook=WebhookId("w"), state=None, after=MessageId("m"), limit=5),
        "deliveries_of",
    ),
    "blobs": (partial(reads.blobs_by_ids, ids=["b1", "b2"]), "blobs_pk"),
}


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    try:
        with postgres_server() as server:
            url = server.new_database()
            asyncio.run(fill(url))
            yield url
    except NoPostgres as error:
        pytest.skip(str(error))


async def fill(url: str) -> None:
    """Jobs of many tenants and models: on an empty table two indexes cost the same, and either may be taken."""
    ledger = SqlLedger(url)
    await ledger.start()
    tenants = [ANN, *(TenantId(f"tenant{n}") for n in range(40))]
    models = [ModelName("matting"), *(ModelName(f"model{n}") for n in range(10))]
    statuses = [JobStatus.QUEUED, JobStatus.FAILED, JobStatus.COMPLETED]  # where none has failed, any plan is as good
    await ledger.insert(
        [
            job(n, tenant=tenants[n % 41], model=models[n % 11], status=statuses[n % 3], input_files=())
            for n in range(4100)
        ]
    )
    await ledger._database.write(lambda on: on.execute(text("ANALYZE jobs")))
    await ledger.stop()


async def plans_of(ledger: SqlLedger, query: Query, how: str) -> str:
    """What the database says it would do for each statement of `query`."""

    def ask(connection: Connection) -> str:
        asked: list[tuple[str, Any]] = []

        def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
            asked.append((statement, parameters))

        if connection.dialect.name == "postgresql":
            for other_way in ("seqscan", "bitmapscan", "sort"):
                connection.execute(text(f"SET LOCAL enable_{other_way} = off"))
        event.listen(connection, "before_cursor_execute", note)
        query(connection)
        event.remove(connection, "before_cursor_execute", note)
        found: list[str] = []
        for statement, parameters in asked:
            found += [str(row) for row in connection.exec_driver_sql(f"{how} {statement}", parameters)]
        return "\n".join(found)

    return await ledger.write(ask)  # in a transaction, which SET LOCAL needs


@pytest.mark.parametrize("name", QUERIES)
async def test_sqlite_serves_each_query_by_its_index(name: str, tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'plans.db'}")
    await ledger.start()
    query, index = QUERIES[name]
    plan = await plans_of(ledger, query, "EXPLAIN QUERY PLAN")
    await ledger.stop()
    automatic = f"sqlite_autoindex_{index.removesuffix('_pk')}_1"  # SQLite names a primary key's index itself
    plan = plan.replace("COVERING INDEX", "INDEX")
    assert f"USING INDEX {index}" in plan or f"USING INDEX {automatic}" in plan, plan
    for live in ("jobs_live", "jobs_pipelines"):  # as small as the backlog
        plan = plan.replace(f"SCAN jobs USING INDEX {live}", "")
    assert "SCAN jobs" not in plan, plan
    plan = plan.replace("USE TEMP B-TREE FOR GROUP BY", "")  # one entry a model
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

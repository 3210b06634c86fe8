"""The ledger's tables as SQLAlchemy Core knows them: jobs, the batches they came in, the attempts that gave no result,
blobs and who has them, uploads under way, the past of the fleet, operators' orders, API keys, what tenants used,
rollouts, shared secrets, webhooks and what is to be told to them.

Promises: the same columns on SQLite and PostgreSQL, and exactly what the migrations build (a test compares the two).
JSON is kept as text: it comes back with the key order and the numbers that went in, and PostgreSQL's JSONB would refuse
the character U+0000. Times are Unix seconds, as everywhere. Refuses: an index without a query that needs it; each one
below names its query, and costs every insert a little.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text, text

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
    }
)

# Ids are compared byte by byte on both databases, so that their order is the order of creation in every locale.
IdText = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite uses a partial index only where the query repeats its condition literally: both take it from here.
LIVE = "status IN ('queued', 'in_progress')"
NO_STEP = "parent IS NULL"
LIVE_JOB = f"plan IS NULL AND {LIVE}"
LIVE_PIPELINE = f"plan IS NOT NULL AND {LIVE}"

jobs = Table(
    "jobs",
    metadata,
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("model", IdText, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("input_files", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_s", Double, nullable=False),
    Column("predicted_s", Double, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("start_deadline_at_s", Double),
    Column("idempotency_key", IdText),
    Column("fingerprint", Text),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text),
    Column("started_at_s", Double),
    Column("finished_at_s", Double),
    Column("outputs", Text),
    Column("output_files", Text, nullable=False),
    Column("error", Text),
    Column("checkpoint", Text),
    Column("traceparent", Text),
    Column("parent", IdText),
    Column("step", Integer),
    Column("plan", Text),
    Column("retry_of", IdText),
    Column("cancel_asked_at_s", Double),
    Column("used_s", Double),
    Column("foretold", Text),
    Column("unit", IdText),  # `model@version` where the version has a queue of its own
    Column("is_pinned", Integer),  # 1: the caller named the version
)

# insert: has this tenant used this key already? Holds only the few jobs that came with a key.
Index(
    "jobs_by_key",
    jobs.c.tenant,
    jobs.c.idempotency_key,
    unique=True,
    sqlite_where=text("idempotency_key IS NOT NULL"),
)
# list: a tenant's jobs, newest first; steps of pipelines are not among them.
Index("jobs_by_tenant", jobs.c.tenant, jobs.c.id, sqlite_where=text(NO_STEP))
# list: a tenant's jobs of one model, newest first, however rare that model is.
Index(
    "jobs_by_model",
    jobs.c.tenant,
    jobs.c.model,
    jobs.c.id,
    sqlite_where=text(NO_STEP),
)
# live: jobs without an end, oldest first. Stays as small as the backlog.
Index("jobs_live", jobs.c.id, sqlite_where=text(LIVE_JOB))
# live_pipelines: pipelines without an end, oldest first.
Index("jobs_pipelines", jobs.c.id, sqlite_where=text(LIVE_PIPELINE))
# list: the steps of one pipeline. Unique, so that a step is on record once whoever writes it.
Index(
    "jobs_by_parent",
    jobs.c.parent,
    jobs.c.step,
    unique=True,
    sqlite_where=text("parent IS NOT NULL"),
)

# arrived: steps by the time their turn came; their ids tell when their pipeline came.
Index(
    "jobs_steps",
    jobs.c.created_at_s,
    sqlite_where=text("parent IS NOT NULL"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("total", Integer, nullable=False),
    Column("idempotency_key", IdText),
    Column("fingerprint", Text, nullable=False),
    Column("retry_of", IdText),
    Column("received", Integer, nullable=False),
    Column("touched_at_s", Double, nullable=False),
    Column("closed_at_s", Double),
    Column("cancel_asked_at_s", Double),
)
# begin: has this tenant used this key already?
Index(
    "batches_by_key",
    batches.c.tenant,
    batches.c.idempotency_key,
    unique=True,
    sqlite_where=text("idempotency_key IS NOT NULL"),
)
# list: a tenant's batches, newest first.
Index("batches_by_tenant", batches.c.tenant, batches.c.id)

# What is not told by the ids of a batch's jobs: places that were refused, and those that got a job known already.
batch_items = Table(
    "batch_items",
    metadata,
    # lines: by the primary key itself.
    Column("batch", IdText, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("job", IdText),
    Column("problem", Text),
)

attempts = Table(
    "attempts",
    metadata,
    # attempts: one job's attempts in order, by the primary key itself.
    Column("job", IdText, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("worker", Text),
    Column("started_at_s", Double),
    Column("finished_at_s", Double, nullable=False),
    Column("error", Text),
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("ref", Text, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("loose_since_s", Double),  # since when no job has it; NULL while one does
)
# loose_blobs: what may go, longest loose first. Holds only those.
Index(
    "blobs_loose",
    blobs.c.loose_since_s,
    sqlite_where=text("loose_since_s IS NOT NULL"),
)

job_blobs = Table(
    "job_blobs",
    metadata,
    # forget: the blobs of a job, by the primary key itself.
    Column("job", IdText, primary_key=True),
    Column("blob", IdText, primary_key=True),
)
# forget: has another job this blob, too?
Index("job_blobs_by_blob", job_blobs.c.blob)

uploads = Table(
    "uploads",
    metadata,
    # stale_uploads: oldest first, by the primary key itself.
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("declared", Text, nullable=False),
    Column("expires_at_s", Double, nullable=False),
    Column("claimed_at_s", Double),
)

decisions = Table(
    "decisions",
    metadata,
    # scaled: one model's decisions, newest first, by the primary key itself.
    Column("model", IdText, primary_key=True),
    Column("at_s", Double, primary_key=True),
    Column("body", Text, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    # samples: one model's samples in order, by the primary key itself.
    Column("model", IdText, primary_key=True),
    Column("at_s", Double, primary_key=True),
    Column("body", Text, nullable=False),
)

# What operators have ordered by hand: a few rows at most, read whole.
orders = Table(
    "orders",
    metadata,
    Column("kind", IdText, primary_key=True),
    Column("name", IdText, primary_key=True),  # of a model, a pool or a worker
    Column("at_s", Double, nullable=False),
    Column("body", Text, nullable=False),
)

memories = Table(
    "memories",
    metadata,
    Column("name", IdText, primary_key=True),
    Column("at_s", Double, nullable=False),
    Column("body", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("scopes", Text, nullable=False),  # names with a space between
    Column("digest", Text, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("name", Text),
    Column("expires_at_s", Double),
    Column("revoked_at_s", Double),
    Column("last_used_at_s", Double),
    # Counts what was done to this key; the sum over all keys changes with every change, in whatever order they commit.
    Column("changes", Integer, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    # used: the days of one tenant, by the primary key itself.
    Column("tenant", IdText, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC
    Column("model", IdText, primary_key=True),  # empty: what is no model's, such as uploads
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("uploaded_bytes", BigInteger, nullable=False),
)

# rollouts: all, in order, by the primary key itself: a handful a year.
rollouts = Table(
    "rollouts",
    metadata,
    Column("model", IdText, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", IdText, primary_key=True),
    Column("body", Text, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("is_enabled", Integer, nullable=False),
    Column("events", Text, nullable=False),  # ",job.completed,job.failed,": a word is found with its commas
    Column("models", Text, nullable=False),  # the same of models; empty: all
    Column("failing_since_s", Double),
    Column("paused_until_s", Double, nullable=False),
    Column("disabled_at_s", Double),
    Column("disabled_reason", Text),
    Column("body", Text, nullable=False),  # what only its owner changes
)
# record: who is to be told of a tenant's ends.
Index("webhooks_by_tenant", webhooks.c.tenant, webhooks.c.id)

deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", IdText, primary_key=True),
    Column("webhook", IdText, nullable=False),
    Column("job", IdText, nullable=False),
    Column("event", Text, nullable=False),
    Column("model", IdText, nullable=False),
    Column("ended_at_s", Double, nullable=False),
    Column("due_at_s", Double),  # NULL: it is over
    Column("state", Text, nullable=False),
    Column("tried", Integer, nullable=False),
    Column("spent", Integer, nullable=False),
    Column("tries", Text, nullable=False),
)
# claim: what is due for a webhook, oldest first. Holds only what is not over.
Index(
    "deliveries_due",
    deliveries.c.webhook,
    deliveries.c.due_at_s,
    sqlite_where=text("due_at_s IS NOT NULL"),
)
# deliveries: a webhook's log, newest first; forget_deliveries: the oldest of each.
Index("deliveries_of", deliveries.c.webhook, deliveries.c.id)

# Files and batches of OpenAI's routes. Their blobs are in job_blobs, under "file:<id>" and "batch:<id>".
OPEN_RECORD = "is_open = 1"
openai_records = Table(
    "openai_records",
    metadata,
    Column("kind", IdText, primary_key=True),
    Column("id", IdText, primary_key=True),
    Column("tenant", IdText, nullable=False),
    Column("label", IdText, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("is_open", Integer, nullable=False),
    Column("expires_at_s", Double),
    Column("claimed_until_s", Double),
    Column("body", Text, nullable=False),
)
# list: a tenant's files or batches, by time.
Index("openai_records_by_tenant", openai_records.c.tenant, openai_records.c.kind, openai_records.c.id)
# open: batches that are not done. Holds only those.
Index("openai_records_open", openai_records.c.id, sqlite_where=text(OPEN_RECORD))
# expired: what is past its time.
Index(
    "openai_records_expiring",
    openai_records.c.expires_at_s,
    sqlite_where=text("expires_at_s IS NOT NULL"),
)


# Indexes of PostgreSQL whose entries end in a job's id. The same one is there twice only until the row as it was before
# the job's end is cleaned away: to look for such at each full page took a quarter of what an end costs.
ENDING_IN_ID = ("jobs_pk", "jobs_by_tenant", "jobs_by_model", "jobs_live")


def tell_postgresql() -> None:
    """What PostgreSQL is to know before tables are made there: of partial indexes, the same as SQLite. Not at once:
    to name the dialect is to load it, 5 MB that SQLite has no use for."""
    # A fifth of each page stays free, so that a job's end finds room beside its beginning.
    jobs.dialect_options["postgresql"]["with"] = {"fillfactor": "80"}
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]

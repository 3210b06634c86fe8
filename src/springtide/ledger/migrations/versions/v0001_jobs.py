"""Jobs, attempts and blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("input_files", sa.Text, nullable=False),
        sa.Column("priority", sa.Text, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("timeout_s", sa.Double, nullable=False),
        sa.Column("predicted_s", sa.Double, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("start_deadline_at_s", sa.Double),
        sa.Column("idempotency_key", _ID),
        sa.Column("fingerprint", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("started_at_s", sa.Double),
        sa.Column("finished_at_s", sa.Double),
        sa.Column("outputs", sa.Text),
        sa.Column("output_files", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="jobs_pk"),
        postgresql_with={"fillfactor": "80"},
    )
    with_key = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "jobs_by_key",
        "jobs",
        ["tenant", "idempotency_key"],
        unique=True,
        sqlite_where=with_key,
        postgresql_where=with_key,
    )
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "id"])
    op.create_index("jobs_by_model", "jobs", ["tenant", "model", "id"])
    live = sa.text("status IN ('queued', 'in_progress')")
    op.create_index("jobs_live", "jobs", ["id"], sqlite_where=live, postgresql_where=live)
    op.create_table(
        "attempts",
        sa.Column("job", _ID, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("started_at_s", sa.Double),
        sa.Column("finished_at_s", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("job", "attempt", name="attempts_pk"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="attempts_job_fk", ondelete="CASCADE"),
    )
    op.create_table(
        "blobs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="blobs_pk"),
    )

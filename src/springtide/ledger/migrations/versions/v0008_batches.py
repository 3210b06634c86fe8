"""Batches of jobs, and secrets that all gateways share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("idempotency_key", _ID),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("retry_of", _ID),
        sa.Column("received", sa.Integer, nullable=False),
        sa.Column("touched_at_s", sa.Double, nullable=False),
        sa.Column("closed_at_s", sa.Double),
        sa.Column("cancel_asked_at_s", sa.Double),
        sa.PrimaryKeyConstraint("id", name="batches_pk"),
    )
    keyed = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "batches_by_key",
        "batches",
        ["tenant", "idempotency_key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )
    op.create_index("batches_by_tenant", "batches", ["tenant", "id"])
    op.create_table(
        "batch_items",
        sa.Column("batch", _ID, nullable=False),
        sa.Column("place", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("job", _ID),
        sa.Column("problem", sa.Text),
        sa.PrimaryKeyConstraint("batch", "place", name="batch_items_pk"),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name="batch_items_batch_fk", ondelete="CASCADE"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", _ID, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="secrets_pk"),
    )

"""Webhooks, and what is to be told to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("is_enabled", sa.Integer, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("failing_since_s", sa.Double),
        sa.Column("paused_until_s", sa.Double, nullable=False),
        sa.Column("disabled_at_s", sa.Double),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="webhooks_pk"),
    )
    op.create_index("webhooks_by_tenant", "webhooks", ["tenant", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _ID, nullable=False),
        sa.Column("webhook", _ID, nullable=False),
        sa.Column("job", _ID, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("ended_at_s", sa.Double, nullable=False),
        sa.Column("due_at_s", sa.Double),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tried", sa.Integer, nullable=False),
        sa.Column("spent", sa.Integer, nullable=False),
        sa.Column("tries", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="webhook_deliveries_pk"),
    )
    due = sa.text("due_at_s IS NOT NULL")
    op.create_index(
        "deliveries_due", "webhook_deliveries", ["webhook", "due_at_s"], sqlite_where=due, postgresql_where=due
    )
    op.create_index("deliveries_of", "webhook_deliveries", ["webhook", "id"])

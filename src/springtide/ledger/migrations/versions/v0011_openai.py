"""Files and batches of OpenAI's routes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "openai_records",
        sa.Column("kind", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("label", _ID, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("is_open", sa.Integer, nullable=False),
        sa.Column("expires_at_s", sa.Double),
        sa.Column("claimed_until_s", sa.Double),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="openai_records_pk"),
    )
    op.create_index("openai_records_by_tenant", "openai_records", ["tenant", "kind", "id"])
    is_open, expiring = sa.text("is_open = 1"), sa.text("expires_at_s IS NOT NULL")
    op.create_index("openai_records_open", "openai_records", ["id"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_index(
        "openai_records_expiring",
        "openai_records",
        ["expires_at_s"],
        sqlite_where=expiring,
        postgresql_where=expiring,
    )

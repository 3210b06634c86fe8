"""API keys, and what tenants used: by day and model, and each job by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("used_s", sa.Double))
    op.create_table(
        "api_keys",
        sa.Column("prefix", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("expires_at_s", sa.Double),
        sa.Column("revoked_at_s", sa.Double),
        sa.Column("last_used_at_s", sa.Double),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("prefix", name="api_keys_pk"),
    )
    op.create_table(
        "usage",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("model", _ID, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("completed", "failed", "cancelled", "expired")),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("uploaded_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "day", "model", name="usage_pk"),
    )

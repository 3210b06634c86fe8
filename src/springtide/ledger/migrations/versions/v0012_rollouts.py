"""Versions of a model side by side: which one a job is for, and the rollouts that decide it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0013"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unit", _ID))
    op.add_column("jobs", sa.Column("is_pinned", sa.Integer))
    op.create_table(
        "rollouts",
        sa.Column("model", _ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model", "number", name="rollouts_pk"),
    )

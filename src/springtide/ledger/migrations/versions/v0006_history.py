"""The past of the fleet: decisions, samples, and what the controller has learnt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("decisions", "samples"):
        op.create_table(
            name,
            sa.Column("model", _ID, nullable=False),
            sa.Column("at_s", sa.Double, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("model", "at_s", name=f"{name}_pk"),
        )
    op.create_table(
        "memories",
        sa.Column("name", _ID, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="memories_pk"),
    )
    steps = sa.text("parent IS NOT NULL")
    op.create_index("jobs_steps", "jobs", ["created_at_s"], sqlite_where=steps, postgresql_where=steps)

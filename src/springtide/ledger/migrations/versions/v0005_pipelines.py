"""Pipelines: a job that is a plan of steps, jobs that are its steps, and jobs that do an ended one again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", _ID))
    op.add_column("jobs", sa.Column("step", sa.Integer))
    op.add_column("jobs", sa.Column("plan", sa.Text))
    op.add_column("jobs", sa.Column("retry_of", _ID))
    op.add_column("jobs", sa.Column("cancel_asked_at_s", sa.Double))
    for name, columns in (("jobs_by_tenant", ["tenant", "id"]), ("jobs_by_model", ["tenant", "model", "id"])):
        op.drop_index(name, "jobs")
        no_step = sa.text("parent IS NULL")
        op.create_index(name, "jobs", columns, sqlite_where=no_step, postgresql_where=no_step)
    op.drop_index("jobs_live", "jobs")
    for name, kind in (("jobs_live", "plan IS NULL"), ("jobs_pipelines", "plan IS NOT NULL")):
        live = sa.text(f"{kind} AND status IN ('queued', 'in_progress')")
        op.create_index(name, "jobs", ["id"], sqlite_where=live, postgresql_where=live)
    is_step = sa.text("parent IS NOT NULL")
    op.create_index(
        "jobs_by_parent", "jobs", ["parent", "step"], unique=True, sqlite_where=is_step, postgresql_where=is_step
    )

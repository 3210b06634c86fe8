"""PostgreSQL need not look for duplicates in indexes that end in a job's id."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in ("jobs_pk", "jobs_by_tenant", "jobs_by_model", "jobs_live"):
            op.execute(f"ALTER INDEX {name} SET (deduplicate_items = off)")

"""Which job has which blob, since when a blob is nobody's, and uploads that clients make themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "job_blobs",
        sa.Column("job", _ID, nullable=False),
        sa.Column("blob", _ID, nullable=False),
        sa.PrimaryKeyConstraint("job", "blob", name="job_blobs_pk"),
    )
    op.create_index("job_blobs_by_blob", "job_blobs", ["blob"])
    op.create_table(
        "uploads",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("declared", sa.Text, nullable=False),
        sa.Column("expires_at_s", sa.Double, nullable=False),
        sa.Column("claimed_at_s", sa.Double),
        sa.PrimaryKeyConstraint("id", name="uploads_pk"),
    )
    op.add_column("blobs", sa.Column("loose_since_s", sa.Double))
    loose = sa.text("loose_since_s IS NOT NULL")
    op.create_index("blobs_loose", "blobs", ["loose_since_s"], sqlite_where=loose, postgresql_where=loose)
    _link_what_is_there()


def _link_what_is_there() -> None:
    each = "json_array_elements({0}::json) AS file" if _is_postgres() else "json_each({0}) AS file"
    blob = "file ->> 'id'" if _is_postgres() else "file.value ->> '$.id'"
    for files in ("input_files", "output_files"):
        op.execute(  # S608: what is put in stands above, nothing of it comes from outside
            f"INSERT INTO job_blobs SELECT DISTINCT jobs.id, {blob} FROM jobs, {each.format(f'jobs.{files}')} "  # noqa: S608
            f"WHERE jobs.{files} <> '[]' ON CONFLICT DO NOTHING"
        )
    op.execute(
        "UPDATE blobs SET loose_since_s = created_at_s "
        "WHERE NOT EXISTS (SELECT 1 FROM job_blobs WHERE job_blobs.blob = blobs.id)"
    )


def _is_postgres() -> bool:
    return op.get_context().dialect.name == "postgresql"

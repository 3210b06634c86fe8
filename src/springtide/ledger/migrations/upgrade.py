"""Takes a database from whatever schema it has to the one this code wants.

A new database gets today's tables at once and is stamped; an older one is taken through the steps (Alembic). A test
holds that both ways end in the same schema.

The caller holds the lock and the transaction, so two processes that start at once do it one after the other, and a step
that fails leaves nothing behind. Refuses a schema that a newer Springtide has made: ConfigError.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from springtide.domain.errors import ConfigError
from springtide.ledger.tables import ENDING_IN_ID, metadata, tell_postgresql

NEWEST = "0014"  # the last of versions/; a test compares the two


def upgrade(connection: Connection) -> None:
    current = _current(connection)
    if current is None:
        _create(connection)
    elif current != NEWEST:
        take_the_steps(connection, current)


def _current(connection: Connection) -> str | None:
    """The revision this database is at; None where it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        tell_postgresql()
    metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        for name in ENDING_IN_ID:
            connection.execute(text(f"ALTER INDEX {name} SET (deduplicate_items = off)"))
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": NEWEST})


def take_the_steps(connection: Connection, current: str | None, *, to: str = NEWEST) -> None:
    """Run every step after `current` up to `to`. Raises ConfigError for a revision that is not known here."""
    # Only here, and not at every start: Alembic is half a second of CPU on a busy machine, and 12 MB.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigError(
            f"ledger.url: the schema of this database is at {current}, newer than this Springtide knows ({NEWEST}). "
            "Start the newer version, or restore the database from before it."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, to)

"""Takes a database from whatever schema it has to the one this code wants.

The caller holds the lock and the transaction, so two processes that start at once do it one after the other, and a step
that fails leaves nothing behind. Refuses a schema that a newer Springtide has made: ConfigError.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from springtide.domain.errors import ConfigError


def upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    steps = ScriptDirectory.from_config(config)
    known = {step.revision for step in steps.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_heads()
    unknown = [revision for revision in current if revision not in known]
    if unknown:
        raise ConfigError(
            f"ledger.url: the schema of this database is at {', '.join(unknown)}, newer than this Springtide knows "
            f"({steps.get_current_head()}). Start the newer version, or restore the database from before it."
        )
    if current == tuple(steps.get_heads()):
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

"""Servers that several contract tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from springtide.testing.postgres import NoPostgres, PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all; each test makes a database of its own."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))

"""Servers that several contract tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from springtide.testing.postgres import NoPostgres, PostgresServer, postgres_server
from springtide.testing.s3 import S3Server, s3_server
from springtide.testing.servers import NoServer


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One S3 server for all; a test that stops one starts its own."""
    try:
        with s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all; each test makes a database of its own."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))

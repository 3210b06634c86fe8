"""Shared by all tests: failed asserts of the contract suites show what was compared; one S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("springtide.testing")

if TYPE_CHECKING:
    from springtide.testing.s3 import S3Server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One S3 server for all; a test that stops one starts its own."""
    from springtide.testing.s3 import s3_server  # here, so that tests without it do not load it
    from springtide.testing.servers import NoServer

    try:
        with s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))

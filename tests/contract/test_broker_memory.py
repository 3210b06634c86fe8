"""The embedded broker keeps the contract."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("springtide.testing")

from springtide.broker.memory import MemoryBroker  # noqa: E402
from springtide.broker.protocol import Broker  # noqa: E402
from springtide.testing.broker_cases import Rebuild  # noqa: E402
from springtide.testing.broker_suite import BrokerContract  # noqa: E402


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    async def broker(self) -> Broker:
        return MemoryBroker()

    @pytest.fixture
    async def rebuild(self) -> Rebuild:
        async def fresh() -> Broker:
            return MemoryBroker()

        return fresh

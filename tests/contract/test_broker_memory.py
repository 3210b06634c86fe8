"""The embedded broker keeps the contract."""

from __future__ import annotations

import pytest

from springtide.broker.memory import MemoryBroker
from springtide.broker.protocol import Broker
from springtide.testing.broker_cases import Rebuild
from springtide.testing.broker_suite import BrokerContract


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    async def broker(self) -> Broker:
        return MemoryBroker()

    @pytest.fixture
    async def rebuild(self) -> Rebuild:
        async def fresh() -> Broker:
            return MemoryBroker()

        return fresh

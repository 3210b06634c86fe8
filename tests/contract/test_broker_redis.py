"""The broker contract on a real Valkey, and what only a broker on a server can get wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from springtide.broker.protocol import Broker
from springtide.broker.redis import RedisBroker
from springtide.testing.broker_cases import MODELS, Rebuild
from springtide.testing.broker_suite import BrokerContract
from springtide.testing.servers import NoServer, ValkeyServer, valkey_server


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    try:
        with valkey_server() as running:
            yield running
    except NoServer as missing:
        pytest.skip(str(missing))


@pytest.fixture
async def broker(server: ValkeyServer) -> AsyncIterator[RedisBroker]:
    server.ask("FLUSHALL")
    broker = RedisBroker(server.url, MODELS, consumer="test")
    await broker.start()
    yield broker
    await broker.stop()


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    async def rebuild(self, server: ValkeyServer, broker: RedisBroker) -> Rebuild:
        async def emptied() -> Broker:
            server.ask("FLUSHALL")
            return broker

        return emptied

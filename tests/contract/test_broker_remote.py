"""The embedded broker keeps the contract over a socket as well."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from springtide.broker.memory import MemoryBroker
from springtide.broker.protocol import Broker
from springtide.broker.remote import BrokerServer, RemoteBroker
from springtide.domain.errors import Unavailable
from springtide.ledger.history import FleetHistory, Memory
from springtide.ledger.sql import SqlLedger
from springtide.testing.broker_cases import ANN, MODEL, Rebuild
from springtide.testing.broker_suite import BrokerContract
from springtide.testing.ledger_cases import MATTING, NOW_S


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    with TemporaryDirectory(prefix="tide") as folder:  # pytest's own folders are too long for a socket's path
        yield Path(folder) / "broker.sock"


@pytest.fixture
async def server(path: Path) -> AsyncIterator[BrokerServer]:
    server = BrokerServer(MemoryBroker(), path)
    await server.start()
    yield server
    await server.stop()


class TestRemoteBroker(BrokerContract):
    @pytest.fixture
    async def broker(self, server: BrokerServer, path: Path) -> AsyncIterator[Broker]:
        broker = RemoteBroker(path)
        await broker.start()
        yield broker
        await broker.stop()

    @pytest.fixture
    async def rebuild(self, server: BrokerServer, broker: Broker, path: Path) -> AsyncIterator[Rebuild]:
        servers = [server]

        async def restart() -> Broker:
            await broker.stop()
            await servers[-1].stop()
            servers.append(BrokerServer(MemoryBroker(), path))
            await servers[-1].start()
            await broker.start()
            return broker

        yield restart
        await servers[-1].stop()


async def test_another_protocol_travels_on_the_same_line(path: Path, tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    server = BrokerServer(MemoryBroker(), path, beside={FleetHistory: ledger.history})
    await server.start()
    broker = RemoteBroker(path)
    await broker.start()
    history = broker.beside(FleetHistory)
    await history.put_memories([Memory(name="tide", at_s=NOW_S, body="{}")])
    assert await history.memories(["tide", "none"]) == [Memory(name="tide", at_s=NOW_S, body="{}"), None]
    assert await history.samples(MATTING, since_s=0.0, limit=3) == []
    await ledger.stop()
    with pytest.raises(Unavailable, match="not running"):
        await history.memories(["tide"])
    await broker.stop()
    await server.stop()


async def test_waits_that_are_given_up_leave_nothing_for_the_collector(server: BrokerServer, path: Path) -> None:
    """A worker gives up a wait with every lease; what is freed late is memory that the server takes meanwhile."""
    broker = RemoteBroker(path)
    await broker.start()

    async def give_up_waits() -> None:
        for _ in range(50):
            wait = asyncio.create_task(broker.wake(MODEL, ANN, for_work=True, wait_s=30.0))
            await broker.queues([MODEL], NOW_S)  # answered in order: the server waits for the first by now
            wait.cancel()
            await asyncio.wait([wait])
            await broker.queues([MODEL], NOW_S)

    await give_up_waits()
    gc.collect()
    gc.disable()
    try:
        await give_up_waits()
        assert gc.collect() < 50, "objects of 50 waits; a cycle of frames in each are a thousand"
    finally:
        gc.enable()
    await broker.stop()

"""What keeps workers from coming up: from the fleet through the controller to whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from test_scaler import rounds, scaler_of
from test_signals import ONE, M, World

from springtide.controller.troubles import AGAIN_EVERY_S
from springtide.domain.fleet import FleetNews, ReplicaPhase, Trouble
from springtide.ledger.history import fleet_memory
from springtide.ledger.sql import SqlLedger

NO_GPU = Trouble(code="unschedulable", message="no node takes its pod: Insufficient nvidia.com/gpu")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield World(ledger)
    await ledger.stop()


async def news(world: World) -> FleetNews | None:
    [memory] = await world.ledger.history.memories([fleet_memory(M)])
    return None if memory is None else msgspec.json.decode(memory.body, type=FleetNews)


def is_in(world: World, trouble: Trouble | None, phase: ReplicaPhase = ReplicaPhase.RUNNING) -> None:
    world.fleet.replicas = [msgspec.structs.replace(one, trouble=trouble, phase=phase) for one in world.fleet.replicas]


async def test_a_trouble_is_written_when_it_begins_while_it_lasts_and_when_it_ends(world: World) -> None:
    scaler = scaler_of(world, max_replicas=1, min_replicas=1)
    world.starts(ONE)
    await rounds(world, scaler, 1)
    assert await news(world) is None, "a fleet that is well writes nothing"
    is_in(world, NO_GPU)
    await rounds(world, scaler, 1)
    began = await news(world)
    assert began is not None
    assert began.troubles == (NO_GPU,)
    await rounds(world, scaler, 5)
    assert await news(world) == began, "not with every round"
    await rounds(world, scaler, 1, apart_s=AGAIN_EVERY_S)
    again = await news(world)
    assert again is not None
    assert again.at_s > began.at_s
    is_in(world, None)
    await rounds(world, scaler, 1)
    over = await news(world)
    assert over is not None
    assert over.troubles == ()


async def test_one_of_each_kind_is_told(world: World) -> None:
    scaler = scaler_of(world, max_replicas=3, min_replicas=3)
    await rounds(world, scaler, 1)
    is_in(world, NO_GPU)
    await rounds(world, scaler, 1)
    found = await news(world)
    assert found is not None
    assert found.troubles == (NO_GPU,)

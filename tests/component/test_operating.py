"""Orders by hand, carried out: by the scaler on the fleet, by the sweep on the queues, over restarts of either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_signals import ONE, TWO, M, N, World

from springtide.broker.memory import MemoryBroker
from springtide.controller.scaler import Scaler
from springtide.controller.signals import Pool, Signals
from springtide.controller.sweeper import PAUSE_EVERY_S, SWEEP_EVERY_S, Sweeper
from springtide.domain.fleet import ReplicaPhase
from springtide.domain.ids import ModelName
from springtide.domain.lease import WorkerState
from springtide.domain.orders import Drain, OrderKind, Pause, Pin
from springtide.ledger.history import Scaled
from springtide.ledger.sql import SqlLedger
from springtide.policy.elastic.backlog import BacklogSettings
from springtide.policy.elastic.by_hand import WARM_S
from springtide.policy.elastic.named import bound


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield World(ledger)
    await ledger.stop()


def scaler_of(world: World) -> Scaler:
    policy = bound(BacklogSettings(max_replicas=3, idle_s=0.0))
    return Scaler(
        world.signals(), world.fleet, world.ledger.history, {M: policy}, world.clock, book=world.ledger.orders
    )


def sweeper_of(world: World, broker: MemoryBroker) -> Sweeper:
    return Sweeper(broker, world.ledger, [M], world.clock, book=world.ledger.orders)


async def rounds(world: World, scaler: Scaler, count: int = 1, *, apart_s: float = 1.0) -> int:
    """The replicas that are to stay after so many rounds."""
    for _ in range(count):
        await world.clock.advance(apart_s)
        await scaler.scale_once()
    return sum(one.phase is ReplicaPhase.RUNNING for one in world.fleet.replicas)


async def told(world: World) -> list[Scaled]:
    """Decisions, oldest first."""
    return (await world.ledger.history.scaled(M, before_s=world.clock.now_s() + 1, limit=99))[::-1]


def pause(world: World) -> Pause:
    return Pause(model=M, at_s=world.clock.now_s(), by="local", note="new weights")


async def test_replicas_set_by_hand_hold_over_a_restart_and_until_their_time(world: World) -> None:
    pin = Pin(model=M, replicas=2, at_s=world.clock.now_s(), by="local", until_s=world.clock.now_s() + 60)
    await world.ledger.orders.put_order(pin)
    assert await rounds(world, scaler_of(world)) == 2
    again = scaler_of(world)
    assert await rounds(world, again, 3) == 2
    assert again.decisions[M].wish == 0
    await rounds(world, again, 1, apart_s=60)
    assert await rounds(world, again) == 0
    assert await world.ledger.orders.all_orders() == []
    reasons = [(one.before, one.decision.replicas, one.decision.reason) for one in await told(world)]
    assert reasons[0] == (0, 2, "BY_HAND")
    assert reasons[-1] == (2, 0, "IDLE")


async def test_a_paused_model_gets_no_replica_and_loses_what_it_has_after_a_while(world: World) -> None:
    await world.ledger.orders.put_order(pause(world))
    scaler = scaler_of(world)
    await world.submit(9)
    assert await rounds(world, scaler) == 0
    await world.ledger.orders.drop_order(OrderKind.PAUSE, M)
    assert await rounds(world, scaler) == 3, "what waited is seen at once"
    await world.ledger.orders.put_order(pause(world))
    assert await rounds(world, scaler, 2) == 3
    assert await rounds(world, scaler, apart_s=WARM_S) == 0
    reasons = [(one.decision.replicas, one.decision.reason) for one in await told(world)]
    assert reasons == [(0, "PAUSED"), (3, "CEILING"), (3, "PAUSED"), (0, "PAUSED")]
    assert (await told(world))[1].decision.message.startswith("no longer by an operator's order; ")


async def test_the_end_of_a_pause_is_told_also_where_it_changes_nothing(world: World) -> None:
    scaler = scaler_of(world)
    await world.ledger.orders.put_order(pause(world))
    await rounds(world, scaler)
    await world.ledger.orders.drop_order(OrderKind.PAUSE, M)
    await rounds(world, scaler, 3)
    assert [one.decision.reason for one in await told(world)] == ["PAUSED", "HOLD"]


async def test_a_pin_keeps_a_paused_model_warm(world: World) -> None:
    await world.ledger.orders.put_order(pause(world))
    await world.ledger.orders.put_order(Pin(model=M, replicas=1, at_s=world.clock.now_s(), by="local"))
    assert await rounds(world, scaler_of(world), 2, apart_s=WARM_S) == 1


async def test_orders_hold_while_the_ledger_is_away(world: World) -> None:
    await world.ledger.orders.put_order(Pin(model=M, replicas=2, at_s=world.clock.now_s(), by="local"))
    scaler = scaler_of(world)
    await rounds(world, scaler)
    await world.ledger.stop()
    assert await rounds(world, scaler, 3) == 2
    await world.ledger.start()


async def test_a_worker_that_was_sent_away_leaves_and_is_replaced(world: World) -> None:
    scaler = scaler_of(world)
    await world.ledger.orders.put_order(Pin(model=M, replicas=2, at_s=world.clock.now_s(), by="local"))
    world.starts(ONE)
    world.starts(TWO)
    for worker in (ONE, TWO):
        await world.beat(worker, WorkerState.READY)
    await rounds(world, scaler)
    asked_at_s = world.clock.now_s()
    await world.ledger.orders.put_order(Drain(worker=TWO, model=M, at_s=asked_at_s, by="local"))
    assert await rounds(world, scaler) == 2
    phases = {one.worker: one.phase for one in world.fleet.replicas}
    assert (phases[ONE], phases[TWO]) == (ReplicaPhase.RUNNING, ReplicaPhase.DRAINING)
    assert len(phases) == 3, "another one in its place"
    await rounds(world, scaler, 2)
    assert len(world.fleet.replicas) == 3
    [sent] = [one for one in await told(world) if one.at_s == asked_at_s]
    assert "worker w-2 was told by an operator to finish and leave" in sent.decision.message
    world.fleet.replicas = [one for one in world.fleet.replicas if one.worker != TWO]
    await rounds(world, scaler)
    assert len(await world.ledger.orders.all_orders()) == 2, "the broker still knows it"
    await world.broker.leave(M, TWO, world.clock.now_s())
    await rounds(world, scaler)
    assert [type(one) for one in await world.ledger.orders.all_orders()] == [Pin]


async def test_models_that_share_workers_are_not_scaled_for_what_is_paused(world: World) -> None:
    pool = ModelName("both")
    pools = {pool: Pool(models=(M, N))}
    signals = Signals(world.broker, world.fleet, world.ledger.history, world.clock, pools=pools)
    policy = bound(BacklogSettings(max_replicas=3, jobs_per_replica=1, idle_s=0.0))
    scaler = Scaler(signals, world.fleet, world.ledger.history, {pool: policy}, world.clock, book=world.ledger.orders)
    await world.ledger.orders.put_order(pause(world))
    await world.submit(3)
    assert await rounds(world, scaler) == 0
    await world.submit(1, model=N)
    assert await rounds(world, scaler) == 1


async def test_nothing_of_a_paused_model_is_leased_also_from_an_emptied_broker(world: World) -> None:
    await world.submit(2)
    [running] = await world.lease(ONE)
    await world.ledger.orders.put_order(pause(world))
    sweeper = sweeper_of(world, world.broker)
    await sweeper._say_changes()
    assert await world.lease(ONE, 9) == []
    await world.end(running)
    emptied = MemoryBroker()
    assert await sweeper_of(world, emptied).sweep(settle_s=-1.0) == 1, "kept, and in the queue"
    assert await emptied.lease(M, TWO, 9, world.clock.now_s()) == []
    await world.ledger.orders.drop_order(OrderKind.PAUSE, M)
    await sweeper._say_changes()
    assert len(await world.lease(ONE, 9)) == 1


async def test_a_pause_is_told_to_the_broker_without_waiting_for_the_sweep(world: World) -> None:
    sweeper = sweeper_of(world, world.broker)
    await world.submit(1)
    await sweeper.start()
    try:
        await world.ledger.orders.put_order(pause(world))
        while (await world.broker.wake(M, ONE, for_work=True, wait_s=0)).work:
            await world.ledger.orders.all_orders()  # the sweeper's own look is before this one in the ledger's thread
            if world.clock.now_s() < 1_800_000_000.0 + SWEEP_EVERY_S / 2:
                await world.clock.advance(PAUSE_EVERY_S)
    finally:
        await sweeper.stop()

"""The scaler over a real broker and ledger: when it decides, what it does, and what it leaves for those who ask."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_signals import ONE, TWO, M, N, World

from springtide.controller.scaler import REMEMBER_EVERY_S, SAMPLE_EVERY_S, Scaler
from springtide.controller.signals import Pool, Signals
from springtide.domain.errors import Unavailable
from springtide.domain.fleet import QueueView
from springtide.domain.ids import ModelName
from springtide.domain.lease import Completion, WorkerState
from springtide.ledger.history import Memory
from springtide.ledger.sql import SqlLedger
from springtide.policy.elastic.backlog import BacklogSettings
from springtide.policy.elastic.named import bound
from springtide.policy.elastic.view import Advice, Policy, PoolView, Reason


class Counted(msgspec.Struct):
    """What `Slow` remembers."""

    asked: int = 0


class Slow:
    """A policy that wants to be asked once a minute."""

    name = "slow"
    interval_s = 60.0
    memory_type = Counted

    def decide(self, view: PoolView, memory: Counted | None) -> tuple[Advice, Counted]:
        asked = (memory.asked if memory else 0) + 1
        replicas = 1 if view.waiting else 0
        advice = Advice(replicas=replicas, wish=replicas, reason=Reason.QUEUE, figures={"asked": float(asked)})
        return advice, Counted(asked)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield World(ledger)
    await ledger.stop()


def scaler_of(world: World, policy: Policy | None = None, **settings: Any) -> Scaler:
    policy = policy or bound(BacklogSettings(**({"max_replicas": 3} | settings)))
    return Scaler(world.signals(), world.fleet, world.ledger.history, {M: policy}, world.clock)


async def rounds(world: World, scaler: Scaler, count: int, *, apart_s: float = 1.0) -> None:
    for _ in range(count):
        await world.clock.advance(apart_s)
        await scaler.scale_once()


async def test_workers_start_for_work_and_none_without(world: World) -> None:
    scaler = scaler_of(world)
    await scaler.scale_once()
    assert world.fleet.replicas == []
    await world.submit(4)
    await scaler.scale_once()
    assert len(world.fleet.replicas) == 2
    assert scaler.decisions[M].reason == "QUEUE"


async def test_an_interval_is_kept_but_a_wake_up_from_zero_waits_for_none(world: World) -> None:
    scaler = scaler_of(world, Slow())
    await scaler.scale_once()
    await rounds(world, scaler, 30)
    assert scaler.decisions[M].figures == {"asked": 1.0}
    await world.submit()
    await rounds(world, scaler, 1)
    assert len(world.fleet.replicas) == 1, "a job that finds nobody does not wait for the minute to end"
    await rounds(world, scaler, 59)
    assert scaler.decisions[M].figures == {"asked": 2.0}
    await rounds(world, scaler, 1)
    assert scaler.decisions[M].figures == {"asked": 3.0}


async def test_it_holds_while_the_broker_is_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> list[QueueView]:
        raise Unavailable("down")

    monkeypatch.setattr(world.broker, "queues", away)
    world.starts(ONE)
    scaler = scaler_of(world)
    await scaler.scale_once()
    assert len(world.fleet.replicas) == 1
    assert scaler.decisions[M].reason == "NO_DATA"


async def test_a_ledger_that_is_away_costs_history_and_not_replicas(world: World) -> None:
    scaler = scaler_of(world)
    await world.submit(4)
    await world.ledger.stop()
    await rounds(world, scaler, 3)
    assert len(world.fleet.replicas) == 2
    await world.ledger.start()
    await rounds(world, scaler, 1)
    [told] = await world.ledger.history.scaled(M, before_s=world.clock.now_s() + 1, limit=9)
    assert (told.before, told.decision.replicas) == (0, 2), "what was decided meanwhile is written when it can be"


async def test_what_changes_is_written_once_with_its_figures(world: World) -> None:
    scaler = scaler_of(world)
    await world.submit(20)
    await rounds(world, scaler, 5)
    told = await world.ledger.history.scaled(M, before_s=world.clock.now_s() + 1, limit=9)
    assert [(one.before, one.decision.replicas, one.decision.reason, one.decision.wish) for one in told] == [
        (0, 3, "CEILING", 10)
    ]
    assert told[0].decision.figures["waiting"] == 20.0


async def test_samples_tell_how_queue_and_fleet_went(world: World) -> None:
    scaler = scaler_of(world)
    await scaler.scale_once()
    await rounds(world, scaler, 3)
    await world.submit(3)
    await rounds(world, scaler, 20)
    samples = await world.ledger.history.samples(M, since_s=0.0, limit=99)
    times = [one.at_s for one in samples]
    assert [late - early for early, late in pairwise(times)] == [SAMPLE_EVERY_S] * 2
    assert [one.arrived for one in samples] == [None, 3, 0]
    assert (samples[-1].queued, samples[-1].loading, samples[-1].wanted) == (3, 2, 2)


async def test_what_a_policy_learnt_is_there_for_the_next_controller(world: World) -> None:
    scaler = scaler_of(world, Slow())
    await rounds(world, scaler, 2, apart_s=REMEMBER_EVERY_S)
    await scaler.stop()
    after = scaler_of(world, Slow())
    await after.scale_once()
    assert after.decisions[M].figures == {"asked": 3.0}


async def test_a_memory_that_cannot_be_read_is_forgotten_and_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = world.clock.now_s()
    await world.ledger.history.put_memories([Memory(name="slow:m", at_s=now_s, body='{"asked": "often"}')])
    scaler = scaler_of(world, Slow())
    with caplog.at_level(logging.WARNING):
        await scaler.scale_once()
    assert scaler.decisions[M].figures == {"asked": 1.0}
    assert "slow of m" in caplog.text


async def test_a_pool_is_scaled_on_the_sum_of_its_models_work_and_drains_who_holds_nothing_of_any(
    world: World,
) -> None:
    pool = ModelName("pool")
    pools = {pool: Pool(models=(M, N))}
    signals = Signals(world.broker, world.fleet, world.ledger.history, world.clock, pools=pools)
    policy = bound(BacklogSettings(max_replicas=5, jobs_per_replica=2, idle_s=0.0))
    scaler = Scaler(signals, world.fleet, world.ledger.history, {pool: policy}, world.clock)
    await world.submit(2)
    await world.submit(2, model=N)
    await scaler.scale_once()
    assert len(world.fleet.replicas) == 2
    world.fleet.replicas = []
    for worker in (ONE, TWO):
        world.starts(worker, model=pool)
        for model in (M, N):
            await world.beat(worker, WorkerState.READY, model=model)
            for lease in await world.lease(worker, 1, model=model):
                if worker is ONE:
                    done = Completion(id=lease.id, attempt=1, outputs={})
                    await world.broker.complete(model, worker, [done], world.clock.now_s())
    await rounds(world, scaler, 1)
    assert world.fleet.drained_first == [ONE]
    assert [replica.worker for replica in world.fleet.replicas] == [TWO]

"""Two models, room for one worker: who gets it, what the other is told, and that nobody waits for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_signals import Hands, M, N, World

from springtide.controller.scaler import REMEMBER_EVERY_S, Scaler
from springtide.controller.sharing import Sharing, Terms
from springtide.controller.signals import Pool, Signals
from springtide.domain.errors import Unavailable
from springtide.domain.fleet import Decision, QueueView, Usage
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.lease import WorkerState
from springtide.fleet.devices import VARIABLE, Devices
from springtide.ledger.sql import SqlLedger
from springtide.policy.elastic.backlog import BacklogSettings
from springtide.policy.elastic.named import bound

ONE_GPU = {"accelerators": 1.0}


class Fleet(Hands):
    """Keeps two models apart, as fleets do."""

    async def apply(self, decision: Decision, *, drain_first: object) -> None:
        others = [one for one in self.replicas if one.model != decision.model]
        mine = [one for one in self.replicas if one.model == decision.model][: decision.replicas]
        self.replicas = [*others, *mine]
        for _ in range(decision.replicas - len(mine)):
            self.starts(WorkerId(f"{decision.model}-{self._clock.now_s():.0f}"), decision.model)


class Shared(World):
    """One place for the workers of M and N."""

    def __init__(self, ledger: SqlLedger) -> None:
        super().__init__(ledger)
        self.fleet: Fleet = Fleet(self.clock)
        self.scaler = self.new_scaler()

    def new_scaler(self, takes: dict[str, float] | None = None, budget: dict[str, float] | None = None) -> Scaler:
        terms = {name: Terms(takes=takes or ONE_GPU, cold_start_s=10.0) for name in (M, N)}
        pools = {name: Pool(models=(name,)) for name in (M, N)}
        policies = {name: bound(BacklogSettings(max_replicas=2, jobs_per_replica=2, idle_s=300.0)) for name in (M, N)}
        signals = Signals(self.broker, self.fleet, self.ledger.history, self.clock, pools=pools)
        sharing = Sharing(budget or ONE_GPU, terms)
        return Scaler(signals, self.fleet, self.ledger.history, policies, self.clock, sharing=sharing)

    async def rounds(self, seconds: int) -> None:
        for _ in range(seconds):
            for replica in self.fleet.replicas:
                usage = Usage(at_s=self.clock.now_s(), memory_mb=600.0)
                await self.broker.beat(
                    replica.model, replica.worker, [], WorkerState.READY, self.clock.now_s(), usage=usage
                )
            await self.clock.advance(1.0)
            await self.scaler.scale_once()

    def models(self) -> list[ModelName]:
        return [one.model for one in self.fleet.replicas]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Shared]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield Shared(ledger)
    await ledger.stop()


async def test_an_idle_model_is_unloaded_for_one_whose_jobs_wait_and_both_are_told_why(world: Shared) -> None:
    await world.submit(1)
    await world.rounds(1)
    assert world.models() == [M]
    [lease] = await world.lease(world.fleet.replicas[0].worker)
    await world.end(lease)
    await world.submit(2, model=N)
    await world.rounds(5)
    assert world.models() == [M], "what was just loaded stays for twice the time that it took"
    told = world.scaler.decisions[N]
    assert (told.replicas, told.reason, told.wish) == (0, "BUDGET", 1)
    assert "all of the room (1 accelerators) is taken" in told.message
    await world.rounds(20)
    assert world.models() == [N]
    [kept] = await world.ledger.history.scaled(M, before_s=world.clock.now_s() + 1, limit=1)
    assert (kept.before, kept.decision.replicas, kept.decision.reason) == (1, 0, "BUDGET")
    assert kept.decision.message.startswith("makes room for n")
    assert kept.decision.figures["rival_need"] > kept.decision.figures["need"]


async def test_a_model_that_cannot_be_asked_about_keeps_what_it_has(
    world: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.submit(1)
    await world.rounds(30)

    async def away(*_: object) -> list[QueueView]:
        raise Unavailable("down")

    await world.submit(9, model=N)
    monkeypatch.setattr(world.broker, "queues", away)
    for _ in range(60):
        await world.clock.advance(1.0)
        await world.scaler.scale_once()
    assert world.models() == [M]
    assert world.scaler.decisions[M].reason == "NO_DATA"


async def test_who_starves_under_an_endless_queue_of_another_gets_its_turn(world: Shared) -> None:
    await world.submit(500, predicted_s=60.0)
    await world.rounds(30)
    assert world.models() == [M]
    await world.submit(1, model=N)
    await world.rounds(100)
    assert world.models() == [M]
    await world.rounds(30)
    assert world.models() == [N], "three times objective and start are 120 s"


async def test_what_was_given_is_remembered_by_the_next_controller(world: Shared) -> None:
    await world.rounds(1)
    await world.submit(1)
    await world.rounds(int(REMEMBER_EVERY_S) + 1)
    await world.submit(500, predicted_s=60.0)
    await world.submit(1, model=N)
    await world.rounds(60)
    await world.scaler.stop()
    world.scaler = world.new_scaler()
    await world.rounds(70)
    assert world.models() == [N], "it had waited for a minute under the controller before"


async def test_memory_that_nobody_declared_is_what_workers_were_seen_to_use(world: Shared) -> None:
    world.scaler = world.new_scaler({"accelerators": 0.0}, {"memory_mb": 1000.0})
    await world.submit(1)
    await world.rounds(3)
    await world.submit(9)
    await world.rounds(30)
    assert world.models() == [M], "two would take 1200 MiB"
    assert world.scaler.decisions[M].reason == "BUDGET"


def test_every_worker_is_shown_gpus_of_its_own_and_parts_are_put_together() -> None:
    devices = Devices(3)
    halves = [devices.lend(WorkerId(f"half-{n}"), 0.5)[VARIABLE] for n in range(2)]
    assert halves == ["0", "0"]
    assert devices.lend(WorkerId("pair"), 2)[VARIABLE] == "1,2"
    assert devices.lend(WorkerId("none"), 0)[VARIABLE] == ""
    devices.give_back(WorkerId("pair"))
    assert devices.lend(WorkerId("one"), 1)[VARIABLE] == "1"


def test_gpus_that_this_process_may_not_use_are_lent_to_nobody() -> None:
    devices = Devices(2, "GPU-a, GPU-b, GPU-c")
    assert devices.lend(WorkerId("one"), 1)[VARIABLE] == "GPU-a"
    assert devices.lend(WorkerId("two"), 1)[VARIABLE] == "GPU-b"

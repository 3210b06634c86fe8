"""What the policies see, measured on a real broker and ledger with time in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path

import msgspec
import pytest

from springtide.broker.memory import MemoryBroker
from springtide.controller.costs import Costs
from springtide.controller.signals import Looked, Pool, Signals
from springtide.domain.errors import Unavailable
from springtide.domain.fleet import Decision, QueueView, Replica, ReplicaPhase, Usage
from springtide.domain.ids import DEFAULT_TENANT, JobId, ModelName, WorkerId, first_job_id_at
from springtide.domain.job import Foretold, Job, JobStatus, Priority
from springtide.domain.lease import Completion, Held, Lease, Progress, WorkerState
from springtide.domain.tickets import ticket_of
from springtide.ledger.history import cost_memory, eta_memory, features_memory
from springtide.ledger.sql import SqlLedger
from springtide.policy.cost import CostMemory, predict
from springtide.policy.eta import Calibration
from springtide.testing.clock import ManualClock

M, N = ModelName("m"), ModelName("n")
ONE, TWO = WorkerId("w-1"), WorkerId("w-2")


class Hands:
    """A fleet that does at once what it is told, or has what the test says."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._numbers = count()
        self.replicas: list[Replica] = []
        self.drained_first: list[WorkerId] = []

    async def start(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...

    async def observe(self) -> list[Replica]:
        return self.replicas

    async def drain(self, workers: Sequence[WorkerId]) -> None:
        for place, one in enumerate(self.replicas):
            if one.worker in workers:
                self.replicas[place] = msgspec.structs.replace(one, phase=ReplicaPhase.DRAINING)

    async def apply(self, decision: Decision, *, drain_first: Sequence[WorkerId]) -> None:
        self.drained_first = list(drain_first)
        leaving = [one for one in self.replicas if one.phase is ReplicaPhase.DRAINING]
        staying = sorted(
            (one for one in self.replicas if one not in leaving), key=lambda one: one.worker in drain_first
        )
        self.replicas = staying[: decision.replicas] + leaving
        for _ in range(decision.replicas - len(staying)):
            self.starts(WorkerId(f"made-{next(self._numbers)}"), decision.model)

    def starts(self, worker: WorkerId, model: ModelName, phase: ReplicaPhase = ReplicaPhase.RUNNING) -> None:
        now_s = self._clock.now_s()
        self.replicas.append(Replica(worker=worker, model=model, phase=phase, restarts=0, started_at_s=now_s))


class World:
    """One of everything."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.clock = ManualClock(1_800_000_000.0)
        self.broker = MemoryBroker()
        self.ledger = ledger
        self.fleet = Hands(self.clock)
        self._numbers = count()
        self.foretold: Foretold | None = None  # of the jobs submitted

    def signals(self, **pools: Pool) -> Signals:
        named = {ModelName(name): pool for name, pool in pools.items()} or {M: Pool(models=(M,))}
        return Signals(self.broker, self.fleet, self.ledger.history, self.clock, pools=named)

    def starts(self, worker: WorkerId, *, model: ModelName = M) -> None:
        self.fleet.starts(worker, model)

    async def submit(self, jobs: int = 1, *, model: ModelName = M, predicted_s: float = 2.0) -> None:
        now_s = self.clock.now_s()
        made = [
            Job(
                id=JobId(first_job_id_at(now_s) + f"{next(self._numbers):020x}"),
                tenant=DEFAULT_TENANT,
                model=model,
                model_version="1",
                status=JobStatus.QUEUED,
                inputs={},
                input_files=(),
                priority=Priority.STANDARD,
                max_attempts=3,
                timeout_s=99,
                predicted_s=predicted_s,
                created_at_s=now_s,
                foretold=self.foretold,
            )
            for _ in range(jobs)
        ]
        await self.ledger.insert(made)
        await self.broker.enqueue([ticket_of(job) for job in made], now_s)

    async def beat(
        self, worker: WorkerId, state: WorkerState, leases: Sequence[Lease] = (), *, model: ModelName = M
    ) -> None:
        held = [Held(lease.id, lease.attempt) for lease in leases]
        await self.broker.beat(model, worker, held, state, self.clock.now_s())

    async def lease(self, worker: WorkerId, jobs: int = 1, *, model: ModelName = M) -> list[Lease]:
        return await self.broker.lease(model, worker, jobs, self.clock.now_s())

    async def end(self, lease: Lease) -> None:
        done = Completion(id=lease.id, attempt=lease.attempt, outputs={})
        await self.broker.complete(lease.model, lease.worker, [done], self.clock.now_s())
        outcomes = await self.broker.read_outcomes(99)
        await self.ledger.record(outcomes)
        await self.broker.ack_outcomes(outcomes, self.clock.now_s())

    async def after(self, seconds: float, signals: Signals) -> Looked:
        """Look once a second for that long."""
        for _ in range(int(seconds)):
            await self.clock.advance(1.0)
            found = await signals.look()
        return found[M]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    yield World(ledger)
    await ledger.stop()


async def test_an_empty_installation_is_seen_as_empty_and_not_as_unknown(world: World) -> None:
    view = (await world.signals().look())[M].view
    assert (view.waiting, view.replicas, view.age_s) == (0, 0, 0.0)
    assert view.cold_start_s is None and view.latency_s_p95 is None, "what nobody has measured is not a figure"


async def test_what_waits_is_counted_with_its_work_and_its_age(world: World) -> None:
    await world.submit(3, predicted_s=2.5)
    await world.clock.advance(4.0)
    view = (await world.signals().look())[M].view
    assert (view.waiting, view.waiting_s) == (3, 7.5)
    assert view.oldest_wait_s == pytest.approx(4.0)


async def test_what_workers_use_is_a_mean_over_those_that_said_so_lately(world: World) -> None:
    signals = world.signals()
    view = (await signals.look())[M].view
    assert (view.cpu_utilization, view.gpu_memory, view.measured) == (None, None, 0)
    for worker, usage in (
        (ONE, Usage(at_s=world.clock.now_s(), cpu=0.2, memory=0.5, gpu=0.9, gpu_memory=0.7)),
        (TWO, Usage(at_s=world.clock.now_s() - 12.0, cpu=0.6)),
    ):
        world.starts(worker)
        await world.broker.beat(M, worker, [], WorkerState.READY, world.clock.now_s(), usage=usage)
    view = (await signals.look())[M].view
    assert (view.cpu_utilization, view.memory_utilization, view.measured) == (pytest.approx(0.4), 0.5, 2)
    assert (view.gpu_utilization, view.gpu_memory) == (0.9, 0.7), "a worker without a GPU says nothing of one"
    await world.clock.advance(6.0)
    view = (await signals.look())[M].view
    assert (view.cpu_utilization, view.measured) == (0.2, 1), "four beats ago is another time"


async def test_engines_of_one_host_are_added_up_but_for_the_gpu_that_they_share(world: World) -> None:
    world.starts(ONE, model=ModelName("pool"))
    now_s = world.clock.now_s()
    for model, usage in (
        (M, Usage(at_s=now_s, cpu=0.2, memory_mb=100.0, memory=0.25, gpu=0.5)),
        (N, Usage(at_s=now_s, cpu=0.1, memory_mb=50.0, memory=0.125, gpu=0.5)),
    ):
        await world.broker.beat(model, ONE, [], WorkerState.READY, now_s, usage=usage)
    found = (await world.signals(pool=Pool(models=(M, N))).look())[ModelName("pool")]
    view = found.view
    assert (view.cpu_utilization, view.memory_utilization) == (pytest.approx(0.3), 0.375)
    assert (view.gpu_utilization, view.gpu_memory, view.measured) == (0.5, None, 1)
    assert found.queue is not None and found.queue.workers[0].usage is not None
    assert found.queue.workers[0].usage.memory_mb == 150.0


async def test_work_of_jobs_that_share_runs_is_counted_in_runs(world: World) -> None:
    signals = world.signals(m=Pool(models=(M,), shared_by=4))
    await signals.look()
    await world.clock.advance(1.0)
    await world.submit(8, predicted_s=2.0)
    view = (await world.after(5, signals)).view
    assert (view.waiting, view.waiting_s) == (8, 4.0)
    assert (view.arrived, view.arrived_s, view.arrived_s2) == (8, 4.0, 2.0)


async def test_a_replica_is_loading_then_idle_then_busy_then_draining(world: World) -> None:
    signals = world.signals()
    world.starts(ONE)
    loading = await world.after(3, signals)
    assert len(loading.view.loading_left_s) == 1
    await world.beat(ONE, WorkerState.STARTING)
    assert len((await world.after(2, signals)).view.loading_left_s) == 1
    await world.beat(ONE, WorkerState.READY)
    idle = await world.after(4, signals)
    assert idle.view.idle_for_s == (pytest.approx(3.0),)
    assert idle.idle == (ONE,)
    await world.submit()
    await world.lease(ONE)
    busy = await world.after(1, signals)
    assert (len(busy.view.busy_left_s), busy.idle) == (1, ())
    world.fleet.replicas = [
        Replica(worker=ONE, model=M, phase=ReplicaPhase.DRAINING, restarts=0, started_at_s=0.0),
        Replica(worker=TWO, model=M, phase=ReplicaPhase.BACKING_OFF, restarts=3, started_at_s=0.0),
    ]
    last = await world.after(1, signals)
    assert (last.view.draining, last.view.failing, last.view.ready) == (1, 1, 0)


async def test_an_engine_that_does_not_load_is_failing_and_not_loading(world: World) -> None:
    world.starts(ONE)
    await world.beat(ONE, WorkerState.FAILING)
    view = (await world.signals().look())[M].view
    assert (view.failing, view.loading_left_s, view.replicas) == (1, (), 1)


async def test_a_cold_start_is_measured_once_and_known_to_the_next_controller(world: World) -> None:
    signals = world.signals()
    await signals.look()
    for number, seconds in enumerate((8.0, 12.0, 40.0)):
        worker = WorkerId(f"w-{number}")
        world.starts(worker)
        await world.after(seconds, signals)
        await world.beat(worker, WorkerState.READY)
        view = (await world.after(2, signals)).view
    assert view.cold_start_s == pytest.approx(12.0)
    assert view.cold_start_s_p90 == pytest.approx(40.0)
    again = (await world.signals().look())[M].view
    assert again.cold_start_s == pytest.approx(12.0)
    world.fleet.replicas = []
    world.starts(WorkerId("w-9"))
    left = (await world.after(5, world.signals())).view.loading_left_s
    assert left == (pytest.approx(7.0),)


async def test_the_rest_of_a_run_comes_from_its_progress_and_else_from_the_last_runs(world: World) -> None:
    signals = world.signals()
    world.starts(ONE)
    await world.submit(3)
    first, second, third = await world.lease(ONE, 3)
    await world.beat(ONE, WorkerState.BUSY, [first, second, third])
    await world.after(10, signals)
    for lease in (first, second):
        await world.end(lease)
    await world.after(12, signals)
    await world.beat(ONE, WorkerState.BUSY, [third])
    view = (await world.after(1, signals)).view
    assert view.busy_left_s == (pytest.approx(10.0 - 23.0),), "it takes longer than the ten seconds of the others"
    told = Progress(id=third.id, attempt=1, fraction=0.5)
    await world.broker.publish(M, ONE, [told], world.clock.now_s())
    view = (await world.after(1, signals)).view
    assert view.busy_left_s == (pytest.approx(24.0),), "half of it took 24 s"


async def test_arrivals_and_those_who_waited_too_long_are_counted_from_the_record(world: World) -> None:
    signals = world.signals(m=Pool(models=(M,), wait_s=10.0))
    await signals.look()
    world.starts(ONE)
    await world.beat(ONE, WorkerState.READY)
    await world.after(2, signals)
    await world.submit(3, predicted_s=2.0)
    (in_time,) = await world.lease(ONE, 1)
    await world.after(5, signals)
    await world.end(in_time)
    before = (await world.after(1, signals)).view
    assert (before.arrived, before.arrived_s, before.arrived_s2) == (3, 6.0, 12.0)
    assert (before.started, before.late) == (0, 0), "who waits still may yet begin in time"
    after = (await world.after(40, signals)).view
    assert (after.started, after.late) == (3, 2)
    assert after.latency_s_p95 == pytest.approx(5.0)
    assert after.arrived == 3


async def test_the_integrals_tell_how_busy_the_fleet_was(world: World) -> None:
    signals = world.signals()
    world.starts(ONE)
    await world.beat(ONE, WorkerState.READY)
    await world.submit(2)
    await signals.look()
    start = (await world.after(1, signals)).view
    [lease] = await world.lease(ONE)
    await world.after(1, signals)
    end = (await world.after(4, signals)).view
    assert end.busy_s - start.busy_s == pytest.approx(4.0)
    assert end.ready_s - start.ready_s == pytest.approx(5.0)
    assert end.inside_s - start.inside_s == pytest.approx(10.0)
    assert lease.attempt == 1


async def test_a_broker_that_is_silent_makes_figures_old_and_not_zero(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = world.signals()
    await world.submit(5)
    await signals.look()

    async def away(*_: object) -> list[QueueView]:
        raise Unavailable("the broker is away")

    monkeypatch.setattr(world.broker, "queues", away)
    view = (await world.after(7, signals)).view
    assert (view.waiting, view.age_s) == (5, pytest.approx(7.0))
    unknown = (await world.signals().look())[M].view
    assert unknown.waiting is None


async def test_a_ledger_that_is_silent_leaves_the_queue_visible(world: World) -> None:
    signals = world.signals()
    await signals.look()
    await world.submit(2)
    await world.ledger.stop()
    view = (await world.after(20, signals)).view
    assert (view.waiting, view.arrived) == (2, 0)
    await world.ledger.start()
    assert (await world.after(5, signals)).view.arrived == 2, "what came meanwhile is counted when it can be"


async def test_a_pool_of_models_is_one_thing_and_idle_is_who_holds_nothing_of_any(world: World) -> None:
    signals = world.signals(pool=Pool(models=(M, N)))
    pool = ModelName("pool")
    for worker in (ONE, TWO):
        world.starts(worker, model=pool)
        await world.beat(worker, WorkerState.READY)
        await world.beat(worker, WorkerState.UNLOADED, model=N)
    await world.submit(1)
    await world.submit(2, model=N, predicted_s=5.0)
    leased = await world.lease(TWO, model=N)
    await world.beat(TWO, WorkerState.BUSY, leased, model=N)
    found = (await signals.look())[pool]
    assert (found.view.waiting, found.view.waiting_s) == (2, 7.0)
    assert (len(found.view.idle_for_s), len(found.view.busy_left_s)) == (1, 1)
    assert found.idle == (ONE,)


async def run(world: World, seconds: float) -> None:
    """One job that takes so long, from its submit to its end."""
    await world.submit(predicted_s=2.0)
    [lease] = await world.lease(ONE)
    await world.clock.advance(seconds)
    await world.end(lease)


async def test_work_is_counted_as_long_as_jobs_really_take(world: World) -> None:
    costs = Costs(world.ledger.history, [M], world.clock)
    for _ in range(8):
        await run(world, 20.0)
        await costs.learn_once()
    signals = world.signals()
    await world.after(12, signals)
    await world.submit(4, predicted_s=2.0)
    view = (await world.after(5, signals)).view
    assert view.waiting_s == pytest.approx(80.0, rel=0.1), "the engine says 2 s, and it takes 20"
    assert view.arrived_s == pytest.approx(80.0, rel=0.1)


async def test_a_job_teaches_once_and_what_was_learnt_outlives_the_controller(world: World) -> None:
    for _ in range(6):
        await run(world, 20.0)
    costs = Costs(world.ledger.history, [M], world.clock)
    for _ in range(3):
        await costs.learn_once()
    [memory] = await world.ledger.history.memories([cost_memory(M)])
    assert memory is not None
    assert msgspec.json.decode(memory.body, type=CostMemory).jobs == 6
    after = Costs(world.ledger.history, [M], world.clock)
    await after.learn_once()
    await run(world, 20.0)
    await after.learn_once()
    [memory] = await world.ledger.history.memories([cost_memory(M)])
    assert memory is not None
    assert msgspec.json.decode(memory.body, type=CostMemory).jobs == 7


async def test_how_promises_came_out_is_learnt_from_the_jobs_that_were_given_one(world: World) -> None:
    costs = Costs(world.ledger.history, [M], world.clock)
    world.foretold = Foretold(estimate_s=2.0, features={"pixels": 1e6}, done_s=2.0, spread=0.3)
    for _ in range(12):
        await run(world, 8.0)
        await costs.learn_once()
    features, eta = await world.ledger.history.memories([features_memory(M), eta_memory(M)])
    assert features is not None and eta is not None
    learnt = msgspec.json.decode(features.body, type=CostMemory)
    assert predict(learnt, {"pixels": 1e6}, 2.0).median_s == pytest.approx(8.0, rel=0.1)
    calibration = msgspec.json.decode(eta.body, type=Calibration)
    assert calibration.seen_served == 12
    assert calibration.served[2] > 0.5, "jobs took longer than was promised"
    after = Costs(world.ledger.history, [M], world.clock)
    await after.learn_once()
    await run(world, 8.0)
    await after.learn_once()
    [eta] = await world.ledger.history.memories([eta_memory(M)])
    assert eta is not None and msgspec.json.decode(eta.body, type=Calibration).seen_served == 13

"""The guard of rollouts on a real ledger and a broker in memory: what it aborts, and what becomes of who waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from springtide.broker.memory import MemoryBroker
from springtide.controller.floors import Floors
from springtide.controller.recorder import Recorder
from springtide.controller.rollouts import RolloutGuard
from springtide.controller.sweeper import Sweeper
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.lease import Completion, Failure
from springtide.domain.rollout import Margins, Retired, Rollout, RolloutState, Sticky
from springtide.domain.tickets import ticket_of
from springtide.ledger.sql import SqlLedger
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_job_id
from springtide.testing.ledger_cases import job

MODEL, NEXT = ModelName("matting"), ModelName("matting@2")
UNITS = [MODEL, NEXT]
WORKER = WorkerId("w")


@dataclass
class World:
    ledger: SqlLedger
    broker: MemoryBroker
    clock: SystemClock
    guard: RolloutGuard
    recorder: Recorder

    async def enter(self, unit: ModelName | None, *, ago_s: float = 0.0, **changed: Any) -> Job:
        version = "1" if unit is None else "2"
        made = job(1, id=new_job_id(), unit=unit, model_version=version, input_files=(), **changed)
        made = msgspec.structs.replace(made, created_at_s=self.clock.now_s() - ago_s)
        await self.ledger.insert([made])
        await self.broker.enqueue([ticket_of(made)], made.created_at_s)
        return made

    async def run(self, unit: ModelName | None, *, fails: bool = False, retry_after_s: float | None = None) -> Job:
        """A job, up to the end of its first attempt on record."""
        made = await self.enter(unit)
        [lease] = await self.broker.lease(unit or MODEL, WORKER, 1, self.clock.now_s())
        if fails:
            error = JobError(code="crashed", message="signal 11", retryable=True)
            failed = Failure(id=lease.id, attempt=1, error=error, retry_after_s=retry_after_s)
            await self.broker.fail(lease.model, WORKER, [failed], self.clock.now_s())
        else:
            done = Completion(id=lease.id, attempt=1, outputs={})
            await self.broker.complete(lease.model, WORKER, [done], self.clock.now_s())
        await self.recorder.record_once(wait_s=0.0)
        return made

    async def start(self, **changed: Any) -> Rollout:
        fields: dict[str, Any] = {
            "model": MODEL,
            "number": 1,
            "revision": 1,
            "stable": "1",
            "canary": "2",
            "weight": 10.0,
            "sticky": Sticky.JOB,
            "margins": Margins(min_samples=5),
            "state": RolloutState.RUNNING,
            "started_at_s": self.clock.now_s() - 1,
            "changed_at_s": self.clock.now_s(),
        }
        made = Rollout(**(fields | changed))
        assert await self.ledger.rollouts.put_rollout(made)
        return made

    async def queued(self) -> list[int]:
        return [view.queued for view in await self.broker.queues(UNITS, self.clock.now_s())]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger, broker, clock = SqlLedger(f"sqlite:///{tmp_path}/ledger.db"), MemoryBroker(), SystemClock()
    await ledger.start()
    guard = RolloutGuard(ledger.rollouts, broker, ledger.history, clock, units=UNITS)
    blobs: Any = None  # no job here has any
    yield World(ledger, broker, clock, guard, Recorder(broker, ledger, UNITS, clock, blobs=blobs))
    await ledger.stop()


async def test_a_canary_that_fails_is_aborted_with_its_figures_and_nothing_is_lost(world: World) -> None:
    await world.start()
    for _ in range(8):
        await world.run(None)
        await world.run(NEXT, fails=True)
    waits, named = await world.enter(NEXT), await world.enter(NEXT, is_pinned=True)
    await world.guard.look_once()
    [ended] = await world.ledger.rollouts.rollouts()
    assert (ended.state, ended.is_automatic, ended.revision) == (RolloutState.ABORTED, True, 2)
    assert ended.reason is not None
    assert "8 of 8 jobs failed" in ended.reason
    assert ended.compared is not None
    assert (ended.compared.stable.jobs, ended.compared.canary.failed) == (8, 8)
    assert await world.queued() == [1, 1]
    [moved, stays] = await world.ledger.get([waits.id, named.id])
    assert moved is not None
    assert stays is not None
    assert (moved.queue, moved.model_version, stays.queue) == (MODEL, "1", NEXT)
    for unit in UNITS:
        [told] = await world.ledger.history.scaled(unit, before_s=world.clock.now_s() + 9, limit=9)
        assert ended.reason in told.decision.message


async def test_a_canary_that_does_well_goes_on_and_its_figures_are_on_record(world: World) -> None:
    await world.start()
    for _ in range(6):
        await world.run(None)
        await world.run(NEXT)
    await world.guard.look_once()
    [one] = await world.ledger.rollouts.rollouts()
    assert (one.state, one.looks, one.looked_at_jobs) == (RolloutState.RUNNING, 1, 6)


async def test_what_runs_is_finished_and_what_failed_there_goes_on_where_it_stood(world: World) -> None:
    one = await world.start()
    again = await world.run(NEXT, fails=True, retry_after_s=60.0)
    runs = await world.enter(NEXT)
    [lease] = await world.broker.lease(NEXT, WORKER, 1, world.clock.now_s())
    assert lease.id == runs.id
    await world.ledger.rollouts.put_rollout(msgspec.structs.replace(one, revision=2, state=RolloutState.ABORTED))
    await world.guard.look_once()
    assert await world.queued() == [1, 0]
    done = Completion(id=runs.id, attempt=1, outputs={})
    assert await world.broker.complete(NEXT, WORKER, [done], world.clock.now_s()) == [True]
    [second] = await world.broker.lease(MODEL, WORKER, 9, world.clock.now_s())
    assert (second.id, second.attempt) == (again.id, 2)


class _Cut:
    """A record that goes away in the middle of a move."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    async def reroute(self, jobs: Sequence[JobId], retired: Retired) -> list[Job]:
        raise Unavailable("the database is gone")


async def test_a_move_that_is_cut_off_loses_nothing(world: World) -> None:
    await world.start(state=RolloutState.ABORTED)
    waits = [await world.enter(NEXT, ago_s=10.0), await world.enter(NEXT, ago_s=10.0)]
    cut: Any = _Cut(world.ledger.rollouts)
    guard = RolloutGuard(cut, world.broker, world.ledger.history, world.clock, units=UNITS)
    with pytest.raises(Unavailable):
        await guard.look_once()
    assert await world.queued() == [0, 0]
    sweeper = Sweeper(world.broker, world.ledger, UNITS, world.clock, rollouts=world.ledger.rollouts)
    assert await sweeper.sweep(settle_s=-1.0) == 0, "a worker of that version may still be there"
    await world.guard.look_once()
    assert await world.queued() == [2, 0]
    moved = await world.ledger.get([each.id for each in waits])
    assert [(each.status, each.queue) for each in moved if each is not None] == [(JobStatus.QUEUED, MODEL)] * 2


async def test_only_what_no_queue_has_for_a_while_is_taken_for_lost(world: World) -> None:
    await world.start(state=RolloutState.ABORTED)
    runs = await world.enter(NEXT, ago_s=10.0)
    [_] = await world.broker.lease(NEXT, WORKER, 1, world.clock.now_s())
    young, named = await world.enter(NEXT), await world.enter(NEXT, ago_s=10.0, is_pinned=True)
    await world.broker.withdraw([young.ref, named.ref], world.clock.now_s())
    await world.guard.look_once()
    assert await world.queued() == [0, 0]
    sweeper = Sweeper(world.broker, world.ledger, UNITS, world.clock, rollouts=world.ledger.rollouts)
    assert await sweeper.sweep(settle_s=-1.0) == 1, "whose caller named the version stays with it"
    assert await world.queued() == [0, 1]
    found = await world.ledger.get([runs.id, young.id, named.id])
    assert [each.queue for each in found if each is not None] == [NEXT] * 3


async def test_an_aborted_version_that_is_tried_anew_keeps_its_jobs(world: World) -> None:
    await world.start(state=RolloutState.ABORTED)
    await world.start(number=2)
    await world.enter(NEXT)
    await world.guard.look_once()
    assert await world.queued() == [0, 1]


async def test_floors_follow_the_weights(world: World) -> None:
    floors = Floors(world.ledger.rollouts, {MODEL: 4, NEXT: 4}, world.clock)
    assert [floors.of(unit) for unit in UNITS] == [4, 0]
    await floors.refresh()
    assert [floors.of(unit) for unit in UNITS] == [4, 0]
    one = await world.start(weight=25.0)
    await floors.refresh()
    assert [floors.of(unit) for unit in UNITS] == [3, 1]
    await world.ledger.rollouts.put_rollout(msgspec.structs.replace(one, revision=2, state=RolloutState.PROMOTED))
    await floors.refresh()
    assert [floors.of(unit) for unit in UNITS] == [0, 4]

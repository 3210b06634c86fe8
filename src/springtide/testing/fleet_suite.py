"""What every fleet must do: subclass `FleetContract`, give it a `yard` fixture, and run.

class TestMyFleet(FleetContract):
    @pytest.fixture
    async def yard(self) -> AsyncIterator[Yard]: ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from springtide.domain.fleet import Decision, ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.protocol import Fleet

ONE, TWO = ModelName("one"), ModelName("two")


class Yard(Protocol):
    """A started fleet that may run workers of the models `one` and `two`, which live until told to leave."""

    @property
    def fleet(self) -> Fleet: ...

    async def settle(self) -> None:
        """Wait until everything that was asked for is done, leavers gone included."""
        ...


class FleetContract:
    """The cases."""

    async def test_nothing_runs_that_nobody_wants(self, yard: Yard) -> None:
        assert await yard.fleet.observe() == []

    async def test_the_wanted_number_of_workers_runs(self, yard: Yard) -> None:
        await _want(yard, 3)
        assert len(await _staying(yard)) == 3

    async def test_what_is_said_again_is_not_done_again(self, yard: Yard) -> None:
        await _want(yard, 2)
        before = await _staying(yard)
        await _want(yard, 2)
        assert await _staying(yard) == before

    async def test_models_are_scaled_apart(self, yard: Yard) -> None:
        await _want(yard, 1, ONE)
        await _want(yard, 2, TWO)
        await _want(yard, 0, ONE)
        assert (len(await _staying(yard, ONE)), len(await _staying(yard, TWO))) == (0, 2)

    async def test_idle_workers_leave_before_others(self, yard: Yard) -> None:
        await _want(yard, 4)
        workers = await _staying(yard)
        idle = [workers[2], workers[0]]
        await _want(yard, 2, drain_first=idle)
        assert set(await _staying(yard)) == set(workers) - set(idle)

    async def test_of_idle_workers_those_named_first_leave_first(self, yard: Yard) -> None:
        await _want(yard, 3)
        workers = await _staying(yard)
        await _want(yard, 2, drain_first=[workers[1], workers[0], workers[2]])
        assert set(await _staying(yard)) == set(workers) - {workers[1]}

    async def test_who_works_again_stays_and_who_is_idle_now_leaves(self, yard: Yard) -> None:
        await _want(yard, 4)
        workers = await _staying(yard)
        await _want(yard, 3, drain_first=[workers[0]])
        await _want(yard, 2, drain_first=[workers[3]])
        assert set(await _staying(yard)) == {workers[1], workers[2]}

    async def test_the_number_holds_where_too_few_are_idle(self, yard: Yard) -> None:
        await _want(yard, 3)
        [first, *_] = await _staying(yard)
        await _want(yard, 1, drain_first=[first])
        left = await _staying(yard)
        assert len(left) == 1
        assert first not in left

    async def test_a_worker_unknown_here_is_no_obstacle(self, yard: Yard) -> None:
        await _want(yard, 2)
        await _want(yard, 1, drain_first=[WorkerId("long-gone")])
        assert len(await _staying(yard)) == 1

    async def test_one_that_is_drained_leaves_and_another_takes_its_place(self, yard: Yard) -> None:
        await _want(yard, 2)
        first, second = await _staying(yard)
        await yard.fleet.drain([first, WorkerId("long-gone")])
        await yard.settle()
        await _want(yard, 2)
        left = await _staying(yard)
        assert second in left
        assert first not in left
        assert len(left) == 2

    async def test_from_zero_and_back_and_again(self, yard: Yard) -> None:
        for replicas in (1, 0, 2):
            await _want(yard, replicas)
            assert len(await _staying(yard)) == replicas


async def _want(yard: Yard, replicas: int, model: ModelName = ONE, *, drain_first: Sequence[WorkerId] = ()) -> None:
    decision = Decision(model=model, replicas=replicas, reason="QUEUE", message="the suite says so")
    await yard.fleet.apply(decision, drain_first=drain_first)
    await yard.settle()


async def _staying(yard: Yard, model: ModelName = ONE) -> list[WorkerId]:
    found = await yard.fleet.observe()
    return sorted(one.worker for one in found if one.model == model and one.phase is ReplicaPhase.RUNNING)

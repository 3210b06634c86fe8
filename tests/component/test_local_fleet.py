"""The local fleet with real processes that do nothing but live, die or refuse to go."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from springtide.domain.fleet import Decision, ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.local import Launch, LocalFleet

MODEL = ModelName("m")
WAIT_FOR_LIFELINE = "import sys; sys.stdin.read()"
DIE_AT_ONCE = "import sys; sys.exit(3)"
IGNORE_SIGTERM = (
    "import pathlib, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path({ready!r}).touch(); sys.stdin.read(); signal.pause()"
)


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.set_by_s = 0.0  # how far somebody has set the host's clock

    def now_s(self) -> float:
        return self.time_s + self.set_by_s

    def monotonic_s(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds


class Yard:
    """A fleet whose workers run `code`, and everything it was told."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.clock = Clock()
        self.gone: asyncio.Queue[WorkerId] = asyncio.Queue()
        self.numbers = itertools.count(1)
        self.fleet = LocalFleet(self.launch, self.new_id, self.on_gone, self.clock)

    def launch(self, model: ModelName, worker: WorkerId) -> Launch:
        return Launch([sys.executable, "-c", self.code])

    def new_id(self, model: ModelName) -> WorkerId:
        return WorkerId(f"{model}-{next(self.numbers)}")

    async def on_gone(self, model: ModelName, worker: WorkerId) -> None:
        self.gone.put_nowait(worker)

    async def want(self, replicas: int, *, drain_first: Sequence[str] = ()) -> None:
        decision = Decision(model=MODEL, replicas=replicas, reason="QUEUE", message="")
        await self.fleet.apply(decision, drain_first=[WorkerId(name) for name in drain_first])

    async def phases(self) -> list[ReplicaPhase]:
        return [replica.phase for replica in await self.fleet.observe()]


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    one = Yard(WAIT_FOR_LIFELINE)
    yield one
    await one.fleet.stop(10)


async def test_the_wanted_number_of_workers_runs(yard: Yard) -> None:
    await yard.want(2)
    assert await yard.phases() == [ReplicaPhase.RUNNING] * 2
    await yard.want(2)
    assert len(await yard.phases()) == 2


async def test_scaling_in_drains_idle_workers_first(yard: Yard) -> None:
    await yard.want(3)
    await yard.want(2, drain_first=["m-2"])
    assert await asyncio.wait_for(yard.gone.get(), 60) == "m-2"
    assert {replica.worker for replica in await yard.fleet.observe()} == {"m-1", "m-3"}


async def test_a_dead_worker_is_reported_at_once_and_restarted_after_a_delay_that_grows(yard: Yard) -> None:
    yard.code = DIE_AT_ONCE
    delays: list[float] = []
    for _ in range(4):
        await yard.want(1)
        await asyncio.wait_for(yard.gone.get(), 60)
        replica = (await yard.fleet.observe())[0]
        assert replica.phase is ReplicaPhase.BACKING_OFF
        assert replica.last_exit == "exit code 3"
        delays.append(replica.started_at_s - yard.clock.time_s)
        await yard.want(1)  # too early: nothing is started
        assert await yard.phases() == [ReplicaPhase.BACKING_OFF]
        yard.clock.time_s += delays[-1]
    assert delays[3] > delays[0] * 2
    assert replica.restarts == 4


async def test_a_restart_does_not_wait_for_a_clock_that_was_set_back(yard: Yard) -> None:
    yard.code = DIE_AT_ONCE
    await yard.want(1)
    await asyncio.wait_for(yard.gone.get(), 60)
    yard.clock.set_by_s -= 3600
    yard.clock.time_s += 1.0
    await yard.want(1)
    assert await asyncio.wait_for(yard.gone.get(), 60) == "m-2"


async def test_a_killed_worker_names_its_signal(yard: Yard) -> None:
    await yard.want(1)
    process = next(iter(yard.fleet._models[MODEL].processes.values())).process
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(yard.gone.get(), 60)
    assert (await yard.fleet.observe())[0].last_exit == "killed by SIGKILL"


async def test_stop_kills_what_will_not_drain(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = Yard(IGNORE_SIGTERM.format(ready=str(ready)))
    await stubborn.want(1)
    process = next(iter(stubborn.fleet._models[MODEL].processes.values())).process
    while not ready.exists():
        await asyncio.sleep(0.01)
    await stubborn.fleet.stop(0.1)
    assert process.returncode == -signal.SIGKILL
    assert await stubborn.fleet.observe() == []


async def test_workers_end_when_the_pipe_to_their_parent_closes(yard: Yard) -> None:
    await yard.want(1)
    process = next(iter(yard.fleet._models[MODEL].processes.values())).process
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(yard.gone.get(), 60)

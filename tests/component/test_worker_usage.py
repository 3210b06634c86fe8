"""What workers use: measured of real processes, told with beats, and seen by the policies with its age."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from worker_world import World

from springtide.domain.fleet import Usage
from springtide.domain.ids import WorkerId
from springtide.runtime.gpus import GpuLoad, GpuWatch
from springtide.worker.service import Worker
from springtide.worker.usage import Meter


class Cards(GpuWatch):
    """Two cards without a driver."""

    def look(self) -> list[GpuLoad]:
        return [GpuLoad(0.5, 0.25), GpuLoad(None, 0.75)]


def no_gpus() -> None:
    return None


async def test_processor_time_is_a_share_of_what_a_worker_may_use_and_needs_two_looks() -> None:
    meter = Meter(cpus=2.0, memory_mb=1 << 20, gpus=no_gpus)
    first = await meter([os.getpid()], 100.0)
    assert (first.cpus, first.cpu, first.gpu) == (None, None, None)
    begun = sum(os.times()[:2])
    while sum(os.times()[:2]) - begun < 0.1:  # a tenth of a second of one processor
        pass
    used = await meter([os.getpid()], 101.0)
    assert used.cpus is not None and used.cpus >= 0.09
    assert used.cpu == pytest.approx(used.cpus / 2, abs=1e-3)
    assert used.memory_mb is not None and used.memory == pytest.approx(used.memory_mb / (1 << 20), abs=1e-4)
    assert (await meter([os.getpid()], 101.2)).cpu is None, "over a moment the share would be noise"


async def test_a_process_that_is_gone_is_no_figure() -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    usage = await Meter(gpus=no_gpus)([ended.pid], 100.0)
    assert usage == Usage(at_s=100.0)


async def test_gpus_are_told_as_the_mean_of_those_that_say() -> None:
    usage = await Meter(gpus=Cards)([], 100.0)
    assert (usage.gpu, usage.gpu_memory) == (0.5, 0.5)


async def test_a_worker_tells_with_its_beats_what_it_and_its_engine_use(tmp_path: Path) -> None:
    asked: list[Sequence[int]] = []

    async def measure(pids: Sequence[int], now_s: float) -> Usage:
        asked.append(pids)
        return Usage(at_s=now_s, cpus=float(len(pids)))

    class Measured(World):
        def new_worker(self, name: str) -> Worker:
            return Worker(
                self.settings,
                worker_id=WorkerId(name),
                broker=self.watched,  # type: ignore[arg-type]
                blobs=self.blobs,
                clock=self.clock,
                measure=measure,
            )

    async with Measured(tmp_path) as world:
        await world.outcome(await world.submit())
        [view] = await world.broker.queues([world.settings.model], world.clock.now_s())
        [worker] = view.workers
        assert worker.usage is not None and worker.usage.cpus == len(asked[0])
        assert asked[0][0] == os.getpid()

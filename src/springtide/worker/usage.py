"""What a worker and its engine's process use: processors, memory, GPUs. Measured beside the heartbeat, sent with it.

Promises: never raises, and invents nothing: what cannot be measured is None. A driver that hangs costs figures, never
a heartbeat: it is asked on a thread of its own, and only where there may be a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import psutil

from springtide.domain.fleet import Usage
from springtide.runtime.gpus import GpuLoad, GpuWatch
from springtide.runtime.processors import usable_memory_mb, usable_processors
from springtide.runtime.threads import Threads
from springtide.worker.memory_watch import memory_of

KNOWN = 64  # processes: children come and go
LEAST_APART_S = 1.0  # /proc counts hundredths of seconds: over less the share is mostly noise


class Measure(Protocol):
    """Measures what processes use."""

    async def __call__(self, pids: Sequence[int], now_s: float) -> Usage: ...


class Meter:
    """A `Measure` of this machine. One may serve several workers of a process."""

    def __init__(
        self,
        *,
        cpus: float | None = None,
        memory_mb: float | None = None,
        gpus: Callable[[], GpuWatch | None] = GpuWatch.of_this_process,
    ) -> None:
        """cpus, memory_mb: what a worker may have; None: all that this process may use."""
        self._cpus = cpus or float(usable_processors())
        self._memory_mb = memory_mb or usable_memory_mb()
        self._spent: dict[int, tuple[float, float]] = {}  # pid -> processor seconds, and when
        self._gpus = gpus()
        self._threads = Threads("gpu figures") if self._gpus is not None else None

    async def __call__(self, pids: Sequence[int], now_s: float) -> Usage:
        cpus = [used for pid in pids if (used := self._processors(pid, now_s)) is not None]
        memories = [found.held_mb for pid in pids if (found := memory_of(pid)) is not None]
        loads: list[GpuLoad] = []
        if self._gpus is not None and self._threads is not None:
            loads = await self._threads.run(self._gpus.look)
        held_mb = sum(memories)
        return Usage(
            at_s=now_s,
            cpus=round(sum(cpus), 3) if cpus else None,
            cpu=round(sum(cpus) / self._cpus, 4) if cpus else None,
            memory_mb=round(held_mb, 1) if memories else None,
            memory=round(held_mb / self._memory_mb, 4) if memories and self._memory_mb else None,
            gpu=_mean([load.utilization for load in loads]),
            gpu_memory=_mean([load.memory for load in loads]),
        )

    def _processors(self, pid: int, now_s: float) -> float | None:
        """Processors that it has kept busy since it was asked about last; None at the first time."""
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            self._spent.pop(pid, None)
            return None
        spent_s = times.user + times.system
        before_s, since_s = self._spent.get(pid, (spent_s, now_s))
        if 0 <= now_s - since_s < LEAST_APART_S and pid in self._spent:
            return None
        if len(self._spent) >= KNOWN:
            self._spent.clear()
        self._spent[pid] = (spent_s, now_s)
        return max(0.0, spent_s - before_s) / (now_s - since_s) if now_s > since_s else None


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return round(sum(known) / len(known), 4) if known else None

"""Runs side by side in threads, of an engine that says it can (`Engine.lanes`): whoever ends makes room for the next.

Nobody waits for the slowest of a group, so a lane that decodes or encodes leaves the processor to the others. Promises
that every run is by itself: it can be cancelled, fails alone, and is told with how many others it shared the process;
and that its `run_s` is its share of the time, so that those of runs side by side add up to the time they took.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from springtide.engines.protocol import Engine
from springtide.worker.child_desk import Desk
from springtide.worker.child_runs import run_one
from springtide.worker.frames import SharedRunning, Task, TaskResult
from springtide.worker.outbox import Outbox
from springtide.worker.outcome import bind_task


@dataclass(slots=True)
class _Lane:
    """One run that goes on."""

    share_s: float = 0.0
    together: int = 0  # the most that ran at once while it did, itself included


class Lanes:
    """`engine.lanes` threads that take tasks in the order they come."""

    def __init__(self, engine: Engine[Any, Any], desk: Desk, *, outbox: Outbox, running: SharedRunning) -> None:
        self._engine = engine
        self._desk = desk
        self._outbox = outbox
        self._running = running
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}
        self._counted_at = 0.0  # up to when each one's share is counted

    def work(self, orders: SimpleQueue[deque[int]], *, confused: Callable[[], None]) -> None:
        """Take orders for ever. The calling thread is one of the lanes. confused: told of an error that is ours."""

        def lane() -> None:
            try:
                while True:
                    self._obey(orders.get())
            except BaseException:
                confused()

        for number in range(1, self._engine.lanes):
            threading.Thread(target=lane, name=f"lane-{number}", daemon=True).start()
        lane()

    def _obey(self, seqs: deque[int]) -> None:
        while seqs:
            task = self._desk.take(seqs.popleft())
            if task is not None:
                self._run(task)

    def _run(self, task: Task) -> None:
        self._enter(task.seq)
        progress = self._desk.begin(task, may_raise=True)
        inputs = bind_task(self._engine.Input, task)
        is_bound = not isinstance(inputs, TaskResult)
        result = run_one(self._engine, task, inputs, progress) if is_bound else inputs
        self._desk.end((task.seq,))
        self._leave(result)

    def _enter(self, seq: int) -> None:
        with self._lock:
            self._count()
            self._lanes[seq] = _Lane()
            for lane in self._lanes.values():
                lane.together = max(lane.together, len(self._lanes))
            self._say()

    def _leave(self, result: TaskResult) -> None:
        with self._lock:
            self._count()
            lane = self._lanes.pop(result.seq)
            result.run_s, result.together = lane.share_s, lane.together
            self._outbox.result(result)
            self._say()

    def _count(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            lane.share_s += (now - self._counted_at) / len(self._lanes)
        self._counted_at = now

    def _say(self) -> None:
        seqs = list(self._lanes)
        self._running.say(seqs)
        if seqs:
            self._outbox.begin(seqs)
        else:
            self._outbox.idle()

"""Runs of the engine in its process: one task by itself, or several of one shape in a `run_batch`.

Promises that whatever an engine raises becomes the result of a task, of its own or of all that shared the run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from springtide.engines.protocol import Cancelled, Engine
from springtide.worker.child_desk import Desk, TaskProgress
from springtide.worker.frames import MOST_TOGETHER, SharedRunning, Task, TaskResult
from springtide.worker.outbox import Outbox
from springtide.worker.outcome import bind_task, describe_problem, finish_task, is_memory_death, trace_of


def run_one(engine: Engine[Any, Any], task: Task, inputs: BaseModel, progress: TaskProgress) -> TaskResult:
    """How a run by itself ended."""
    started = time.monotonic()
    try:
        output: BaseModel | BaseException = engine.run(inputs, progress)
    except BaseException as error:
        output = error
    result = _settle(engine, task, output, time.monotonic() - started, progress)
    # What was raised holds its traceback, that this frame, and this frame it: without this, arrays and decoders of
    # a run that failed or was cancelled would stay until the collector comes by.
    del output
    return result


class Groups:
    """Runs orders one after the other; of each, those that are alike together, as many as the engine can."""

    def __init__(self, engine: Engine[Any, Any], desk: Desk, *, outbox: Outbox, running: SharedRunning) -> None:
        self._engine = engine
        self._desk = desk
        self._outbox = outbox
        self._running = running
        self._most = 1  # of this order
        self._shaped: dict[int, tuple[BaseModel | TaskResult, object]] = {}  # input and shape class, not begun
        self.max_batch = max(1, min(engine.max_batch, MOST_TOGETHER))
        self.has_shapes = self.max_batch > 1 and type(engine).shape_class is not Engine.shape_class

    def run(self, seqs: deque[int]) -> None:
        """All of one order."""
        self._most = self.max_batch
        while seqs:
            group = self._next_group(seqs)
            if group:
                self._run_group(group)
        self._shaped.clear()
        self._running.say(())
        self._outbox.idle()

    def _next_group(self, seqs: deque[int]) -> list[Task]:
        """Tasks to run together, taken off `seqs`: the first that still waits, and those behind it that are like it."""
        group: list[Task] = []
        passed: list[int] = []
        most, shape = self._most, None
        while seqs and len(group) < most:
            seq = seqs.popleft()
            task = self._desk.look_at(seq)
            if task is None:  # cancelled or withdrawn
                continue
            its_shape = self._shape_of(task) if self.has_shapes else None
            if group and (its_shape != shape or task.together <= len(group)):
                passed.append(seq)
            elif self._desk.take(seq) is not None:
                group.append(task)
                most, shape = min(most, task.together), its_shape
        seqs.extendleft(reversed(passed))
        return group

    def _shape_of(self, task: Task) -> object:
        found = self._shaped.get(task.seq)
        if found is None:
            self._running.say((task.seq,))
            found = self._shaped[task.seq] = self._bind_and_shape(task)
        return found[1]

    def _bind_and_shape(self, task: Task) -> tuple[BaseModel | TaskResult, object]:
        inputs = bind_task(self._engine.Input, task)
        if isinstance(inputs, TaskResult):
            return inputs, inputs  # like no other
        try:
            return inputs, self._engine.shape_class(inputs)
        except BaseException as error:
            result = TaskResult(task.seq, problem=describe_problem(error), trace=trace_of(error))
            return result, result

    def _bind(self, task: Task) -> BaseModel | TaskResult:
        found = self._shaped.pop(task.seq, None)
        return bind_task(self._engine.Input, task) if found is None else found[0]

    def _run_group(self, group: list[Task]) -> None:
        seqs = [task.seq for task in group]
        self._running.say(seqs)
        self._outbox.begin(seqs)
        if len(group) == 1:
            self._run_alone(group[0])
        else:
            self._run_together(group)
        self._desk.end(seqs)

    def _run_alone(self, task: Task) -> None:
        progress = self._desk.begin(task, may_raise=True)
        inputs = self._bind(task)
        is_bound = not isinstance(inputs, TaskResult)
        self._outbox.result(run_one(self._engine, task, inputs, progress) if is_bound else inputs)

    def _run_together(self, group: list[Task]) -> None:
        """One `run_batch` for all whose inputs can be bound."""
        ready: list[tuple[Task, BaseModel, TaskProgress]] = []
        for task in group:
            inputs = self._bind(task)
            if isinstance(inputs, TaskResult):
                self._outbox.result(inputs)
            else:
                ready.append((task, inputs, self._desk.begin(task, may_raise=False)))
        if not ready:
            return
        started = time.monotonic()
        is_shared = False
        outputs: Sequence[BaseModel | BaseException]
        try:
            outputs = list(self._engine.run_batch([inputs for _, inputs, _ in ready], [line for _, _, line in ready]))
            if len(outputs) != len(ready):
                raise ValueError(f"run_batch gave {len(outputs)} results for {len(ready)} inputs")
        except BaseException as error:
            outputs, is_shared = [error] * len(ready), True
            if is_memory_death(error):
                self._most = max(1, len(ready) // 2)
        run_s = (time.monotonic() - started) / len(ready)  # each one's share of what they took together
        results = [
            _settle(self._engine, task, out, run_s, progress)
            for (task, _, progress), out in zip(ready, outputs, strict=True)
        ]
        del outputs  # what was raised holds this frame, as in `run_one`
        for result in results:
            result.together, result.is_shared = len(ready), is_shared
            if is_shared and result is not results[0]:
                result.trace = None
        self._outbox.result(*results)


def _settle(
    engine: Engine[Any, Any], task: Task, output: BaseModel | BaseException, run_s: float, progress: TaskProgress
) -> TaskResult:
    if isinstance(output, Cancelled) and progress.is_cancelled:
        result = TaskResult(task.seq, run_s, cancelled=True)
    elif isinstance(output, BaseException):
        result = TaskResult(task.seq, run_s, problem=describe_problem(output), trace=trace_of(output))
    else:
        result = finish_task(engine.Output, task, output, run_s)
    result.has_folder = progress.has_folder
    return result

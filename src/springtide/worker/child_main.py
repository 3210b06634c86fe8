"""The process that holds the loaded engine: imported by the forkserver, entered once in each child.

It does what its socket says (`frames`) and nothing else: no broker, no blobs, no clock of the platform. It promises
to die with its worker, even in the middle of a run, and to take down what the engine started; to say which task runs
in memory shared with the worker, so that a crash is blamed on the right one; to survive whatever an engine raises.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.engines import signing
from springtide.engines.catalog import check_license, load_engine
from springtide.engines.protocol import Cancelled, Engine
from springtide.runtime.lifeline import die_with
from springtide.worker import preload
from springtide.worker.frames import (
    MOST_TOGETHER,
    Cancel,
    FrameBuffer,
    Load,
    Ready,
    RunTasks,
    SharedRunning,
    Task,
    TaskResult,
    ToChild,
    Withdraw,
)
from springtide.worker.outbox import Outbox
from springtide.worker.outcome import (
    bind_task,
    describe_load_failure,
    describe_problem,
    finish_task,
    is_memory_death,
    keep_checkpoint,
    trace_of,
)
from springtide.worker.preload import ignore_signal

READ_BYTES = 1 << 18


def main(sock: socket.socket, stderr: Connection[Any, Any], running: SharedRunning) -> None:
    """Entry of the child. Never returns: the process ends inside."""
    _settle_in(stderr)
    try:
        child = _EngineProcess(sock, running)
        child.serve()
    except BaseException:
        _leave_confused()


def _settle_in(stderr: Connection[Any, Any]) -> None:
    """Own session, own signals, output to the worker's pipe, death with the worker."""
    with contextlib.suppress(OSError):
        os.setsid()  # Ctrl-C does not reach programs the engine runs, and one signal ends all of them
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ignore_signal)
    os.dup2(stderr.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    faulthandler.enable(file=2)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # The watcher thread needs the interpreter lock; native code that never gives it up would outlive the worker.
        # The kernel sends SIGIO, which ends a process, when the worker's end of this pipe closes.
        die_with(parent.sentinel)


class _Progress:
    """`engines.protocol.Progress` of one task."""

    __slots__ = (
        "_checkpoint",
        "_folder",
        "_kept",
        "_outbox",
        "_seq",
        "_traceparent",
        "has_folder",
        "is_cancelled",
        "may_raise",
        "was_stopped",
    )

    def __init__(self, task: Task, outbox: Outbox, *, may_raise: bool) -> None:
        self._seq = task.seq
        self._folder = task.folder
        self._checkpoint = task.checkpoint
        self._traceparent = task.traceparent
        self._kept = 0
        self._outbox = outbox
        self.has_folder = False  # asked for, and so made: nobody else tells the engine where it is
        self.is_cancelled = False
        self.was_stopped = False
        self.may_raise = may_raise  # not in a batch: it would stop the others too

    @property
    def traceparent(self) -> str | None:
        return self._traceparent

    @property
    def folder(self) -> Path:
        path = Path(self._folder)
        path.mkdir(parents=True, exist_ok=True)
        self.has_folder = True
        return path

    @property
    def checkpoint(self) -> Path | None:
        return None if self._checkpoint is None else Path(self._checkpoint)

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        if self.is_cancelled and self.may_raise:
            self.was_stopped = True
            raise Cancelled
        kept = None
        if checkpoint is not None:
            self._kept += 1
            kept = keep_checkpoint(checkpoint, self._folder, self._kept)
        share = float(fraction)
        self._outbox.progress(self._seq, min(max(share, 0.0), 1.0) if share == share else 0.0, stage, kept)


class _EngineProcess:
    """Reads orders in one thread, obeys them in the main one."""

    def __init__(self, sock: socket.socket, running: SharedRunning) -> None:
        self._sock = sock
        self._running = running
        self._outbox = Outbox(sock)
        self._orders: SimpleQueue[Load | deque[int]] = SimpleQueue()
        # Not begun. Whoever pops a task owns it: the main thread runs it, the reader answers for it.
        self._waiting: dict[int, Task] = {}
        self._begun: dict[int, _Progress] = {}
        self._cancelled: set[int] = set()  # asked for while the task was on its way from one to the other
        self._engine: Engine[Any, Any]
        self._max_batch = 1
        self._has_shapes = False
        self._most = 1  # of this order
        self._shaped: dict[int, tuple[BaseModel | TaskResult, object]] = {}  # input and shape class, not begun

    def serve(self) -> None:
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        self._outbox.start()
        order = self._orders.get()
        assert isinstance(order, Load)
        if not self._load(order):
            _flush_streams()
            os._exit(0)
        while True:
            seqs = self._orders.get()
            assert isinstance(seqs, deque)
            self._run(seqs)

    # --- the reader's thread ------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._read_for_ever()
        except BaseException:
            _leave_confused()

    def _read_for_ever(self) -> None:
        frames = FrameBuffer()
        decoder = msgspec.msgpack.Decoder(ToChild)
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                _die_with_worker()
            for frame in frames.feed(data):
                self._obey(decoder.decode(frame))

    def _obey(self, message: ToChild) -> None:
        match message:
            case RunTasks(tasks):
                for task in tasks:
                    self._waiting[task.seq] = task
                self._orders.put(deque(task.seq for task in tasks))
            case Cancel(seqs):
                for seq in seqs:
                    self._cancel(seq)
            case Withdraw():
                for seq in list(self._waiting):
                    if self._waiting.pop(seq, None) is not None:
                        self._outbox.result(TaskResult(seq, unbegun=True))
            case Load():
                self._orders.put(message)

    def _cancel(self, seq: int) -> None:
        if self._waiting.pop(seq, None) is not None:
            self._outbox.result(TaskResult(seq, cancelled=True))
            return
        self._cancelled.add(seq)
        progress = self._begun.get(seq)
        if progress is not None:
            progress.is_cancelled = True

    # --- the main thread ----------------------------------------------------------------------------------------

    def _load(self, order: Load) -> bool:
        started = time.monotonic()
        try:
            engine_type = preload.found.get(order.engine_reference) or load_engine(order.engine_reference)
            engine = engine_type(order.settings, Path(order.weights_folder))
            check_license(engine, accepted=order.accept_non_commercial)
            signing.use(order.signing)
            engine.load()
            if order.warm_up:
                _warm_up(engine)
        except BaseException as error:
            self._outbox.send(describe_load_failure(error))
            return False
        self._engine = engine
        self._max_batch = max(1, min(engine.max_batch, MOST_TOGETHER))
        self._has_shapes = self._max_batch > 1 and engine_type.shape_class is not Engine.shape_class
        gc.freeze()  # weights and modules stay: the collector need not look at them again
        self._outbox.send(Ready(time.monotonic() - started, self._max_batch, engine.version, self._has_shapes))
        return True

    def _run(self, seqs: deque[int]) -> None:
        self._most = self._max_batch
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
            task = self._waiting.get(seq)
            if task is None:  # cancelled or withdrawn
                continue
            its_shape = self._shape_of(task) if self._has_shapes else None
            if group and (its_shape != shape or task.together <= len(group)):
                passed.append(seq)
            elif self._waiting.pop(seq, None) is not None:
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
            self._run_one(group[0])
        else:
            self._run_together(group)
        for seq in seqs:
            self._begun.pop(seq, None)
            self._cancelled.discard(seq)

    def _progress(self, task: Task, *, may_raise: bool) -> _Progress:
        progress = _Progress(task, self._outbox, may_raise=may_raise)
        self._begun[task.seq] = progress
        if task.seq in self._cancelled:
            progress.is_cancelled = True
        return progress

    def _run_one(self, task: Task) -> None:
        progress = self._progress(task, may_raise=True)
        inputs = self._bind(task)
        if isinstance(inputs, TaskResult):
            self._outbox.result(inputs)
            return
        started = time.monotonic()
        try:
            output: BaseModel | BaseException = self._engine.run(inputs, progress)
        except BaseException as error:
            output = error
        run_s = time.monotonic() - started
        result = self._settle(task, output, run_s, progress)
        # What was raised holds its traceback, that this frame, and this frame it: without this, arrays and decoders of
        # a run that failed or was cancelled would stay until the collector comes by.
        del output
        self._outbox.result(result)

    def _run_together(self, group: list[Task]) -> None:
        """One `run_batch` for all whose inputs can be bound."""
        ready: list[tuple[Task, BaseModel, _Progress]] = []
        for task in group:
            inputs = self._bind(task)
            if isinstance(inputs, TaskResult):
                self._outbox.result(inputs)
            else:
                ready.append((task, inputs, self._progress(task, may_raise=False)))
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
            self._settle(task, out, run_s, progress) for (task, _, progress), out in zip(ready, outputs, strict=True)
        ]
        del outputs  # as above
        for result in results:
            result.together, result.is_shared = len(ready), is_shared
            if is_shared and result is not results[0]:
                result.trace = None
        self._outbox.result(*results)

    def _settle(self, task: Task, output: BaseModel | BaseException, run_s: float, progress: _Progress) -> TaskResult:
        if isinstance(output, Cancelled) and progress.is_cancelled:
            result = TaskResult(task.seq, run_s, cancelled=True)
        elif isinstance(output, BaseException):
            result = TaskResult(task.seq, run_s, problem=describe_problem(output), trace=trace_of(output))
        else:
            result = finish_task(self._engine.Output, task, output, run_s)
        result.has_folder = progress.has_folder
        return result


def _warm_up(engine: Engine[Any, Any]) -> None:
    """One usual job, so that no caller's is the first. Raises what the engine raises: it would not serve."""
    from springtide.engines.examples import example_of, run_example  # only where asked for: it can look into media

    run_example(engine, example_of(engine))


def _leave_confused() -> None:
    """A mistake of ours, not of the engine: say so and end, the supervisor starts anew."""
    traceback.print_exc()
    _flush_streams()
    os._exit(70)  # EX_SOFTWARE


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _die_with_worker() -> None:
    """The worker is gone: end this process and what the engine started, whatever it is doing."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)

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
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from springtide.engines import signing
from springtide.engines.catalog import check_license, load_engine
from springtide.engines.protocol import Engine
from springtide.runtime.lifeline import die_with
from springtide.worker.child_desk import Desk
from springtide.worker.child_lanes import Lanes
from springtide.worker.child_runs import Groups
from springtide.worker.frames import (
    MOST_TOGETHER,
    Cancel,
    FrameBuffer,
    Load,
    Ready,
    RunTasks,
    SharedRunning,
    ToChild,
    Withdraw,
)
from springtide.worker.inherited import found, ignore_signal
from springtide.worker.outbox import Outbox
from springtide.worker.outcome import describe_load_failure

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


class _EngineProcess:
    """Reads orders in one thread, obeys them in the main one, and in more where the engine has lanes."""

    def __init__(self, sock: socket.socket, running: SharedRunning) -> None:
        self._sock = sock
        self._running = running
        self._outbox = Outbox(sock)
        self._desk = Desk(self._outbox)
        self._loads: SimpleQueue[Load] = SimpleQueue()
        self._orders: SimpleQueue[deque[int]] = SimpleQueue()

    def serve(self) -> None:
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        self._outbox.start()
        runs = self._load(self._loads.get())
        if runs is None:
            _flush_streams()
            os._exit(0)
        if isinstance(runs, Lanes):
            runs.work(self._orders, confused=_leave_confused)
            return
        while True:
            runs.run(self._orders.get())

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
                self._desk.put(tasks)
                self._orders.put(deque(task.seq for task in tasks))
            case Cancel(seqs):
                for seq in seqs:
                    self._desk.cancel(seq)
            case Withdraw():
                self._desk.withdraw()
            case Load():
                self._loads.put(message)

    # --- the main thread ----------------------------------------------------------------------------------------

    def _load(self, order: Load) -> Groups | Lanes | None:
        """What runs the loaded engine; None where it does not load, which the worker has been told."""
        started = time.monotonic()
        try:
            engine_type = found.get(order.engine_reference) or load_engine(order.engine_reference)
            engine = engine_type(order.settings, Path(order.weights_folder))
            check_license(engine, accepted=order.accept_non_commercial)
            _check_sharing(engine)
            signing.use(order.signing)
            engine.load()
            if order.warm_up:
                _warm_up(engine)
        except BaseException as error:
            self._outbox.send(describe_load_failure(error))
            return None
        gc.freeze()  # weights and modules stay: the collector need not look at them again
        groups = Groups(engine, self._desk, outbox=self._outbox, running=self._running)
        load_s = time.monotonic() - started
        self._outbox.send(Ready(load_s, groups.max_batch, engine.version, groups.has_shapes, engine.lanes))
        return groups if engine.lanes == 1 else Lanes(engine, self._desk, outbox=self._outbox, running=self._running)


def _check_sharing(engine: Engine[Any, Any]) -> None:
    if engine.lanes > 1 and engine.max_batch > 1:
        raise TypeError("it sets lanes and max_batch: jobs run side by side or share a run, not both")
    if not 1 <= engine.lanes <= MOST_TOGETHER:
        raise ValueError(f"lanes: {engine.lanes} is not within 1 and {MOST_TOGETHER}")


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

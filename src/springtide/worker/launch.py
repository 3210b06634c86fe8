"""Starting the child process: out of multiprocessing's forkserver, with the engine's heavy imports already made.

Where there is no forkserver it is spawned, which only takes longer. Nothing of the worker's memory goes with it, and
nothing of the worker's main module is imported there, which may be a test runner or the whole command line.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import sys
import threading
import types
from collections.abc import Generator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import msgspec

from springtide.worker.child_entry import enter
from springtide.worker.frames import MOST_TOGETHER, SharedRunning
from springtide.worker.inherited import PRELOAD
from springtide.worker.tracker import pretend

WARNINGS = "PYTHONWARNINGS"
# A child is killed in the end: semaphores of its libraries stay behind, the tracker removes them and need not say so.
QUIET_TRACKER = "ignore:resource_tracker"
_one_at_a_time = threading.Lock()


class Launched(msgspec.Struct, frozen=True):
    """A process that has been started, and what it shares with the worker."""

    process: BaseProcess
    running: SharedRunning
    stderr: Connection[Any, Any]


def launch(engine_reference: str, theirs: socket.socket) -> Launched:
    """Start a child that speaks on `theirs`, which is closed here. Blocks: the first time for as long as the
    forkserver's imports take."""
    context = _context()
    running = SharedRunning(context.RawArray("Q", 1 + MOST_TOGETHER))
    ours, stderr = context.Pipe(duplex=False)
    # Not a daemon in multiprocessing's sense: an engine may start processes of its own.
    process = context.Process(target=enter, args=(theirs, stderr, running), daemon=False)
    with theirs, stderr, _one_at_a_time, _no_main():
        before = os.environ.get(WARNINGS)
        os.environ[PRELOAD] = json.dumps({"sys_path": sys.path, "engine": engine_reference})
        os.environ[WARNINGS] = f"{before},{QUIET_TRACKER}" if before else QUIET_TRACKER
        try:
            pretend()
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            del os.environ[PRELOAD]
            if before is None:
                del os.environ[WARNINGS]
            else:
                os.environ[WARNINGS] = before
    return Launched(process, running, ours)


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["springtide.worker.preload"])
    return context


@contextlib.contextmanager
def _no_main() -> Generator[None]:
    """multiprocessing imports the parent's main module into every child, in case something of it is needed there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

"""Imported once by the forkserver: makes the heavy imports, so that every child starts with them done.

Promises never to raise: the forkserver would die of it. What cannot be imported here fails again in the child, where it
is reported. Nothing is loaded or started here, only imported: a GPU context or a thread does not survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import warnings

from springtide.runtime.memory import give_back
from springtide.worker.inherited import PRELOAD, found, ignore_signal


def preload() -> None:
    """Import what the engine named by the variable `PRELOAD` wants to find imported."""
    order = json.loads(os.environ.pop(PRELOAD, "null"))
    if not order:
        return
    # Ctrl-C and a service manager's SIGTERM go to every process of the group: only the worker may act on them. Handlers
    # of our own, not SIG_IGN, which programs started by an engine would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ignore_signal)
    # Native libraries keep idle threads; forking beside them is what this process is for.
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    sys.path[:] = order["sys_path"]
    with contextlib.suppress(BaseException):
        importlib.import_module("springtide.worker.child_main")
        from springtide.engines.catalog import load_engine

        engine = found[order["engine"]] = load_engine(order["engine"])
        for name in engine.preload:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
    gc.collect()
    give_back()
    gc.freeze()  # or the first collection in each child would touch, and so copy, every page they share


preload()

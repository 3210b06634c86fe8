"""multiprocessing's resource tracker, only where somebody needs one.

It is a Python process (7 MB) that removes semaphores and shared memory whose owners died, and the forkserver insists on
starting one for each worker. What worker and child share has no name, so it would have nothing to do. An engine whose
libraries make such things gets one of its own, which cleans up as soon as that engine is gone.

Promises nothing where the standard library's inner names change: then there is one process more, as everywhere.
"""

from __future__ import annotations

import contextlib
import os
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

_tracker: Any = getattr(resource_tracker, "_resource_tracker", None)


def pretend() -> None:
    """In a worker: let multiprocessing believe that a tracker runs; what it would be told goes nowhere."""
    if getattr(_tracker, "_fd", 0) is None:
        _tracker._fd = os.open(os.devnull, os.O_WRONLY)


def forget() -> None:
    """In a child: the next thing that needs a tracker starts one."""
    fd = getattr(_tracker, "_fd", None)
    with contextlib.suppress(OSError):
        if fd is not None and os.fstat(fd).st_rdev == Path(os.devnull).stat().st_rdev:
            _tracker._fd = None
            os.close(fd)

"""Dying with whoever started us: the kernel's doing, so that native code which never gives up the interpreter cannot
outlive it."""

from __future__ import annotations

import fcntl
import os


def die_with(handle: int) -> None:
    """End this process (SIGIO) when the other end of the pipe `handle` closes. Where the system cannot do that, nothing
    is done: the caller reads the pipe too."""
    if hasattr(os, "O_ASYNC"):
        fcntl.fcntl(handle, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(handle, fcntl.F_GETFL)
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | os.O_ASYNC)

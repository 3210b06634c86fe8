"""Memory of a process that has started: what is loaded stays, so say so to those who manage it."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Call once everything is imported and built.

    The collector leaves alone what is there now (a full collection walks every object of the libraries: under load a
    third of the CPU and most of the p99), looks at the rest less often, and glibc gives back what parsing and importing
    freed: 2 to 3 MB a process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    give_back()


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""Memory of a process that has started: what is loaded stays, so say so to those who manage it."""

from __future__ import annotations

import ctypes
import gc

# New objects until the collector looks at them. Cycles that nobody else frees are left where a client breaks off in the
# middle of an answer; what else made them has been mended, and at a job a second 20,000 came together in no less than
# an hour: 3 MB that looked like a leak. A look costs 1 µs an object, however many there are at once: 5 ms.
YOUNG = 5_000
# Looks until those that were in use at theirs are looked at again, by then few: what a look finds alive is freed late.
OLDER, OLD = 20, 1000


def settle() -> None:
    """Call once everything is imported and built.

    The collector leaves alone what is there now (a full collection walks every object of the libraries: under load a
    third of the CPU and most of the p99), looks at the rest less often, and glibc gives back what parsing and importing
    freed: 2 to 3 MB a process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLD)
    give_back()


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""How much memory a process holds, and whether the kernel has killed somebody for it.

The kernel's out-of-memory killer leaves no note in the process it kills: SIGKILL, like any other. Its counters tell: of
this control group where one can be read, else of the whole machine.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil

MIB = 1 << 20
_HELD = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class Memory(msgspec.Struct, frozen=True):
    """Of one process in RAM, MiB."""

    held_mb: float
    peak_mb: float  # the most so far, as far as the system says


def memory_of(pid: int) -> Memory | None:
    """None where the process is gone."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        held, peak = _HELD.search(status), _PEAK.search(status)
        if held and peak:
            return Memory(int(held[1]) / 1024, int(peak[1]) / 1024)
        return None  # a zombie
    try:
        held_mb = psutil.Process(pid).memory_info().rss / MIB
    except psutil.Error:
        return None
    return Memory(held_mb, held_mb)


def oom_kills() -> int | None:
    """Kills by the kernel's out-of-memory killer so far; None where the system does not say. Only compare it with
    itself."""
    for path in _counters():
        with contextlib.suppress(OSError):
            found = _COUNT.search(path.read_text(encoding="ascii", errors="replace"))
            if found:
                return int(found[1])
    return None


def _counters() -> Iterable[Path]:
    """From the nearest to the widest: own group (version 2, then 1), as a container sees it, the machine."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"
    yield Path("/sys/fs/cgroup/memory.events")
    yield Path("/sys/fs/cgroup/memory/memory.oom_control")
    yield Path("/proc/vmstat")

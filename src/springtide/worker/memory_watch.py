"""How much memory a process holds, and whether the kernel has killed somebody for it.

The kernel's out-of-memory killer leaves no note in the process it kills: SIGKILL, like any other. Its counters tell: of
this control group where one can be read, else of the whole machine.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1 << 20
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def rss_mb(pid: int) -> float | None:
    """Memory the process holds in RAM, MiB; None where it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss / MIB
    except psutil.Error:
        return None


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

"""How many processors this process may use, those it is bound to and no more than its container's quota, and how much
memory.

More threads than quota make a container stand still for the rest of each scheduling period.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MIB = 1 << 20


def usable_processors(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """At least 1. A quota of one and a half processors counts as one. cgroup v1 and v2 are read where they are mounted
    as containers and systemd have them; the smallest quota from this process's group up to the root counts."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [int(quota) for quota in _quotas(cgroups, own)]
    return max(1, min([bound, *quotas]))


def usable_memory_mb(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> float | None:
    """MiB: the machine's, and no more than its container's limit. None where the system does not say."""
    limits: list[int] = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for version, place in _places(cgroups, own, "memory"):
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max": no limit
            limits.append(int((place / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text()))
    return min(limits) / MIB if limits else None


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    for version, place in _places(cgroups, own, "cpu"):
        quota = _quota_v2(place) if version == 2 else _quota_v1(place)
        if quota is not None:
            yield quota


def _places(cgroups: Path, own: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The folders that may limit it, with the version of cgroups: from this process's group up to the root."""
    for version, group in _groups(own, controller):
        root = cgroups if version == 2 else cgroups / controller
        folder = root / group.lstrip("/")
        for place in (folder, *folder.parents):
            yield version, place
            if place == root:
                break


def _groups(own: Path, controller: str) -> list[tuple[int, str]]:
    """This process's groups that may limit it, as (version, path); the root's where nothing says."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return [(2, "")]
    found: list[tuple[int, str]] = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found.append((2, path))
        elif controller in controllers.split(","):
            found.append((1, path))
    return found


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such group, or "max": no quota
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 and period > 0 else None
    except (OSError, ValueError):
        return None

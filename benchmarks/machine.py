"""What a figure was measured on: processor, memory, disk, kernel, interpreter, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.plan import REPOSITORY

# What the product's own speed hangs on.
OURS = (
    "springtide", "litestar", "uvicorn", "uvloop", "httptools", "msgspec", "pydantic", "sqlalchemy",
    "onnxruntime", "faster-whisper", "ctranslate2", "numpy", "pillow", "av",
)  # fmt: skip


def machine(folder: Path) -> dict[str, Any]:
    """The machine now, and how busy it was with other things. `folder`: where the measured data is written."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_1m_at_start": round(os.getloadavg()[0], 2),
    }


def versions(names: Iterable[str] = OURS) -> dict[str, str]:
    """Installed versions of `names`; those that are not installed are left out. Also the commit, if this is a clone."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit:
        dirty = "+changes" if _git("status", "--porcelain", "--untracked-files=no", "--", "src") else ""
        found["springtide commit"] = commit + dirty
    return found


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Type of the file system under `folder`: on tmpfs an fsync costs nothing and the figures would say so."""
    path = os.fspath(folder.resolve())
    mounts = [part for part in psutil.disk_partitions(all=True) if _is_under(path, part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _is_under(path: str, mountpoint: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

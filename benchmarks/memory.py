"""Memory as it is shared out: PSS counts each shared page once over all processes, so that sums mean something."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil

SAMPLE_EVERY_S = 0.2


def pss_mb(pid: int) -> float | None:
    """Proportional set size in MB (10^6 bytes); None where the process is gone. RSS where the system has no PSS."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return rss_mb(pid)


def rss_mb(pid: int) -> float | None:
    """Resident set size in MB; None where the process is gone."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).memory_info().rss / 1e6
    return None


class Peak:
    """Watches processes from a thread while the block runs; `pss_mb` and `rss_mb` are the most seen at once."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.pss_mb = 0.0
        self.rss_mb = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.pss_mb = max(self.pss_mb, sum(pss_mb(pid) or 0.0 for pid in self._pids))
            self.rss_mb = max(self.rss_mb, sum(rss_mb(pid) or 0.0 for pid in self._pids))
            if self._stop.wait(SAMPLE_EVERY_S):
                return

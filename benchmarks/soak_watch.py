"""What a soak looks at: memory, files and threads of each process, rows of the ledger, bytes of the folder; and what it
says of them at the end.

Memory is private memory (USS): what is shared moves between processes when one of them dies. Each process is a series
of its own, and the longest-lived one of a role speaks for it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
import psutil

from benchmarks.product import Running, role_of
from benchmarks.trend import HOUR_S, Trend, trend

LOOK_S = 5.0
# Caches fill, pools open, the gateway's live events reach their quarter of an hour: growth is told of the second half,
# and of no more than that: what still grows then, grows for ever.
WARM = 0.5
LONG_S = 1800.0  # shorter ones end before all of that is over
MOST_MB_AN_HOUR = 2.0  # of a soak that is long enough: looks of a process that is flat differ by half as much
MOST_MB, MOST_SHARE = 3.0, 0.04  # over the fitted time of a shorter one
MOST_FILES = 6.0
CURVE_S = 120.0
ROLES = ("up", "gateway", "worker", "forkserver")
ENDED = "('completed', 'failed', 'cancelled', 'expired')"


class Sample(msgspec.Struct, frozen=True):
    """One process at one time."""

    at_s: float
    pid: int
    role: str
    uss_mb: float
    files: int
    threads: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One question, its figures, and whether the answer is good."""

    what: str
    figures: dict[str, float]
    said: str
    good: bool


class Watch:
    """`look()` now and then; the series and the ends that were seen."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._began_s = time.monotonic()
        self._ledger = server.home.data / "springtide.db"
        self.samples: list[Sample] = []
        self.rows: dict[str, list[tuple[float, float]]] = {}
        self.ended: dict[str, str] = {}
        self.zombies = 0

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def look(self) -> None:
        at_s = self.now_s
        for pid in [self._server.pid, *self._below()]:
            with contextlib.suppress(psutil.Error, IndexError):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    self.zombies += 1
                    continue
                with process.oneshot():
                    sample = Sample(
                        at_s, pid, role_of(process), process.memory_full_info().uss / 1e6, process.num_fds(),
                        process.num_threads(),
                    )  # fmt: skip
                self.samples.append(sample)
        with contextlib.suppress(sqlite3.OperationalError), self._asked() as ledger:
            self.ended |= dict(ledger.execute(f"SELECT id, status FROM jobs WHERE status IN {ENDED}"))
            there = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in sorted(there):
                [(count,)] = ledger.execute(f'SELECT count(*) FROM "{table}"')
                self.rows.setdefault(f"rows of {table}", []).append((at_s, float(count)))
        for name, folder in (("MB of blobs", "blobs"), ("MB of scratch", "scratch")):
            self.rows.setdefault(name, []).append((at_s, _bytes(self._server.home.data / folder) / 1e6))
        size = sum(path.stat().st_size for path in self._ledger.parent.glob("springtide.db*")) / 1e6
        self.rows.setdefault("MB of the ledger", []).append((at_s, size))

    def unended(self) -> int:
        with self._asked() as ledger:
            return int(ledger.execute(f"SELECT count(*) FROM jobs WHERE status NOT IN {ENDED}").fetchone()[0])

    def verdicts(self) -> list[Verdict]:
        """Of memory and files, by role; and of what is kept."""
        since_s = WARM * self.now_s
        is_long = self.now_s >= LONG_S
        most_mb = MOST_MB_AN_HOUR * (self.now_s - since_s) / HOUR_S if is_long else MOST_MB
        found: list[Verdict] = []
        for role in ROLES:
            series = self._longest(role, since_s)
            memory = [(one.at_s, one.uss_mb) for one in series]
            found += [
                flat(f"memory of {role}, MB", memory, most_mb, 0.0 if is_long else MOST_SHARE),
                flat(f"open files of {role}", [(one.at_s, float(one.files)) for one in series], MOST_FILES, 0.0),
                flat(f"threads of {role}", [(one.at_s, float(one.threads)) for one in series], MOST_FILES, 0.0),
            ]
        return found

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """(minutes, MB) every two minutes, the median of the looks: of each role the one that speaks for it."""
        found: dict[str, list[tuple[float, float]]] = {}
        for role in ROLES:
            parts: dict[int, list[float]] = {}
            for one in self._longest(role, 0.0):
                parts.setdefault(int(one.at_s / CURVE_S), []).append(one.uss_mb)
            found[role] = [(number * CURVE_S / 60, round(median(parts[number]), 2)) for number in sorted(parts)]
        return found

    def kept(self, name: str) -> Trend | None:
        """How rows or bytes went in the second half."""
        points = self.rows.get(name, [])
        return trend([point for point in points if point[0] > self.now_s / 2])

    def _longest(self, role: str, since_s: float) -> list[Sample]:
        lives: dict[int, list[Sample]] = {}
        for one in self.samples:
            if one.role == role and one.at_s >= since_s:
                lives.setdefault(one.pid, []).append(one)
        return max(lives.values(), key=len, default=[])

    def _below(self) -> list[int]:
        with contextlib.suppress(psutil.Error):
            return [one.pid for one in psutil.Process(self._server.pid).children(recursive=True)]
        return []

    @contextlib.contextmanager
    def _asked(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(f"file:{self._ledger}?mode=ro", uri=True, timeout=5)) as ledger:
            yield ledger


def flat(what: str, points: list[tuple[float, float]], most: float, share: float) -> Verdict:
    found = trend(points)
    if found is None:
        return Verdict(what=what, figures={}, said="too few looks", good=False)
    allowed = max(most, share * found.median)
    good = found.grown <= allowed
    said = (
        f"{found.median:.1f}, {found.per_hour:+.2f} an hour [{found.low:+.2f} to {found.high:+.2f}]; over this soak "
        f"{found.grown:+.2f} of {allowed:.1f} allowed"
    )
    figures = {"median": found.median, "per_hour": found.per_hour, "low": found.low, "high": found.high}
    return Verdict(what=what, figures={**figures, "grown": found.grown}, said=said, good=good)


def _bytes(folder: Path) -> int:
    """Folders of attempts come and go while they are looked at; `Path.rglob` fails on the first that has gone."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(where, name).stat().st_size
    return total

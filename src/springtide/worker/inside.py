"""The runs that an engine's process has: which of them have begun, since when, and which go on though nobody waits for
them any more."""

from __future__ import annotations

import asyncio

from springtide.worker.run import Run


class Inside:
    """Runs by their number in the child."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.ghosts: dict[int, Run] = {}  # reported as cancelled, and not heeding it
        self.occupied = asyncio.Event()
        self._running: tuple[int, ...] = ()
        self._began_s: dict[int, float] = {}  # of each that runs
        self._last_seq = 0

    def add(self, run: Run) -> None:
        """Give it its number."""
        self._last_seq += 1
        run.seq = self._last_seq
        self.runs[run.seq] = run
        self.occupied.set()

    def see_running(self, seqs: tuple[int, ...], since_s: float) -> None:
        """These run now; those of them that are news, since `since_s` (monotonic)."""
        if seqs != self._running:
            self._running = seqs
            self._began_s = {seq: self._began_s.get(seq, since_s) for seq in seqs}

    def running(self) -> list[Run]:
        return [self.runs[seq] for seq in self._running if seq in self.runs]

    def ends_s(self, run: Run) -> float:
        """When the time of one that runs is over."""
        return self._began_s[run.seq] + run.timeout_s

    def forsake(self, run: Run) -> None:
        self.ghosts[run.seq] = self.runs.pop(run.seq)

    def settle(self) -> None:
        """After some have ended."""
        if not self.runs and not self.ghosts:
            self.occupied.clear()

    def empty(self) -> tuple[list[Run], list[Run]]:
        """The process has died: what was in it, runs and ghosts."""
        gone = list(self.runs.values()), list(self.ghosts.values())
        self.runs, self.ghosts = {}, {}
        self.occupied.clear()
        return gone

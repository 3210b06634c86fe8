"""The child's way out: results and progress of many tasks gathered into few frames.

Promises: a result leaves within FLUSH_S of being known, also while the engine computes; progress leaves at most every
PROGRESS_EVERY_S a task, the first call's and the last one's always; a task's progress never leaves after its result.
"""

from __future__ import annotations

import os
import socket
import threading
import time

from springtide.worker.frames import FromChild, Report, TaskResult, encode

FLUSH_S = 0.002  # long enough to gather a few dozen no-op jobs, short against anything a person waits for
PROGRESS_EVERY_S = 0.1  # ten a second a job: the platform's promise to its event streams


class Outbox:
    """Used by the engine's thread and the reader's thread; a thread of its own sends what has waited long enough."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._state = threading.Condition()
        self._sending = threading.Lock()  # frames go out whole and in order
        self._results: list[TaskResult] = []
        self._progress: dict[int, tuple[float, str | None, str | None]] = {}
        self._progress_due: dict[int, float] = {}
        self._running: list[int] = []
        self._running_since = 0.0
        self._due: float | None = None
        self._flushed_at = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def begin(self, seqs: list[int]) -> None:
        """These tasks run from now on."""
        with self._state:
            self._running = seqs
            self._running_since = time.monotonic()
            self._wake_by(self._running_since + FLUSH_S)

    def progress(self, seq: int, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        """Sent from the engine's own thread where it is due: what comes next may not let another thread run."""
        with self._state:
            unsent = self._progress.get(seq, (0.0, None, None))[2]
            if checkpoint is not None and unsent is not None:
                os.unlink(unsent)  # noqa: PTH108 - as text, as everywhere on this way
            self._progress[seq] = (fraction, stage, checkpoint or unsent)
            due = max(self._progress_due.get(seq, 0.0), self._flushed_at + FLUSH_S)
            is_due = due <= time.monotonic()
            if not is_due:
                self._wake_by(due)
        if is_due:
            self.flush()

    def result(self, *results: TaskResult) -> None:
        """Those given at once leave in one report."""
        with self._state:
            self._results += results
            self._wake_by(time.monotonic() + FLUSH_S)

    def idle(self) -> None:
        """Nothing runs and nothing waits: send what there is at once."""
        with self._state:
            self._running = []
        self.flush()

    def send(self, message: FromChild) -> None:
        self._write(encode(message))

    def flush(self) -> None:
        with self._sending:
            with self._state:
                report = self._take()
            self._write(encode(report))

    def _take(self) -> Report:
        now = self._flushed_at = time.monotonic()
        self._due = None
        ended = {result.seq for result in self._results}
        progress: list[tuple[int, float, str | None, str | None]] = []
        for seq, (fraction, stage, checkpoint) in list(self._progress.items()):
            due = self._progress_due.get(seq, 0.0)
            if due > now and seq not in ended:
                self._wake_by(due)
                continue
            del self._progress[seq]
            progress.append((seq, fraction, stage, checkpoint))
            self._progress_due[seq] = now + PROGRESS_EVERY_S
        for seq in ended:
            self._progress_due.pop(seq, None)
        results, self._results = self._results, []
        running_s = now - self._running_since if self._running else 0.0
        return Report(self._running, running_s, progress, results)

    def _wake_by(self, instant: float) -> None:
        if self._due is None or instant < self._due:
            self._due = instant
            self._state.notify()

    def _run(self) -> None:
        while True:
            with self._state:
                while True:
                    wait_s = None if self._due is None else self._due - time.monotonic()
                    if wait_s is not None and wait_s <= 0:
                        break
                    self._state.wait(wait_s)
            self.flush()

    def _write(self, frame: bytes) -> None:
        try:
            self._sock.sendall(frame)
        except OSError:
            os._exit(0)  # the worker is gone: nobody wants the result

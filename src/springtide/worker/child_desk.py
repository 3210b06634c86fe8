"""What a child process has been given to do: tasks that wait, those that have begun, each one's line to the outside.

The reader's thread puts and cancels, the threads that run take. Promises that a task has one owner: whoever takes it
runs it, and whoever cancels or withdraws it before that answers for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from springtide.engines.protocol import Cancelled
from springtide.worker.frames import Task, TaskResult
from springtide.worker.outbox import Outbox
from springtide.worker.outcome import keep_checkpoint


class TaskProgress:
    """`engines.protocol.Progress` of one task."""

    __slots__ = (
        "_checkpoint",
        "_folder",
        "_kept",
        "_outbox",
        "_seq",
        "_traceparent",
        "has_folder",
        "is_cancelled",
        "may_raise",
        "was_stopped",
    )

    def __init__(self, task: Task, outbox: Outbox, *, may_raise: bool) -> None:
        self._seq = task.seq
        self._folder = task.folder
        self._checkpoint = task.checkpoint
        self._traceparent = task.traceparent
        self._kept = 0
        self._outbox = outbox
        self.has_folder = False  # asked for, and so made: nobody else tells the engine where it is
        self.is_cancelled = False
        self.was_stopped = False
        self.may_raise = may_raise  # not in a batch: it would stop the others too

    @property
    def traceparent(self) -> str | None:
        return self._traceparent

    @property
    def folder(self) -> Path:
        path = Path(self._folder)
        path.mkdir(parents=True, exist_ok=True)
        self.has_folder = True
        return path

    @property
    def checkpoint(self) -> Path | None:
        return None if self._checkpoint is None else Path(self._checkpoint)

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        if self.is_cancelled and self.may_raise:
            self.was_stopped = True
            raise Cancelled
        kept = None
        if checkpoint is not None:
            self._kept += 1
            kept = keep_checkpoint(checkpoint, self._folder, self._kept)
        share = float(fraction)
        self._outbox.progress(self._seq, min(max(share, 0.0), 1.0) if share == share else 0.0, stage, kept)


class Desk:
    """Tasks from their coming to their end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: dict[int, Task] = {}  # popping from it is taking: no two threads can
        self._begun: dict[int, TaskProgress] = {}
        self._cancelled: set[int] = set()  # asked for while the task was on its way from one to the other

    # --- the reader's thread ------------------------------------------------------------------------------------

    def put(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._waiting[task.seq] = task

    def cancel(self, seq: int) -> None:
        """At once where it has not begun, else at its next progress."""
        if self._waiting.pop(seq, None) is not None:
            self._outbox.result(TaskResult(seq, cancelled=True))
            return
        self._cancelled.add(seq)
        progress = self._begun.get(seq)
        if progress is not None:
            progress.is_cancelled = True

    def withdraw(self) -> None:
        """Hand back what has not begun."""
        for seq in list(self._waiting):
            if self._waiting.pop(seq, None) is not None:
                self._outbox.result(TaskResult(seq, unbegun=True))

    # --- threads that run ---------------------------------------------------------------------------------------

    def look_at(self, seq: int) -> Task | None:
        """A task that waits; None where it was cancelled or withdrawn. It may still be, until it is taken."""
        return self._waiting.get(seq)

    def take(self, seq: int) -> Task | None:
        return self._waiting.pop(seq, None)

    def begin(self, task: Task, *, may_raise: bool) -> TaskProgress:
        """may_raise: a cancel may stop the run."""
        progress = TaskProgress(task, self._outbox, may_raise=may_raise)
        self._begun[task.seq] = progress
        if task.seq in self._cancelled:
            progress.is_cancelled = True
        return progress

    def end(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            self._begun.pop(seq, None)
            self._cancelled.discard(seq)

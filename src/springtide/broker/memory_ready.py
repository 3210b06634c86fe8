"""Which job is served next: the embedded broker's queue discipline, and nothing else.

The order is priority class, then time of acceptance. Fair share between tenants and ageing belong here and only here.
Promises: every operation O(log n), but for `ahead_of`. A job that comes back (retry, release, lost worker) gets the
place it had.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from springtide.domain.ids import WorkerId
from springtide.domain.job import JobStatus, Priority
from springtide.domain.lease import Ticket

SPARE = 64  # heaps below this size are not worth tidying


class Entry:
    """A live job, as the embedded broker holds it. Its queue changes it in place."""

    __slots__ = (
        "attempt",
        "expires_at_s",
        "fraction",
        "is_ready",
        "retry_at_s",
        "serial",
        "stage",
        "started_at_s",
        "status",
        "ticket",
        "worker",
    )

    def __init__(self, ticket: Ticket, serial: int) -> None:
        self.ticket = ticket
        self.serial = serial  # breaks ties between jobs accepted at the same time
        self.status = JobStatus.QUEUED
        self.attempt = ticket.attempt
        self.is_ready = False  # in the ready queue
        self.retry_at_s: float | None = None  # set while it waits for its back-off
        self.worker: WorkerId | None = None
        self.started_at_s: float | None = None
        self.expires_at_s = 0.0  # of the lease, where one is in force
        self.fraction: float | None = None
        self.stage: str | None = None


class LazyHeap:
    """Entries by time. Those no longer `wanted` are skipped when they come up, and swept out when the heap has doubled,
    so taking an entry out of the middle costs nothing and leaks nothing."""

    def __init__(self, wanted: Callable[[Entry], bool]) -> None:
        self._wanted = wanted
        self._items: list[tuple[float, int, Entry]] = []
        self._tidy_at = SPARE

    def push(self, at_s: float, entry: Entry) -> None:
        if len(self._items) >= self._tidy_at:
            self._items = [item for item in self._items if self._wanted(item[2])]
            heapify(self._items)
            self._tidy_at = 2 * len(self._items) + SPARE
        heappush(self._items, (at_s, entry.serial, entry))

    def first(self) -> Entry | None:
        """The earliest wanted entry."""
        while self._items:
            entry = self._items[0][2]
            if self._wanted(entry):
                return entry
            heappop(self._items)
        return None

    def pop(self) -> None:
        """Take away what `first` gave."""
        heappop(self._items)

    def pop_due(self, now_s: float) -> Entry | None:
        """Take the earliest wanted entry whose time has come."""
        entry = self.first()
        if entry is None or self._items[0][0] > now_s:
            return None
        heappop(self._items)
        return entry

    def wanted(self) -> list[Entry]:
        """Every wanted entry, in no order."""
        return [entry for _, _, entry in self._items if self._wanted(entry)]


class ReadyQueue:
    """Jobs that may be leased now."""

    def __init__(self) -> None:
        self._classes = {priority: LazyHeap(_is_ready) for priority in Priority}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, entry: Entry) -> None:
        entry.is_ready = True
        self._count += 1
        self._classes[entry.ticket.priority].push(entry.ticket.enqueued_at_s, entry)

    def pop(self, now_s: float, min_wait_s: float) -> Entry | None:
        """The job whose turn it is, of those that have waited `min_wait_s`."""
        for heap in self._classes.values():
            entry = heap.first()
            # The head of a class is its oldest job: where it is too young, so are all behind it.
            if entry is None or (min_wait_s > 0 and entry.ticket.enqueued_at_s + min_wait_s > now_s):
                continue
            heap.pop()
            entry.is_ready = False
            self._count -= 1
            return entry
        return None

    def discard(self, entry: Entry) -> None:
        if entry.is_ready:
            entry.is_ready = False
            self._count -= 1

    def ahead_of(self, entry: Entry) -> int:
        """How many jobs are served before this one. O(n)."""
        ahead = 0
        for priority, heap in self._classes.items():
            if priority == entry.ticket.priority:
                return ahead + sum(_place(other) < _place(entry) for other in heap.wanted())
            ahead += len(heap.wanted())
        return ahead

    def oldest_at_s(self) -> float | None:
        """When the job that has waited longest was accepted."""
        heads = [head.ticket.enqueued_at_s for heap in self._classes.values() if (head := heap.first()) is not None]
        return min(heads, default=None)


def _is_ready(entry: Entry) -> bool:
    return entry.is_ready


def _place(entry: Entry) -> tuple[float, int]:
    return entry.ticket.enqueued_at_s, entry.serial

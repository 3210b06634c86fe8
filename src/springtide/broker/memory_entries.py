"""What the embedded broker's queue is made of: a live job, and a heap from which jobs may be taken out anywhere."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from springtide.domain.ids import WorkerId
from springtide.domain.job import JobStatus
from springtide.domain.lease import Ticket

SPARE = 64  # heaps below this size are not worth tidying
SAMPLE = 256  # entries looked at to tell a place in the order; beyond, the place is an estimate


class Entry:
    """A live job, as the embedded broker holds it. Its queue changes it in place."""

    __slots__ = (
        "attempt",
        "checkpoint",
        "expires_at_s",
        "fraction",
        "given_back",
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
        self.given_back = 0  # the attempt that was granted and came back unspent
        self.is_ready = False  # in the ready queue
        self.retry_at_s: float | None = None  # set while it waits for its back-off
        self.worker: WorkerId | None = None
        self.started_at_s: float | None = None
        self.expires_at_s = 0.0  # of the lease, where one is in force
        self.fraction: float | None = None
        self.stage: str | None = None
        self.checkpoint = ticket.checkpoint


class LazyHeap:
    """Entries by a number, such as a time. Those no longer `wanted` are skipped when they come up, and swept out when
    the heap has doubled, so taking an entry out of the middle costs nothing and leaks nothing."""

    __slots__ = ("_items", "_tidy_at", "_wanted")

    def __init__(self, wanted: Callable[[Entry], bool]) -> None:
        self._wanted = wanted
        self._items: list[tuple[float, int, Entry]] = []
        self._tidy_at = SPARE

    def push(self, at: float, entry: Entry) -> None:
        if len(self._items) >= self._tidy_at:
            self._items = [item for item in self._items if self._wanted(item[2])]
            heapify(self._items)
            self._tidy_at = 2 * len(self._items) + SPARE
        heappush(self._items, (at, entry.serial, entry))

    def first(self) -> Entry | None:
        """The lowest wanted entry."""
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

    def move(self, after: float, by: float) -> list[Entry]:
        """Move every entry beyond `after`; gives those that are wanted."""
        moved = [item for item in self._items if item[0] > after]
        self._items = [(at + by if at > after else at, serial, entry) for at, serial, entry in self._items]
        heapify(self._items)
        return [entry for _, _, entry in moved if self._wanted(entry)]

    def share_below(self, at: float, serial: int) -> float:
        """The share of wanted entries that come before this place. From every n-th entry where there are many: a heap's
        array knows no order in which that could mislead."""
        step = len(self._items) // SAMPLE + 1
        sample = [(item[0], item[1]) for item in self._items[::step] if self._wanted(item[2])]
        return sum(place < (at, serial) for place in sample) / len(sample) if sample else 0.0

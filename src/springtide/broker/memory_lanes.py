"""One priority class in the embedded broker: its tenants take turns by start-time fair queueing (`policy.fairness`).

A lane holds a tenant's ready jobs. It is open while the tenant may have more running; only open lanes take turns.
Every operation is O(log n); reading ahead looks at no more than SPARE_LOOKS lanes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from springtide.broker.memory_entries import SPARE, Entry, LazyHeap
from springtide.domain.ids import TenantId
from springtide.policy.fairness import SPARE_LOOKS, jobs_ahead, next_tag, order_key, start_tag


class Lane:
    """One tenant's ready jobs of one class."""

    __slots__ = ("count", "heap", "is_open", "tag", "tenant", "weight")

    def __init__(self, tenant: TenantId) -> None:
        self.tenant = tenant
        self.heap = LazyHeap(_is_ready)
        self.count = 0
        self.tag = 0.0
        self.weight = 1.0
        self.is_open = False


class PriorityClass:
    """The lanes of one class."""

    def __init__(self) -> None:
        self.count = 0  # ready jobs, those behind closed lanes included
        self._virtual_s = 0.0
        self._lanes: dict[TenantId, Lane] = {}
        self._turns: list[tuple[float, TenantId, Lane]] = []  # a heap; an item whose lane moved on is skipped
        self._open_weight = 0.0
        self._tidy_at = SPARE

    @property
    def has_turn(self) -> bool:
        """Whether some tenant may start a job now."""
        return self._next_lane() is not None

    def push(self, entry: Entry, *, weight: float, may_run: bool) -> None:
        tenant = entry.ticket.tenant
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = Lane(tenant)
        lane.heap.push(_key(entry), entry)
        lane.count += 1
        self.count += 1
        if may_run and not lane.is_open:
            self._open(lane, weight)

    def discard(self, entry: Entry) -> None:
        """A ready job is gone, other than by `pop`."""
        lane = self._lanes[entry.ticket.tenant]
        lane.count -= 1
        self.count -= 1
        if lane.count == 0:
            self._close(lane)
            self._tidy()

    def pop(self, now_s: float, min_wait_s: float) -> Entry | None:
        """The next job of the tenant whose turn it is. A tenant whose next job has not waited `min_wait_s` is passed
        over and keeps its turn."""
        passed: list[tuple[float, TenantId, Lane]] = []
        found: Entry | None = None
        while len(passed) <= SPARE_LOOKS and (lane := self._next_lane()) is not None:
            entry = lane.heap.first()
            assert entry is not None
            turn = heappop(self._turns)
            if min_wait_s > 0 and entry.ticket.enqueued_at_s + min_wait_s > now_s:
                passed.append(turn)
                continue
            self._serve(lane, entry)
            found = entry
            break
        for turn in passed:
            heappush(self._turns, turn)
        return found

    def set_open(self, tenant: TenantId, *, weight: float, may_run: bool) -> None:
        """The tenant's weight or its room to run has changed."""
        lane = self._lanes.get(tenant)
        if lane is None:
            return
        self._close(lane)
        if may_run and lane.count > 0:
            self._open(lane, weight)

    def ahead_of(self, entry: Entry) -> int:
        lane = self._lanes[entry.ticket.tenant]
        rank = round(lane.heap.share_below(_key(entry), entry.serial) * lane.count)
        others_weight = self._open_weight - (lane.weight if lane.is_open else 0.0)
        return jobs_ahead(rank, weight=lane.weight, others_weight=others_weight, others=self.count - lane.count)

    def _serve(self, lane: Lane, entry: Entry) -> None:
        lane.heap.pop()
        lane.count -= 1
        self.count -= 1
        self._virtual_s = max(self._virtual_s, lane.tag)
        lane.tag = next_tag(lane.tag, entry.ticket.predicted_s, lane.weight)
        if lane.count > 0:
            heappush(self._turns, (lane.tag, lane.tenant, lane))
        else:
            self._close(lane)
            self._tidy()

    def _next_lane(self) -> Lane | None:
        while self._turns:
            tag, _, lane = self._turns[0]
            if lane.is_open and lane.tag == tag:
                return lane
            heappop(self._turns)
        return None

    def _open(self, lane: Lane, weight: float) -> None:
        lane.is_open, lane.weight = True, weight
        lane.tag = start_tag(self._virtual_s, lane.tag)
        self._open_weight += weight
        if len(self._turns) > 2 * len(self._lanes) + SPARE:
            self._turns = [(one.tag, one.tenant, one) for one in self._lanes.values() if one.is_open]
            heapify(self._turns)
        else:
            heappush(self._turns, (lane.tag, lane.tenant, lane))

    def _close(self, lane: Lane) -> None:
        if lane.is_open:
            lane.is_open = False
            self._open_weight -= lane.weight

    def _tidy(self) -> None:
        """Forget tenants that are gone: all of them once nobody waits, else those whose tag has been caught up with."""
        if self.count == 0:
            self._lanes.clear()
            self._turns.clear()
            self._virtual_s = self._open_weight = 0.0
        elif len(self._lanes) > self._tidy_at:
            kept = {t: lane for t, lane in self._lanes.items() if lane.count or lane.tag > self._virtual_s}
            self._lanes = kept
            self._tidy_at = 2 * len(kept) + SPARE


def _key(entry: Entry) -> float:
    return order_key(entry.ticket.enqueued_at_s, entry.ticket.predicted_s)


def _is_ready(entry: Entry) -> bool:
    return entry.is_ready

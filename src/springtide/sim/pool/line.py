"""The queue of one simulated model: tenants by weight, shortest predicted first with ageing (policy/fairness.py)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from springtide.policy.fairness import next_tag, order_key, start_tag
from springtide.sim.pool.jobs import Jobs


class Line:
    """Jobs that wait, by number; `in_order` instead serves them as they came."""

    def __init__(self, jobs: Jobs, *, weights: Sequence[float] = (), in_order: bool = False) -> None:
        self._at, self._predicted, self._tenant = jobs.at_s, jobs.predicted_s, jobs.tenant
        self._weights = list(weights) or [1.0] * len(jobs.tenants)
        self._in_order = in_order
        self._alone: list[tuple[float, int]] = []
        self._shared: dict[int, list[tuple[float, int]]] = {}
        self._turns: list[tuple[float, int]] = []  # (tag, tenant) of those who wait
        self._tags: dict[int, float] = {}
        self._virtual_s = 0.0
        self._one = len(jobs.tenants) <= 1 or in_order or not jobs.tenant
        self.count = 0
        self.work_s = 0.0

    def push(self, job: int) -> None:
        predicted_s = self._predicted[job]
        self.count += 1
        self.work_s += predicted_s
        key = self._at[job] if self._in_order else order_key(self._at[job], predicted_s)
        if self._one:
            heapq.heappush(self._alone, (key, job))
            return
        tenant = self._tenant[job]
        mine = self._shared.setdefault(tenant, [])
        if not mine:
            tag = start_tag(self._virtual_s, self._tags.get(tenant, 0.0))
            self._tags[tenant] = tag
            heapq.heappush(self._turns, (tag, tenant))
        heapq.heappush(mine, (key, job))

    def ahead(self, job: int) -> tuple[int, float]:
        """Jobs of all tenants that would be served before this one, and their work: by their keys alone."""
        key = order_key(self._at[job], self._predicted[job])
        waiting = self._alone if self._one else [one for mine in self._shared.values() for one in mine]
        before = [other for place, other in waiting if place < key]
        return len(before), sum(self._predicted[other] for other in before)

    def pop(self) -> int:
        self.count -= 1
        if self._one:
            job = heapq.heappop(self._alone)[1]
        else:
            tag, tenant = heapq.heappop(self._turns)
            mine = self._shared[tenant]
            job = heapq.heappop(mine)[1]
            self._virtual_s = tag
            self._tags[tenant] = next_tag(tag, self._predicted[job], self._weights[tenant])
            if mine:
                heapq.heappush(self._turns, (self._tags[tenant], tenant))
        self.work_s = self.work_s - self._predicted[job] if self.count else 0.0
        return job

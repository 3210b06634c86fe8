"""Which job is served next: the embedded broker's queue discipline (`policy.fairness`), and nothing else.

Promises: no limit is ever passed; a tenant at its limit holds up nobody. A job that comes back (retry, release, lost
worker) gets the place it had. Every operation is O(log n).
"""

from __future__ import annotations

from springtide.broker.memory_entries import Entry, LazyHeap
from springtide.broker.memory_lanes import PriorityClass
from springtide.domain.fleet import TenantLoad
from springtide.domain.ids import TenantId
from springtide.domain.job import Priority
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.fairness import class_order


class _Account:
    """What a tenant has here, and what it may have."""

    __slots__ = ("max_running", "running", "waiting", "weight")

    def __init__(self, tenant: Tenant | None) -> None:
        self.waiting = 0
        self.running = 0
        self.limit(tenant)

    def limit(self, tenant: Tenant | None) -> None:
        self.weight = 1.0 if tenant is None else tenant.weight
        self.max_running = None if tenant is None else tenant.max_running

    @property
    def may_run(self) -> bool:
        return self.max_running is None or self.running < self.max_running


class ReadyQueue:
    """Jobs that may be leased now, and how many each tenant has waiting and running."""

    def __init__(self) -> None:
        self._classes = {priority: PriorityClass() for priority in Priority}
        self._oldest = LazyHeap(_is_ready)
        self._discipline = Discipline()
        self._tenants: dict[TenantId, Tenant] = {}
        self._accounts: dict[TenantId, _Account] = {}
        self._count = 0
        self._running = 0
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    @property
    def has_work(self) -> bool:
        """Whether a job may be leased now, within all limits."""
        if self._count == 0 or not self._has_room:
            return False
        return any(one.has_turn for one in self._classes.values())

    def configure(self, discipline: Discipline) -> bool:
        """From now on, for those who wait too. False where nothing changed."""
        if discipline == self._discipline:
            return False
        self._discipline = discipline
        self._tenants = {tenant.id: tenant for tenant in discipline.tenants}
        for tenant, account in self._accounts.items():
            account.limit(self._tenants.get(tenant))
            self._set_open(tenant, account)
        return True

    # --- waiting ----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """A job waits; where it waits for a retry's time, it is not ready yet."""
        account = self._account(entry.ticket.tenant)
        account.waiting += 1
        if entry.retry_at_s is None:
            self._push(entry, account)

    def promote(self, entry: Entry) -> None:
        """A job that has been added is ready now."""
        self._push(entry, self._accounts[entry.ticket.tenant])

    def remove(self, entry: Entry) -> None:
        """A job waits no longer: `pop` gave it, or it has ended."""
        if entry.is_ready:
            entry.is_ready = False
            self._count -= 1
            self._classes[entry.ticket.priority].discard(entry)
        account = self._accounts[entry.ticket.tenant]
        account.waiting -= 1
        self._forget_idle(entry.ticket.tenant, account)

    def pop(self, now_s: float, min_wait_s: float) -> Entry | None:
        """The job whose turn it is, of those that have waited `min_wait_s`. `remove` and `started` must follow."""
        if self._count == 0 or not self._has_room:
            return None
        for priority in class_order(self._turn):
            one = self._classes[priority]
            entry = one.pop(now_s, min_wait_s) if one.count else None
            if entry is not None:
                entry.is_ready = False
                self._count -= 1
                self._turn += 1
                return entry
        return None

    # --- running ----------------------------------------------------------------------------------------------------

    def started(self, tenant: TenantId) -> None:
        account = self._account(tenant)
        account.running += 1
        self._running += 1
        if not account.may_run:
            self._set_open(tenant, account)

    def stopped(self, tenant: TenantId) -> bool:
        """An attempt has ended. True where that made room under a limit that was reached."""
        made_room = not self._has_room
        account = self._accounts[tenant]
        could_run = account.may_run
        account.running -= 1
        self._running -= 1
        if not could_run and account.may_run:
            self._set_open(tenant, account)
            made_room = True
        self._forget_idle(tenant, account)
        return made_room

    # --- looking ----------------------------------------------------------------------------------------------------

    def ahead_of(self, entry: Entry) -> int:
        """About how many jobs are leased before this one: see `policy.fairness.jobs_ahead`."""
        ahead = 0
        for priority, one in self._classes.items():
            if priority == entry.ticket.priority:
                return ahead + one.ahead_of(entry)
            ahead += one.count
        return ahead

    def oldest_at_s(self) -> float | None:
        """When the job that has waited longest was accepted."""
        oldest = self._oldest.first()
        return None if oldest is None else oldest.ticket.enqueued_at_s

    def loads(self) -> tuple[TenantLoad, ...]:
        """What each tenant has here."""
        return tuple(
            TenantLoad(tenant=tenant, queued=account.waiting, running=account.running)
            for tenant, account in self._accounts.items()
        )

    # --- steps ------------------------------------------------------------------------------------------------------

    def _push(self, entry: Entry, account: _Account) -> None:
        entry.is_ready = True
        self._count += 1
        ticket = entry.ticket
        self._classes[ticket.priority].push(entry, weight=account.weight, may_run=account.may_run)
        self._oldest.push(ticket.enqueued_at_s, entry)

    @property
    def _has_room(self) -> bool:
        return self._discipline.max_running is None or self._running < self._discipline.max_running

    def _account(self, tenant: TenantId) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = _Account(self._tenants.get(tenant))
        return account

    def _forget_idle(self, tenant: TenantId, account: _Account) -> None:
        if account.waiting == 0 and account.running == 0:
            del self._accounts[tenant]

    def _set_open(self, tenant: TenantId, account: _Account) -> None:
        for one in self._classes.values():
            one.set_open(tenant, weight=account.weight, may_run=account.may_run)


def _is_ready(entry: Entry) -> bool:
    return entry.is_ready

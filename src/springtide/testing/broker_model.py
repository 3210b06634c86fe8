"""What a broker should do, said the long way: a list of jobs that is looked through from end to end each time.

Slow, and simple enough to be right; the suite compares every answer of a broker with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from springtide.broker.protocol import TOMBSTONE_S
from springtide.domain.ids import JobId, TenantId, WorkerId
from springtide.domain.job import JobEvent, JobStatus, Priority, advance
from springtide.domain.lease import LEASE_TTL_S, Held, Outcome
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.fairness import LEAST_COST_S, class_order, order_key

TENANTS = tuple(map(TenantId, ("acme", "beta", "crow")))

Fact = tuple[JobId, JobStatus, int, WorkerId | None, str | None]
_S, _E = JobStatus, JobEvent


@dataclass
class Expected:
    """A job as the model sees it."""

    id: JobId
    tenant: TenantId
    priority: Priority
    enqueued_at_s: float
    predicted_s: float
    max_attempts: int
    status: JobStatus = _S.QUEUED
    attempt: int = 0
    worker: WorkerId | None = None
    due_at_s: float = 0.0
    expires_at_s: float = 0.0
    forget_at_s: float | None = None
    given_back: int = 0
    recorded: int = 0  # the last attempt that the ledger knows of


@dataclass
class Model:
    """What a broker should do, said the long way."""

    jobs: dict[JobId, Expected] = field(default_factory=dict[JobId, Expected])
    facts: list[Fact] = field(default_factory=list[Fact])
    discipline: Discipline = field(default_factory=Discipline)
    turn: int = 0
    reaped_at_s: float = float("-inf")
    promoted: set[JobId] = field(default_factory=set[JobId])  # ready; the others wait until a lease or a reap looks
    virtual_s: dict[Priority, float] = field(default_factory=lambda: dict.fromkeys(Priority, 0.0))
    tags: dict[tuple[Priority, TenantId], float] = field(default_factory=dict[tuple[Priority, TenantId], float])
    turns: set[tuple[Priority, TenantId]] = field(default_factory=set[tuple[Priority, TenantId]])

    def enqueue(self, new: Expected) -> bool:
        is_new = self.jobs.setdefault(new.id, new) is new
        self.settle()
        return is_new

    def configure(self, discipline: Discipline) -> None:
        self.discipline = discipline
        self.settle()

    def share(self, tenant: TenantId) -> Tenant:
        return next((one for one in self.discipline.tenants if one.id == tenant), Tenant(id=tenant))

    def running(self, tenant: TenantId | None = None) -> int:
        held = [one for one in self.jobs.values() if one.worker is not None and not one.status.is_terminal]
        return sum(tenant in (None, one.tenant) for one in held)

    def settle(self, now_s: float | None = None) -> None:
        """Who waits and may run has a turn, at the present virtual time if it is new there. A class in which nobody
        waits forgets everything."""
        for one in self.jobs.values():
            if one.status is not _S.QUEUED:
                self.promoted.discard(one.id)
            elif one.due_at_s == 0.0 or (now_s is not None and one.due_at_s <= now_s):
                self.promoted.add(one.id)
        for priority in Priority:
            waiting = {one.tenant for one in self.ready(priority)}
            if not waiting:
                self.virtual_s[priority] = 0.0
                self.tags = {key: tag for key, tag in self.tags.items() if key[0] is not priority}
            for tenant in TENANTS:
                key, most = (priority, tenant), self.share(tenant).max_running
                if tenant not in waiting or (most is not None and self.running(tenant) >= most):
                    self.turns.discard(key)
                elif key not in self.turns:
                    self.turns.add(key)
                    self.tags[key] = max(self.virtual_s[priority], self.tags.get(key, 0.0))

    def ready(self, priority: Priority) -> list[Expected]:
        return [one for one in self.jobs.values() if one.id in self.promoted and one.priority is priority]

    def lease(self, worker: WorkerId, max_jobs: int, now_s: float) -> list[Held]:
        granted: list[Held] = []
        self.settle(now_s)
        while len(granted) < max_jobs and (one := self.next_job()) is not None:
            one.status, one.worker, one.attempt = advance(one.status, _E.LEASED), worker, one.attempt + 1
            one.expires_at_s = now_s + LEASE_TTL_S
            granted.append(Held(one.id, one.attempt))
            self.settle()
        return granted

    def next_job(self) -> Expected | None:
        most = self.discipline.max_running
        if most is not None and self.running() >= most:
            return None
        for priority in class_order(self.turn):
            turns = [(self.tags[key], key[1]) for key in self.turns if key[0] is priority]
            if turns:
                tag, tenant = min(turns)
                lane = [one for one in self.ready(priority) if one.tenant == tenant]
                one = min(lane, key=lambda one: order_key(one.enqueued_at_s, one.predicted_s))
                self.virtual_s[priority] = max(self.virtual_s[priority], tag)
                self.tags[priority, tenant] = tag + max(one.predicted_s, LEAST_COST_S) / self.share(tenant).weight
                self.turn += 1
                return one
        return None

    def beat(self, worker: WorkerId, held: list[Held], now_s: float) -> tuple[set[JobId], set[JobId]]:
        mine = [one for item in held if (one := self.owned(worker, item, now_s)) is not None]
        for one in mine:
            one.expires_at_s = now_s + LEASE_TTL_S
        lost = {item.id for item in held} - {one.id for one in mine}
        return {one.id for one in mine if one.status is _S.CANCELLING}, lost

    def complete(self, worker: WorkerId, item: Held, now_s: float) -> bool:
        if (one := self.owned(worker, item, now_s)) is not None:
            return self._ends(one, _E.COMPLETED)
        won = self.jobs.get(item.id)
        return won is not None and (won.status, won.worker, won.attempt) == (_S.COMPLETED, worker, item.attempt)

    def fail(self, worker: WorkerId, item: Held, retry_after_s: float | None, now_s: float) -> bool:
        one = self.owned(worker, item, now_s)
        if one is None:
            return False
        retried = retry_after_s is not None and one.attempt < one.max_attempts
        due_at_s = now_s + retry_after_s if retry_after_s else 0.0
        return self._ends(one, _E.RETRIED if retried else _E.FAILED, "crashed", due_at_s)

    def release(self, worker: WorkerId, item: Held, now_s: float) -> bool:
        one = self.owned(worker, item, now_s)
        if one is None:
            return False
        if one.status is _S.CANCELLING:
            return self._ends(one, _E.RELEASED)
        one.status, one.worker, one.due_at_s = advance(one.status, _E.RELEASED), None, 0.0
        one.given_back, one.attempt = one.attempt, one.attempt - 1
        self.settle()
        return True

    def cancel(self, job: JobId) -> JobStatus | None:
        one = self.jobs.get(job)
        if one is None or one.status.is_terminal:
            return None if one is None else one.status
        if one.status is _S.QUEUED:
            self._ends(one, _E.CANCEL_REQUESTED)
        else:
            one.status = advance(one.status, _E.CANCEL_REQUESTED)
        return one.status

    def reap(self, now_s: float, *, left: WorkerId | None = None) -> set[JobId]:
        held = [one for one in self.jobs.values() if one.worker is not None and not one.status.is_terminal]
        if left is None:
            self.follow_clock(held, now_s)
        gone = [one for one in held if (one.worker == left if left else one.expires_at_s <= now_s)]
        for one in gone:
            self._ends(one, _E.LOST if one.attempt < one.max_attempts else _E.FAILED, "worker_lost")
        if left is None:
            self.settle(now_s)
            over = [one.id for one in self.jobs.values() if one.forget_at_s is not None and one.forget_at_s <= now_s]
            for job_id in over:
                del self.jobs[job_id]
        return {one.id for one in gone}

    def follow_clock(self, held: list[Expected], now_s: float) -> None:
        """Where the clock was set back, nobody waits for the old time to come round."""
        for one in held:
            one.expires_at_s = min(one.expires_at_s, now_s + LEASE_TTL_S)
        back_s = self.reaped_at_s - now_s
        for one in self.jobs.values():
            if back_s > LEASE_TTL_S / 2 and one.status is _S.QUEUED and one.due_at_s > self.reaped_at_s:
                one.due_at_s -= back_s
        self.reaped_at_s = now_s

    def ack(self, now_s: float) -> list[Fact]:
        facts, self.facts = self.facts, []
        for job_id, status, attempt, *_ in facts:
            self.jobs[job_id].recorded = attempt
            if status.is_terminal:
                self.jobs[job_id].forget_at_s = now_s + TOMBSTONE_S
        return facts

    def rebuild(self, noted: set[JobId], now_s: float) -> list[Expected]:
        """All is forgotten but what the ledger has: gives the jobs that are put back, those in `noted` as held."""
        old = [one for one in self.jobs.values() if one.forget_at_s is None]
        vars(self).update(vars(Model()))
        for one in old:
            new = Expected(one.id, one.tenant, one.priority, one.enqueued_at_s, one.predicted_s, one.max_attempts)
            new.attempt = new.recorded = one.recorded
            if one.id in noted:
                new.status, new.attempt, new.worker = _S.IN_PROGRESS, one.attempt, one.worker
                new.expires_at_s = now_s + LEASE_TTL_S
            self.enqueue(new)
        return list(self.jobs.values())

    def owned(self, worker: WorkerId, item: Held, now_s: float) -> Expected | None:
        one = self.jobs.get(item.id)
        if one is None or one.status.is_terminal:
            return None
        if (one.worker, one.attempt) == (worker, item.attempt):
            return one
        if one.status is _S.QUEUED and item.attempt == one.attempt + 1 and item.attempt != one.given_back:
            one.status, one.worker, one.attempt = advance(one.status, _E.LEASED), worker, item.attempt
            one.expires_at_s = now_s + LEASE_TTL_S
            self.settle()
            return one
        return None

    def _ends(self, one: Expected, event: JobEvent, code: str | None = None, due_at_s: float = 0.0) -> bool:
        """The attempt is over, and the job with it unless it goes back to the queue."""
        one.status, one.due_at_s = advance(one.status, event), due_at_s
        told = code if one.status in (_S.QUEUED, _S.FAILED) else None
        self.facts.append((one.id, one.status, one.attempt, one.worker, told))
        if one.status is _S.QUEUED:
            one.worker = None
        self.settle()
        return True


def fact(outcome: Outcome) -> Fact:
    """An outcome as the model tells it."""
    code = None if outcome.error is None or outcome.status is _S.CANCELLED else outcome.error.code
    return outcome.id, outcome.status, outcome.attempt, outcome.worker, code

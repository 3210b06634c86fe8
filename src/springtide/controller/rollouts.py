"""Watches rollouts: aborts a canary that is worse than the stable version, and moves what waits for an aborted one.

Observe (how first attempts came out, by the ledger) → decide (`policy.rollout.judge`) → write it down; gateways follow
the record. Never on a job's path: it looks every two seconds, and only while a rollout runs.

Promises: nothing that waits for an aborted version is lost or done twice: a job leaves that queue, then changes its
version on record, then enters the other queue. Where that is cut off before the record, the job is in no queue, and the
sweep leaves it to the next round here, so that no worker of the aborted version meets it once more; after the record
the sweep puts it where it belongs. Jobs whose callers named the version stay; what runs is finished. Any number of
these may run at once: of two that end a rollout one is told that it was too late.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.fleet import Decision
from springtide.domain.ids import JobId, ModelName, unit_name
from springtide.domain.job import Job
from springtide.domain.lease import LiveJob, Ticket
from springtide.domain.rollout import Compared, Retired, Rollout, RolloutState, newest
from springtide.domain.tickets import ticket_of
from springtide.ledger.history import FleetHistory, Scaled
from springtide.ledger.rollouts import Rollouts
from springtide.policy.rollout import Verdict, judge
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
JUDGE_EVERY_S = 2.0
SAMPLED_JOBS = 1000  # the newest of each version: a canary that turned bad late is not outvoted by its past
PAGE = 200
RECOVER_EVERY_S = 5.0  # as the sweep, for what neither queue has
SETTLE_S = 5.0  # as there: a younger job may be on its way into the queue
REASON = "ROLLOUT"  # of what is written into the history of a version's fleet


class RolloutGuard:
    """A service: `start`, `stop`."""

    def __init__(
        self,
        rollouts: Rollouts,
        broker: Broker,
        history: FleetHistory,
        clock: Clock,
        *,
        units: Collection[ModelName],
    ) -> None:
        """units: everything with a queue of its own, `name@version` among them."""
        self._record = rollouts
        self._broker = broker
        self._history = history
        self._clock = clock
        self._units = frozenset(units)
        self._has_versions = any("@" in unit for unit in units)
        self._changes: int | None = None
        self._rollouts: list[Rollout] = []
        self._judged_at_s = float("-inf")
        self._recovered_at_s: dict[ModelName, float] = {}
        self._loop = Loop("rollouts", self.look_once, every_s=LOOK_EVERY_S, clock=clock)

    async def start(self) -> None:
        if self._has_versions:
            await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    async def look_once(self) -> None:
        """One round over all rollouts."""
        await self._refresh()
        now_s = self._clock.monotonic_s()
        if now_s - self._judged_at_s >= JUDGE_EVERY_S:
            self._judged_at_s = now_s
            for one in newest(self._rollouts).values():
                if one.is_running:
                    await self._judge(one)
        for retired in retired_of(self._rollouts, self._units):
            await self._move(retired)

    async def _refresh(self) -> None:
        changes = await self._record.rollout_changes()
        if changes != self._changes:
            self._rollouts = await self._record.rollouts()
            self._changes = changes

    async def _judge(self, rollout: Rollout) -> None:
        stable, canary = self._unit(rollout.model, rollout.stable), self._unit(rollout.model, rollout.canary)
        if stable == canary:
            return  # one of them is not configured any more: there is nothing to compare
        since: Any = {"since_s": rollout.started_at_s, "limit": SAMPLED_JOBS}
        verdict = judge(
            rollout,
            await self._record.sampled(rollout.model, stable, **since),
            await self._record.sampled(rollout.model, canary, **since),
        )
        if verdict is None:
            return
        if await self._record.put_rollout(_judged(rollout, verdict, self._clock.now_s())) and verdict.reason:
            log.warning("aborted the rollout of %s %s: %s", rollout.model, rollout.canary, verdict.reason)
            await self._tell(rollout, verdict.reason)
        await self._refresh()

    async def _tell(self, rollout: Rollout, reason: str) -> None:
        """Write it into the history of both versions' fleets, beside what will change there."""
        now_s = self._clock.now_s()
        queues = [self._unit(rollout.model, version) or rollout.model for version in (rollout.stable, rollout.canary)]
        views = await self._broker.queues(queues, now_s)
        message = f"the rollout of version {rollout.canary} was aborted: {reason}"
        await self._history.put_scaled(
            [
                Scaled(
                    at_s=now_s,
                    before=len(view.workers),
                    decision=Decision(model=view.model, replicas=len(view.workers), reason=REASON, message=message),
                )
                for view in views
            ]
        )

    async def _move(self, retired: Retired) -> None:
        [view] = await self._broker.queues([retired.unit], self._clock.now_s())
        recovers = self._is_due(retired.unit)
        after: JobId | None = None
        while (view.queued or recovers) and (page := await self._record.waiting_for(retired, after=after, limit=PAGE)):
            now_s = self._clock.now_s()
            stood = await self._broker.withdraw([job.ref for job in page], now_s)
            taken = {live.id: live for live in stood if live is not None}
            lost = await self._lost([job for job in page if job.id not in taken], now_s) if recovers else []
            moved = await self._record.reroute([*taken, *lost], retired)
            await self._enqueue(moved, taken, now_s)
            after = page[-1].id
            if moved:
                log.info("%d jobs that waited for %s go to version %s", len(moved), retired.unit, retired.to_version)

    def _is_due(self, unit: ModelName) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._recovered_at_s.get(unit, float("-inf")) < RECOVER_EVERY_S:
            return False
        self._recovered_at_s[unit] = now_s
        return True

    async def _lost(self, jobs: Sequence[Job], now_s: float) -> list[JobId]:
        """Those that the broker does not know although they have had the time to get there."""
        old = [job for job in jobs if not 0 <= now_s - job.created_at_s < SETTLE_S]
        known = await self._broker.known([job.ref for job in old]) if old else []
        return [job.id for job, is_known in zip(old, known, strict=True) if not is_known]

    async def _enqueue(self, jobs: Sequence[Job], stood: dict[JobId, LiveJob], now_s: float) -> None:
        if jobs:
            await self._broker.enqueue([_ticket(job, stood.get(job.id)) for job in jobs], now_s)

    def _unit(self, model: ModelName, version: str) -> ModelName | None:
        return _unit_of(model, version, self._units)


def retired_of(rollouts: Sequence[Rollout], units: Collection[ModelName]) -> list[Retired]:
    """Versions that were aborted and are not served again, with the one that serves now."""
    last = newest(rollouts)
    found: dict[ModelName, Retired] = {}
    for one in rollouts:
        now = last[one.model]
        unit = _unit_of(one.model, one.canary, units)
        is_back = one.canary == now.serving or (now.is_running and one.canary == now.canary)
        if one.state is RolloutState.ABORTED and unit is not None and not is_back:
            found[unit] = Retired(one.model, unit, now.serving, _unit_of(one.model, now.serving, units))
    return list(found.values())


def _unit_of(model: ModelName, version: str, units: Collection[ModelName]) -> ModelName | None:
    """As a job of that version has it."""
    unit = unit_name(model, version)
    return unit if unit in units else None


def _ticket(job: Job, stood: LiveJob | None) -> Ticket:
    """Attempts that the other version made count, and what they left may be of use."""
    ticket = ticket_of(job)
    if stood is None:
        return ticket
    return msgspec.structs.replace(
        ticket, attempt=max(stood.attempt, ticket.attempt), checkpoint=stood.checkpoint or ticket.checkpoint
    )


def _judged(rollout: Rollout, verdict: Verdict, now_s: float) -> Rollout:
    looked = msgspec.structs.replace(
        rollout,
        revision=rollout.revision + 1,
        changed_at_s=now_s,
        looks=verdict.looks,
        looked_at_jobs=verdict.looked_at_jobs,
        compared=Compared(at_s=now_s, stable=verdict.stable, canary=verdict.canary),
    )
    if verdict.reason is None:
        return looked
    return msgspec.structs.replace(
        looked, state=RolloutState.ABORTED, ended_at_s=now_s, reason=verdict.reason, is_automatic=True
    )

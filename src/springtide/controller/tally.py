"""Counts what is on record: jobs by how they ended, how long they waited and ran, what they took, whom it is billed to.

Promises: each end is counted by the one controller that recorded it, so the sum over controllers is what the ledger
holds since they started. Nothing of it is on a job's path: most ends tell all that is counted themselves, and what only
the record knows of the others is read a moment later, many at once; a ledger that is away only delays that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

from springtide.domain.clock import Clock
from springtide.domain.ids import JobId, ModelName, TenantId, parted
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import Outcome
from springtide.ledger.protocol import Ledger
from springtide.ledger.usage import used_s
from springtide.runtime.loops import Loop
from springtide.telemetry import metrics_catalogue as names
from springtide.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
COUNT_EVERY_S = 1.0
AT_ONCE = 500
QUICK_S = 0.02  # what ran for less has no film or sound to count: of that only the record knows
MOST_PENDING = 50_000  # ends of a minute at the highest rate there is; what is more is not looked up


class Tally:
    """A service: `start`, `stop`; `recorded` is for the recorder."""

    def __init__(self, metrics: Metrics, ledger: Ledger, models: Sequence[ModelName], clock: Clock) -> None:
        self._metrics = metrics
        self._ledger = ledger
        self._clock = clock
        self._pending: dict[JobId, float | None] = {}  # run seconds of jobs that have ended
        self._loop = Loop("tally", self.count, every_s=COUNT_EVERY_S, clock=clock)
        for model in models:  # there from the beginning, so that the first failure is seen as an increase
            for status, error in ((JobStatus.COMPLETED, ""), (JobStatus.FAILED, "engine_failed")):
                metrics.add(names.JOBS_ENDED, model, status.value, error, amount=0)
        metrics.add(names.LEASES_EXPIRED, amount=0)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()

    def recorded(self, outcomes: Sequence[Outcome], are_ends: Sequence[bool]) -> None:
        """These are on record now; of them these made the ends of their jobs."""
        metrics, now_s = self._metrics, self._clock.now_s()
        metrics.observe_all(names.RECORD_LAG, values=[max(0.0, now_s - each.finished_at_s) for each in outcomes])
        alike: dict[tuple[ModelName, TenantId | None, JobStatus, str], list[Outcome]] = {}
        for outcome, is_end in zip(outcomes, are_ends, strict=True):
            code = outcome.error.code if outcome.error is not None else ""
            if outcome.status is JobStatus.QUEUED and code:
                metrics.add(names.JOB_RETRIES, outcome.model, code)
            if is_end:
                alike.setdefault((outcome.model, outcome.tenant, outcome.status, code), []).append(outcome)
        for (model, tenant, status, code), ends in alike.items():
            metrics.add(names.JOBS_ENDED, model, status.value, code, amount=len(ends))
            if status is JobStatus.COMPLETED:
                metrics.observe_all(names.JOB_RUN, model, values=[one.run_s for one in ends if one.run_s is not None])
            quick = [one for one in ends if _tells_all(one)]
            if quick and tenant is not None:
                self._count_quick(parted(model)[0], tenant, status, quick)
            if len(quick) < len(ends):
                self._look_up_soon([one for one in ends if not _tells_all(one)])

    def _count_quick(self, model: ModelName, tenant: TenantId, status: JobStatus, ends: Sequence[Outcome]) -> None:
        """What `_count` does, of jobs that had one attempt."""
        metrics = self._metrics
        metrics.add(names.TENANT_ENDED, tenant, status.value, amount=len(ends))
        seconds = sum(map(used_s, ends))
        if seconds:
            metrics.add(names.GPU_SECONDS, tenant, model, amount=seconds)
        waits = [max(0.0, one.started_at_s - since_s) for one, since_s in _since(ends) if one.started_at_s is not None]
        metrics.observe_all(names.JOB_WAIT, model, values=waits)
        if status is JobStatus.COMPLETED:
            took = [max(0.0, one.finished_at_s - since_s) for one, since_s in _since(ends)]
            metrics.observe_all(names.JOB_LATENCY, model, values=took)

    def _look_up_soon(self, ends: Sequence[Outcome]) -> None:
        for outcome in ends[: MOST_PENDING - len(self._pending)]:
            self._pending[outcome.id] = outcome.run_s

    async def count(self) -> None:
        """Look up what has ended since the last time."""
        while self._pending:
            batch = list(islice(self._pending, AT_ONCE))
            for job in await self._ledger.get(batch):
                if job is not None:  # deleted meanwhile
                    self._count(job, self._pending[job.id])
            for job_id in batch:
                del self._pending[job_id]

    def _count(self, job: Job, run_s: float | None) -> None:
        metrics = self._metrics
        metrics.add(names.TENANT_ENDED, job.tenant, job.status.value)
        if job.used_s:
            metrics.add(names.GPU_SECONDS, job.tenant, job.model, amount=job.used_s)
        if job.started_at_s is not None:
            metrics.observe(names.JOB_WAIT, job.model, value=max(0.0, job.started_at_s - job.created_at_s))
        if job.status is not JobStatus.COMPLETED or job.finished_at_s is None:
            return
        metrics.observe(names.JOB_LATENCY, job.model, value=max(0.0, job.finished_at_s - job.created_at_s))
        features = {} if job.foretold is None else job.foretold.features
        sound_s, frames = features.get("sound_s", 0.0), _frames(job, features.get("frames", 0.0))
        if sound_s > 0 and run_s is not None:
            metrics.add(names.SOUND_SECONDS, job.model, amount=sound_s)
            metrics.observe(names.REAL_TIME_FACTOR, job.model, value=run_s / sound_s)
        if frames > 1 and run_s:  # a picture is no film
            metrics.add(names.FRAMES, job.model, amount=frames)
            metrics.observe(names.FRAME_RATE, job.model, value=frames / run_s)


def _tells_all(outcome: Outcome) -> bool:
    """Whether the record knows nothing more of this job that is counted: no earlier attempt, no media."""
    is_known = outcome.tenant is not None and outcome.enqueued_at_s is not None
    return is_known and outcome.attempt <= 1 and (outcome.run_s or 0.0) < QUICK_S


def _since(ends: Sequence[Outcome]) -> list[tuple[Outcome, float]]:
    """With when each was accepted."""
    return [(one, one.enqueued_at_s) for one in ends if one.enqueued_at_s is not None]


def _frames(job: Job, foretold: float) -> float:
    """As the engine counted them, where its output says so; else as was foretold."""
    counted = (job.outputs or {}).get("frames")
    return float(counted) if isinstance(counted, int) else foretold

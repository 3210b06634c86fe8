"""How jobs that have not ended are doing, pipelines included: one look at the broker, and one at the record for steps.

A pipeline is not in the broker: how it is doing is made up from its steps, with one figure of progress over all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import JobId
from springtide.domain.job import Job, JobStatus
from springtide.domain.lease import LiveJob
from springtide.gateway.outlook import Outlook
from springtide.gateway.readiness import Eta
from springtide.gateway.services import GatewayServices
from springtide.policy.pipelines import Steps, current, plan_of, shares, step_jobs
from springtide.policy.waiting import Waiting


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One job now. `live` is None where it has ended or the broker cannot be asked."""

    job: Job
    live: LiveJob | None = None
    steps: Steps = ()  # of a pipeline: the jobs of its steps, None where one is not on record yet
    lives: tuple[LiveJob | None, ...] = ()  # of those jobs


class Standings:
    """Looks jobs up."""

    def __init__(self, services: GatewayServices, outlook: Outlook) -> None:
        self._services = services
        self._outlook = outlook

    async def of(self, jobs: Sequence[Job]) -> list[Standing]:
        """Each of `jobs` as it stands."""
        wanted = {job.id: step_jobs(job) for job in jobs if job.plan is not None}
        names = [name for each in wanted.values() for name in each]
        found = dict(zip(names, await self._services.ledger.get(names), strict=True)) if names else {}
        lives = await self._peek([*jobs, *(job for job in found.values() if job is not None)])
        return [
            _pipeline(job, [found[name] for name in wanted[job.id]], lives)
            if job.id in wanted
            else Standing(job=job, live=lives.get(job.id))
            for job in jobs
        ]

    async def one(self, job: Job) -> Standing:
        return (await self.of([job]))[0]

    async def waiting(self, standing: Standing) -> Waiting | None:
        """Why the job, or the step it is at, does not run; None where it does, has ended, or nobody can be asked."""
        found = await self.reasons(standing)
        return found[0] if found else None

    async def reasons(self, standing: Standing) -> list[Waiting]:
        """All that holds it up, the first thing first."""
        job, live = at_work(standing)
        return [] if job is None else await self._outlook.reasons(job, live)

    async def eta(self, standing: Standing) -> Eta | None:
        """Until the job will have ended; None where that is unknown, or it has."""
        job = standing.job
        if job.status.is_terminal:
            return None
        if job.plan is None:
            return await self._outlook.eta(job, standing.live)
        number = current(job, standing.steps)
        now = None if number is None else standing.steps[number]
        if number is None or now is None:
            return None
        rest = await self._outlook.eta(now, standing.lives[number])
        return None if rest is None else rest.plus(sum(step.predicted_s for step in job.plan.steps[number + 1 :]))

    async def _peek(self, jobs: Sequence[Job]) -> Mapping[JobId, LiveJob]:
        """The broker's view of the live ones among `jobs`; nothing where it cannot be asked."""
        refs = [job.ref for job in jobs if job.plan is None and not job.status.is_terminal]
        if not refs:
            return {}
        broker, now_s = self._services.broker, self._services.clock.now_s()
        try:
            return {live.id: live for live in await broker.peek(refs, now_s) if live}
        except (Unavailable, OutcomeUnknown):
            return {}


def at_work(standing: Standing) -> tuple[Job | None, LiveJob | None]:
    """The job itself, or the step that a pipeline is at; None between two steps, which takes milliseconds."""
    job = standing.job
    if job.plan is None or job.status.is_terminal:
        return job, standing.live
    number = current(job, standing.steps)
    now = None if number is None else standing.steps[number]
    if number is None or now is None or now.status.is_terminal:
        return None, None
    return now, standing.lives[number]


def _pipeline(job: Job, steps: Steps, found: Mapping[JobId, LiveJob]) -> Standing:
    lives = tuple(None if step is None else found.get(step.id) for step in steps)
    live = None if job.status.is_terminal else _whole(job, steps, lives)
    return Standing(job=job, live=live, steps=steps, lives=lives)


def _whole(job: Job, steps: Steps, lives: Sequence[LiveJob | None]) -> LiveJob:
    """A pipeline as if it were one job in the broker."""
    shares_of, number = shares(plan_of(job)), current(job, steps)
    live = None if number is None else lives[number]
    starts = [at_s for step in steps if step is not None and (at_s := step.started_at_s) is not None]
    if live is not None and live.started_at_s is not None:
        starts.append(live.started_at_s)
    has_begun = bool(starts) or any(step is not None and step.status is JobStatus.COMPLETED for step in steps)
    status = JobStatus.IN_PROGRESS if has_begun else JobStatus.QUEUED
    if job.cancel_asked_at_s is not None:
        status = JobStatus.CANCELLING
    done = sum(shares_of[:number])
    part = shares_of[number] * live.fraction if number is not None and live is not None and live.fraction else 0.0
    name = plan_of(job).steps[-1 if number is None else number].name
    return LiveJob(
        id=job.id,
        status=status,
        attempt=1 if has_begun else 0,
        started_at_s=min(starts, default=None),
        fraction=round(min(done + part, 1.0), 4) if has_begun or done else None,
        stage=f"{name}: {live.stage}" if live is not None and live.stage else name,
        ahead=live.ahead if live is not None and not has_begun else None,
    )

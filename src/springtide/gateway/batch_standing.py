"""How a batch stands: counts by state, one figure of progress, when it will be done, and what became of each item."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from springtide.domain.ids import BatchId, is_batch_id, job_in_batch
from springtide.domain.job import Job, JobStatus
from springtide.domain.tenant import Tenant
from springtide.gateway.batch_intake import BatchIntake
from springtide.gateway.cancelling import ask_to_stop
from springtide.gateway.headers import iso8601
from springtide.gateway.keeping import missing_batch
from springtide.gateway.links import Links
from springtide.gateway.readiness import Eta
from springtide.gateway.schemas_batches import BatchCounts, BatchItemView, BatchStatus, BatchView, RefusedItem
from springtide.gateway.services import GatewayServices
from springtide.gateway.standing import Standing, Standings
from springtide.gateway.views import job_view
from springtide.ledger.batches import Batch, BatchLine, Tally
from springtide.policy.pipelines import MODELS_JOINED_BY

SHOWN_REFUSED = 10  # in the batch itself
RUNNING_SEEN = 64  # running jobs whose own progress counts: more of one batch seldom run at once
PAGE = 256  # items read together
MOST_MODELS = 8  # of one batch that are asked when they will be done
_LEAST_S = 1e-3  # a job thought to take no time still counts
_UNSUCCESSFUL = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})


class BatchStandings:
    """Looks batches up."""

    def __init__(self, services: GatewayServices, standings: Standings, intake: BatchIntake, links: Links) -> None:
        self._services = services
        self._batches = services.batches
        self._standings = standings
        self._intake = intake
        self._links = links

    async def find(self, batch: str, tenant: Tenant) -> Batch:
        """The tenant's batch. Raises NotFound; another tenant's looks like none."""
        found = await self._batches.get(BatchId(batch)) if is_batch_id(batch) else None
        if found is None or found.tenant != tenant.id:
            raise missing_batch(batch, self._services)
        return found

    async def view(self, batch: Batch, base: str) -> BatchView:
        """The batch now."""
        tallies = await self._batches.tally(batch.id)
        refused, first = 0, list[BatchLine]()
        if sum(each.jobs for each in tallies) < batch.received:  # not all of them are jobs
            refused, first = await self._batches.refused(batch.id, limit=SHOWN_REFUSED)
        counts = _counts(batch, tallies, refused)
        is_live = counts.queued + counts.in_progress > 0
        progress, eta = await self._progress(batch, tallies, is_live=is_live)
        url = f"{base}/v1/jobs/batches/{batch.id}"
        return BatchView(
            id=batch.id,
            status=self._status(batch, counts, is_live=is_live),
            created_at=iso8601(batch.created_at_s),
            created_at_s=batch.created_at_s,
            total=batch.total,
            counts=counts,
            progress=progress,
            eta_s=eta.s if eta else None,
            eta_range_s=(eta.low_s, eta.high_s) if eta else None,
            retry_of=batch.retry_of,
            status_url=url,
            items_url=f"{url}/items",
            jobs_url=f"{base}/v1/jobs?batch={batch.id}",
            cancel_url=f"{url}/cancel",
            retry_url=f"{url}/retry",
            refused=[RefusedItem(place=line.place, problem=line.problem or {}) for line in first],
        )

    async def items(self, batch: Batch, base: str, *, after: int) -> AsyncIterator[list[BatchItemView]]:
        """Every item that was dealt with after place `after`, in order, some hundred at a time."""
        for first in range(after + 1, batch.received, PAGE):
            end = min(first + PAGE, batch.received)
            lines = {line.place: line for line in await self._batches.lines(batch.id, first=first, end=end)}
            jobs = {job.id: job for job in await self._batches.jobs(batch.id, first=first, end=end)}
            others = [line.job for line in lines.values() if line.job is not None]
            if others:
                jobs.update((job.id, job) for job in await self._services.ledger.get(others) if job is not None)
            views: list[BatchItemView] = []
            for place in range(first, end):
                line = lines.get(place)
                if line is not None and line.problem is not None:
                    views.append(BatchItemView(place=place, status="refused", problem=line.problem))
                else:
                    other = None if line is None else line.job
                    name = other or job_in_batch(batch.id, place)
                    views.append(_item(place, jobs.get(name), base, self._links, replayed=other is not None))
            yield views

    async def unsuccessful(self, batch: Batch) -> list[Job]:
        """Its jobs that ended without a result, in order."""
        found: list[Job] = []
        for first in range(0, batch.received, PAGE):
            end = min(first + PAGE, batch.received)
            jobs = await self._batches.jobs(batch.id, first=first, end=end)
            lines = await self._batches.lines(batch.id, first=first, end=end)
            names = [line.job for line in lines if line.job is not None]
            others = await self._services.ledger.get(names) if names else []
            found += [job for job in [*jobs, *others] if job is not None and job.status in _UNSUCCESSFUL]
        return found

    async def cancel(self, batch: Batch) -> None:
        """Ask every job that it made and that lives to stop. Raises Unavailable; asking again changes nothing."""
        clock = self._services.clock
        await self._batches.ask_cancel(batch.id, clock.now_s())
        for first in range(0, batch.total, PAGE):
            jobs = await self._batches.jobs(batch.id, first=first, end=min(first + PAGE, batch.total))
            live = [job for job in jobs if not job.status.is_terminal]
            queued = [job for job in live if job.plan is None and job.queue in self._services.units]
            told = await self._services.broker.cancel([job.ref for job in queued], clock.now_s())
            known = {job.id for job, status in zip(queued, told, strict=True) if status is not None}
            for job in live:
                if job.id not in known:
                    await ask_to_stop(self._services, job)

    def _status(self, batch: Batch, counts: BatchCounts, *, is_live: bool) -> BatchStatus:
        if batch.cancel_asked_at_s is not None:
            return "cancelling" if is_live else "cancelled"
        if batch.closed_at_s is None:
            return "receiving" if self._intake.is_in_hand(batch) else "interrupted"
        return "in_progress" if is_live else "completed"

    async def _progress(self, batch: Batch, tallies: Sequence[Tally], *, is_live: bool) -> tuple[float, Eta | None]:
        whole_s = sum(_weight(each) for each in tallies)
        done_s = sum(_weight(each) for each in tallies if each.status.is_terminal)
        if not is_live:
            share = batch.received / batch.total if batch.closed_at_s is None else 1.0
            return round(share, 4), None
        running: Sequence[Standing] = ()
        if any(map(_may_run, tallies)):
            running = await self._standings.of(await self._batches.running(batch.id, limit=RUNNING_SEEN))
        for standing in running:
            fraction = standing.live.fraction if standing.live is not None else None
            done_s += (fraction or 0.0) * (standing.job.predicted_s + _LEAST_S)
        models = list(dict.fromkeys(each.model for each in tallies if each.status is JobStatus.QUEUED))
        last = [await self._batches.last_queued(batch.id, model) for model in models[:MOST_MODELS]]
        waiting = await self._standings.of([job for job in last if job is not None])
        etas = [await self._standings.eta(each) for each in [*waiting, *(running if not waiting else ())]]
        latest = max((eta for eta in etas if eta is not None), key=lambda eta: eta.s, default=None)
        known = len(models) <= MOST_MODELS and None not in etas
        return round(min(done_s / whole_s, 0.9999), 4), latest if known else None


def _weight(tally: Tally) -> float:
    return tally.predicted_s + tally.jobs * _LEAST_S


def _may_run(tally: Tally) -> bool:
    """Whether a job among them may be on record as running, or be a pipeline, whose steps run."""
    return tally.status is JobStatus.IN_PROGRESS or MODELS_JOINED_BY in tally.model


def _counts(batch: Batch, tallies: Sequence[Tally], refused: int) -> BatchCounts:
    by_status: dict[str, int] = {}
    for each in tallies:
        by_status[each.status.value] = by_status.get(each.status.value, 0) + each.jobs
    gone = batch.received - refused - sum(by_status.values())
    return BatchCounts(**by_status, refused=refused, gone=max(0, gone))


def _item(place: int, job: Job | None, base: str, links: Links, *, replayed: bool) -> BatchItemView:
    if job is None:
        return BatchItemView(place=place, status="gone", replayed=replayed)
    return BatchItemView(
        place=place,
        status=job.status.value,
        job=job_view(job, base, links),
        idempotency_key=job.idempotency_key if job.retry_of is None else None,
        replayed=replayed,
    )

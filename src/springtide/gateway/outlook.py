"""How busy the models are, why a job waits and when it will be ready: live figures, asked for at most once a second.

Promises: never fails a request. Where the broker cannot be asked the figures are None: no data is not zero.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import QueueView
from springtide.domain.ids import ModelName
from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.lease import LiveJob, WorkerState
from springtide.gateway.disclosure import without_paths
from springtide.gateway.schemas import LiveFigures, ReasonView, WorkerFigures
from springtide.gateway.services import GatewayServices
from springtide.policy.waiting import Waiting, engine_problem, explain, explain_removed

log = logging.getLogger(__name__)

_MIN_FRACTION = 0.05  # below it, elapsed time divided by progress says nothing


class Outlook:
    """Queue views of every model, remembered for a moment, and estimates made from them."""

    def __init__(self, services: GatewayServices) -> None:
        self._broker = services.broker
        self._clock = services.clock
        self._tenants = services.tenants
        self._models = services.models
        self._kept_s = services.settings.figures_kept_s
        self._views: Mapping[ModelName, QueueView] = {}
        self._asked_at_s = float("-inf")
        self._lock = asyncio.Lock()
        self._asks = 0

    async def view(self, model: ModelName) -> QueueView | None:
        """A model's queue, at most `figures_kept_s` old."""
        if not self._is_fresh():
            async with self._lock:
                if not self._is_fresh():
                    await self._ask()
        return self._views.get(model)

    async def look_again(self, model: ModelName) -> QueueView | None:
        """The queue as it is from now on: asked anew, once for all who want to know at the same time."""
        asks = self._asks
        async with self._lock:
            if self._asks == asks:
                await self._ask()
        return self._views.get(model)

    async def figures(self, model: ModelName) -> LiveFigures | None:
        """The same for showing."""
        view = await self.view(model)
        if view is None:
            return None
        counts = Counter(worker.state.value for worker in view.workers)
        oldest = view.oldest_enqueued_at_s
        return LiveFigures(
            queued=view.queued,
            running=view.leased,
            predicted_s=view.predicted_s,
            oldest_wait_s=None if oldest is None else max(0.0, view.taken_at_s - oldest),
            workers=WorkerFigures(**counts),
            taken_at_s=view.taken_at_s,
            problem=_reason(engine_problem(view)),
        )

    async def not_loading(self) -> dict[str, ReasonView]:
        """Models whose engine does not load on any worker, and why."""
        found = {model: figures.problem for model in self._models if (figures := await self.figures(model))}
        return {model: problem for model, problem in found.items() if problem is not None}

    async def waiting(self, job: Job, live: LiveJob | None = None) -> Waiting | None:
        """Why a queued job waits; None where it does not, or where nobody can be asked."""
        served = self._models.get(job.model)
        if served is None and live is None and not job.status.is_terminal:
            return explain_removed()  # also where it was running: whoever ran it is gone with the model
        if (live.status if live else job.status) is not JobStatus.QUEUED:
            return None
        if served is None:
            return explain_removed()
        view = await self.view(job.model)
        waiting = explain(
            view,
            live,
            self._clock.now_s(),
            max_replicas=served.max_replicas,
            max_running=served.max_running,
            tenant=self._tenants.get(job.tenant),
        )
        return waiting and Waiting(code=waiting.code, message=without_paths(waiting.message))

    async def eta_s(self, job: Job, live: LiveJob | None = None) -> float | None:
        """Seconds until `job` will have ended; None where that is unknown: no worker is up, or nobody can be asked."""
        status = live.status if live else job.status
        if status is JobStatus.IN_PROGRESS:
            return self._rest_of_run_s(job, live)
        view = await self.view(job.model)
        if status is not JobStatus.QUEUED or view is None:
            return None
        workers = workers_up(view)
        if not workers:
            return None
        waiting_s = view.predicted_s
        if live is not None and live.ahead is not None:
            waiting_s = live.ahead * (view.predicted_s / view.queued if view.queued else job.predicted_s)
        return round(waiting_s / workers + job.predicted_s, 3)

    def _rest_of_run_s(self, job: Job, live: LiveJob | None) -> float | None:
        started_at_s = live.started_at_s if live and live.started_at_s is not None else job.started_at_s
        if started_at_s is None:
            return None
        elapsed_s = max(0.0, self._clock.now_s() - started_at_s)
        fraction = live.fraction if live else None
        if fraction is not None and fraction >= _MIN_FRACTION:
            return round(elapsed_s * (1 - fraction) / fraction, 3)
        return round(max(0.0, job.predicted_s - elapsed_s), 3)

    def _is_fresh(self) -> bool:
        return self._clock.monotonic_s() - self._asked_at_s < self._kept_s

    async def _ask(self) -> None:
        self._asks += 1
        try:
            views = await self._broker.queues(tuple(self._models), self._clock.now_s())
            self._views = {view.model: view for view in views}
        except SpringtideError as error:
            log.debug("no queue figures: %s", error)
            self._views = {}
        self._asked_at_s = self._clock.monotonic_s()


def _reason(problem: JobError | None) -> ReasonView | None:
    return None if problem is None else ReasonView(code=problem.code, message=without_paths(problem.message))


def workers_up(view: QueueView) -> int:
    """Workers that take jobs, or will when they have finished one."""
    return sum(1 for worker in view.workers if worker.state in (WorkerState.READY, WorkerState.BUSY))

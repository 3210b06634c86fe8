"""How busy the models are, why a job waits and when it will be ready: live figures, asked for at most once a second.

Promises: never fails a request. Where the broker cannot be asked the figures are None: no data is not zero.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

import msgspec

from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import FleetNews, QueueView, Trouble
from springtide.domain.ids import ModelName
from springtide.domain.job import Foretold, Job, JobError, JobStatus
from springtide.domain.lease import LiveJob, WorkerState
from springtide.domain.orders import Orders, in_force
from springtide.gateway.disclosure import without_paths
from springtide.gateway.readiness import Eta, Readiness
from springtide.gateway.schemas import ReasonView
from springtide.gateway.schemas_models import LiveFigures, WorkerFigures
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.ledger.history import fleet_memory
from springtide.policy.elastic.view import memory_of
from springtide.policy.waiting import Room, Waiting, engine_problem, explain_removed, reasons

log = logging.getLogger(__name__)
ROOM = {"accelerators": "GPUs", "cpus": "processors", "memory_mb": "MiB of memory"}  # of [fleet], in words
TROUBLES_EVERY_S = 2.0
TROUBLES_KEPT_S = 90.0  # three times as long as the controller takes to say it again


class Outlook:
    """Queue views of every model, remembered for a moment, and estimates made from them."""

    def __init__(self, services: GatewayServices) -> None:
        self._broker = services.broker
        self._clock = services.clock
        self._tenants = services.tenants
        self._models = services.units
        self._kept_s = services.settings.figures_kept_s
        self._readiness = Readiness(services.history, services.units, services.clock)
        self._budget = services.settings.budget
        self._book = services.orders
        self.orders = Orders()  # as they were when the views were
        self._history = services.history
        self._troubles: dict[ModelName, tuple[Trouble, ...]] = {}  # by model, or what it shares its workers with
        self._troubles_at_s = float("-inf")
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

    def fresh(self, model: ModelName) -> QueueView | None:
        """The same where it is known without asking: every submit wants it."""
        return self._views.get(model) if self._is_fresh() else None

    async def look_again(self, model: ModelName) -> QueueView | None:
        """The queue as it is from now on: asked anew, once for all who want to know at the same time."""
        asks = self._asks
        async with self._lock:
            if self._asks == asks:
                await self._ask()
        return self._views.get(model)

    def forget(self) -> None:
        """Ask anew when somebody wants to know."""
        self._asked_at_s = float("-inf")

    async def figures(self, *queues: ModelName) -> LiveFigures | None:
        """The same for showing; of several queues together."""
        found = [await self.view(queue) for queue in queues]
        views = [view for view in found if view is not None]
        if not views or len(views) < len(found):
            return None
        oldest = min(
            (view.oldest_enqueued_at_s for view in views if view.oldest_enqueued_at_s is not None), default=None
        )
        taken_at_s = views[0].taken_at_s
        problems = [*(engine_problem(view) for view in views), *map(self._trouble, views)]
        return LiveFigures(
            queued=sum(view.queued for view in views),
            running=sum(view.leased for view in views),
            predicted_s=sum(view.predicted_s for view in views),
            oldest_wait_s=None if oldest is None else max(0.0, taken_at_s - oldest),
            workers=WorkerFigures(**Counter(worker.state.value for view in views for worker in view.workers)),
            taken_at_s=taken_at_s,
            problem=_reason(next((problem for problem in problems if problem is not None), None)),
        )

    async def not_loading(self) -> dict[str, ReasonView]:
        """Models whose engine does not load on any worker, and why."""
        found = {model: figures.problem for model in self._models if (figures := await self.figures(model))}
        return {model: problem for model, problem in found.items() if problem is not None}

    async def waiting(self, job: Job, live: LiveJob | None = None) -> Waiting | None:
        """Why a queued job waits; None where it does not, or where nobody can be asked."""
        found = await self.reasons(job, live)
        return found[0] if found else None

    async def reasons(self, job: Job, live: LiveJob | None = None) -> list[Waiting]:
        """All that holds it up, the first thing first."""
        served = self._models.get(job.queue)
        if served is None and live is None and not job.status.is_terminal:
            return [explain_removed()]  # also where it was running: whoever ran it is gone with the model
        if (live.status if live else job.status) is not JobStatus.QUEUED:
            return []
        if served is None:
            return [explain_removed()]
        view = await self.view(job.queue)
        found = reasons(
            view,
            live,
            self._clock.now_s(),
            max_replicas=served.max_replicas,
            max_running=served.max_running,
            tenant=self._tenants.get(job.tenant),
            pause=self.orders.pauses.get(job.queue),
            pin=self.orders.pins.get(served.pool or job.queue),
            room=self._lacking(served),
        )
        held_up = [] if view is None else self._held_up(served.pool or job.queue, view)
        found = [*found, *held_up] if view is None or workers_up(view) else _before_no_worker(found, held_up)
        return [msgspec.structs.replace(one, message=without_paths(one.message)) for one in found]

    def _lacking(self, served: ServedModel) -> Room | None:
        """What a worker more of the model would need and the fleet has not left, by the workers that were last seen."""
        takes_of = {
            worker.worker: self._models[model].takes for model, view in self._views.items() for worker in view.workers
        }
        for what, much in self._budget.items():
            takes = served.takes.get(what, 0.0)
            free = much - sum(each.get(what, 0.0) for each in takes_of.values())
            if takes > max(0.0, free):
                return Room(what=ROOM.get(what, what), takes=takes, free=max(0.0, free), of=much)
        return None

    def _held_up(self, name: ModelName, view: QueueView) -> list[Waiting]:
        """What keeps (more) workers from coming up; who waits beside idle ones waits for something else."""
        is_enough = any(worker.state is WorkerState.READY for worker in view.workers)
        troubles = () if is_enough else self._troubles.get(name, ())
        return [Waiting(code=one.code, message=one.message) for one in troubles]

    def _trouble(self, view: QueueView) -> JobError | None:
        """The first of them, where no worker is up."""
        served = self._models.get(view.model)
        name = view.model if served is None or served.pool is None else served.pool
        found = () if workers_up(view) else self._troubles.get(name, ())
        return JobError(code=found[0].code, message=found[0].message) if found else None

    async def usual_start_s(self, model: ModelName) -> float:
        """What a cold start of the model usually takes."""
        await self._readiness.refresh()
        return self._readiness.usual_start_s(model)

    async def eta(self, job: Job, live: LiveJob | None = None) -> Eta | None:
        """Until `job` will have ended; None where that is unknown: no worker is there or may come, nobody can be asked,
        its model is paused, or not served any more."""
        status = live.status if live else job.status
        if job.queue not in self._models:
            return None
        if status is JobStatus.IN_PROGRESS:
            started_at_s = live.started_at_s if live and live.started_at_s is not None else job.started_at_s
            if started_at_s is None:
                return None
            elapsed_s = max(0.0, self._clock.now_s() - started_at_s)
            return self._readiness.of_running(job.queue, job.predicted_s, elapsed_s, live.fraction if live else None)
        view = await self.view(job.queue)
        if status is not JobStatus.QUEUED or view is None or job.queue in self.orders.pauses:
            return None
        is_seen = view.queued > 0 and job.created_at_s <= view.taken_at_s
        return self._readiness.of_waiting(view, job.predicted_s, ahead=live.ahead if live else None, is_seen=is_seen)

    async def forecast(self, model: ModelName, predicted_s: float, *, jobs: int = 1) -> Eta | None:
        """Until the last of so many jobs alike would have ended if they came now; None as for `eta`."""
        view = await self.view(model)
        return None if view is None else self._readiness.of_coming(view, predicted_s, jobs=jobs)

    def predicted_s(self, model: ModelName, foretold: Foretold) -> float:
        """Run seconds that a job is queued with, of which its engine says this."""
        return self._readiness.predicted_s(model, foretold)

    def promised(self, job: Job, *, ahead: int) -> Job:
        """With what is foretold of it now, by the queue as it was seen last and those who have entered it since."""
        view = self._views.get(job.queue)
        if view is None or job.plan is not None or job.queue in self.orders.pauses:
            return job
        return msgspec.structs.replace(job, foretold=self._readiness.promise(view, job, entered=max(0, ahead)))

    def promise_of(self, job: Job) -> Eta | None:
        """What its client is told."""
        return None if job.foretold is None else self._readiness.of_promised(job.queue, job.foretold)

    async def _hear_of_troubles(self) -> None:
        """What the controller says of processes and pods; what it has not said again for long is over, or it is."""
        if self._clock.monotonic_s() - self._troubles_at_s < TROUBLES_EVERY_S:
            return
        self._troubles_at_s = self._clock.monotonic_s()
        names = sorted({served.pool or model for model, served in self._models.items()})
        try:
            memories = await self._history.memories([fleet_memory(name) for name in names])
        except SpringtideError as error:
            log.debug("no news of the fleet: %s", error)
            return
        oldest_s = self._clock.now_s() - TROUBLES_KEPT_S
        news = {name: memory_of(one.body, FleetNews) for name, one in zip(names, memories, strict=True) if one}
        self._troubles = {name: one.troubles for name, one in news.items() if one is not None and one.at_s >= oldest_s}

    def _is_fresh(self) -> bool:
        return self._clock.monotonic_s() - self._asked_at_s < self._kept_s

    async def _ask(self) -> None:
        self._asks += 1
        await self._readiness.refresh()
        await self._hear_of_troubles()
        try:
            self.orders = in_force(await self._book.all_orders(), self._clock.now_s())
        except SpringtideError as error:
            log.debug("no orders read: %s", error)  # those known are in force
        try:  # last: who enters while a view grows old is counted by nobody (`admission`)
            views = await self._broker.queues(tuple(self._models), self._clock.now_s())
            self._views = {view.model: view for view in views}
        except SpringtideError as error:
            log.debug("no queue figures: %s", error)
            self._views = {}
        self._asked_at_s = self._clock.monotonic_s()


def _before_no_worker(found: list[Waiting], held_up: list[Waiting]) -> list[Waiting]:
    """Why no worker comes says more than that none is there, and less than that its engine does not load."""
    late = [one for one in found if one.code in ("no_worker", "worker_starting")]
    return [*(one for one in found if one not in late), *held_up, *([] if held_up else late)]


def _reason(problem: JobError | None) -> ReasonView | None:
    return None if problem is None else ReasonView(code=problem.code, message=without_paths(problem.message))


def workers_up(view: QueueView) -> int:
    """Workers that take jobs, or will when they have finished one."""
    return sum(1 for worker in view.workers if worker.state in (WorkerState.READY, WorkerState.BUSY))

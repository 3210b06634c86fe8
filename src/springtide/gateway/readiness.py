"""What the gateway knows of run times and cold starts: learnt by the controller, read from the fleet's history.

Promises: never fails a request; before anything has been learnt, the engine's own estimate counts.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import QueueView
from springtide.domain.ids import ModelName
from springtide.domain.lease import WorkerState
from springtide.gateway.services import ServedModel
from springtide.ledger.history import FleetHistory, cost_memory, starts_memory
from springtide.policy.cost import Z90, CostMemory, Prediction, predict
from springtide.policy.elastic.view import memory_of
from springtide.policy.eta import Place, foretell, start

log = logging.getLogger(__name__)
READ_EVERY_S = 10.0  # what was learnt changes by the run of a job, not by the second
_MIN_FRACTION = 0.05  # below it, elapsed time divided by progress says nothing
Z95 = 1.6449  # the normal quantile of 0.95
DEFAULT_COLD_START_S = 30.0  # as [models.NAME.scaling] cold_start_s


class Eta(msgspec.Struct, frozen=True):
    """Seconds until a job will have ended: the median, and between what nine of ten should (not calibrated)."""

    s: float
    low_s: float
    high_s: float

    def plus(self, seconds: float) -> Eta:
        """The same with so much to do afterwards."""
        return Eta(self.s + seconds, self.low_s + seconds, self.high_s + seconds)


class Readiness:
    """When jobs will be ready."""

    def __init__(self, history: FleetHistory, models: Mapping[ModelName, ServedModel], clock: Clock) -> None:
        self._history = history
        self._models = models
        self._clock = clock
        self._costs: dict[ModelName, CostMemory] = {}
        self._starts_s: dict[ModelName, float] = {}
        self._read_at_s = float("-inf")
        self._tails: dict[ModelName, tuple[QueueView, float | None]] = {}

    async def refresh(self) -> None:
        """Read again what may have changed since the last time."""
        if self._clock.monotonic_s() - self._read_at_s < READ_EVERY_S:
            return
        self._read_at_s = self._clock.monotonic_s()
        models = list(self._models)
        names = [cost_memory(model) for model in models]
        names += [starts_memory(self._models[model].pool or model) for model in models]
        try:
            found = await self._history.memories(names)
        except SpringtideError as error:
            log.debug("nothing new about run times: %s", error)
            return
        for model, cost, starts in zip(models, found, found[len(models) :], strict=False):
            if cost is not None and (learnt := memory_of(cost.body, CostMemory)) is not None:
                self._costs[model] = learnt
            if starts is not None and (seconds := memory_of(starts.body, list[float])):
                self._starts_s[model] = statistics.median(seconds)

    def run(self, model: ModelName, estimate_s: float) -> Prediction:
        """Run seconds of a job with this estimate of its engine's."""
        return predict(self._costs.get(model, _NOTHING), {}, estimate_s)

    def usual_start_s(self, model: ModelName) -> float:
        """The median of the last cold starts; what is assumed where none is known."""
        return self._starts_s.get(model, DEFAULT_COLD_START_S)

    def of_waiting(
        self, view: QueueView, estimate_s: float, *, ahead: int | None = None, is_seen: bool = False
    ) -> Eta | None:
        """Until a job that waits will have ended; None where no worker is there or may come.

        ahead: jobs that will be leased before it; None: all that wait. is_seen: the view has the job itself.
        """
        if ahead is not None:
            mean_s = view.predicted_s / view.queued if view.queued else estimate_s
            start_s = self._start_s(view, ahead, ahead * mean_s)
        elif is_seen:
            start_s = self._start_s(view, view.queued - 1, max(0.0, view.predicted_s - estimate_s))
        else:
            start_s = self._tail_s(view)
        if start_s is None:
            return None
        run = self.run(view.model, estimate_s)
        free = Place(loading_left_s=(start_s,)) if start_s > 0 else Place(idle=1)
        band = foretell(msgspec.structs.replace(free, run_s=run.median_s, run_p90_s=run.p90_s))
        return Eta(s=round(band.median_s, 3), low_s=round(band.low90_s, 3), high_s=round(band.high90_s, 3))

    def of_running(self, model: ModelName, estimate_s: float, elapsed_s: float, fraction: float | None) -> Eta:
        """The same for one that runs."""
        run = self.run(model, estimate_s)
        if fraction is not None and fraction >= _MIN_FRACTION:
            rest_s = elapsed_s * (1 - fraction) / fraction
        else:
            rest_s = max(0.0, run.median_s - elapsed_s)
        spread = math.log(run.p90_s / run.median_s) / Z90
        factor = math.exp(Z95 * spread)
        return Eta(s=round(rest_s, 3), low_s=round(rest_s / factor, 3), high_s=round(rest_s * factor, 3))

    def _tail_s(self, view: QueueView) -> float | None:
        """Until a job that came now would begin. Worked out once for each view: submits ask thousands of times."""
        known = self._tails.get(view.model)
        if known is None or known[0] is not view:
            known = self._tails[view.model] = (view, self._start_s(view, view.queued, view.predicted_s))
        return known[1]

    def _start_s(self, view: QueueView, ahead: int, work_s: float) -> float | None:
        """The same behind so many jobs, whose engine's estimates add up to `work_s`."""
        place = self._place(view, ahead, work_s)
        is_there = place.idle or place.busy_left_s or place.loading_left_s
        return start(place) if is_there or place.may_grow else None

    def _place(self, view: QueueView, ahead: int, work_s: float) -> Place:
        each_s = self.run(view.model, work_s / ahead if ahead else 1.0).median_s
        cold_s = self.usual_start_s(view.model)
        up = [worker for worker in view.workers if worker.state in (WorkerState.READY, WorkerState.BUSY)]
        loading = sum(worker.state is WorkerState.STARTING for worker in view.workers)
        busy = [worker for worker in up if worker.held]
        return Place(
            ahead=ahead,
            ahead_s=ahead * each_s,
            idle=len(up) - len(busy),
            busy_left_s=tuple(each_s * (worker.held - 0.5) for worker in busy),  # it is somewhere in the first one
            loading_left_s=(cold_s / 2,) * loading,
            cold_start_s=cold_s,
            may_grow=_may_grow(self._models[view.model], view),
        )


_NOTHING = CostMemory()


def _may_grow(model: ServedModel, view: QueueView) -> bool:
    return model.max_replicas is not None and len(view.workers) < model.max_replicas

"""What the gateway knows of run times and cold starts: learnt by the controller, read from the fleet's history.

Promises: never fails a request; before anything has been learnt, the engine's own estimate counts.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import QueueView
from springtide.domain.ids import ModelName
from springtide.domain.job import Foretold, Job
from springtide.domain.lease import WorkerState
from springtide.gateway.served import ServedModel
from springtide.ledger.history import FleetHistory, Memory, cost_memory, eta_memory, features_memory, starts_memory
from springtide.policy.cost import Z90, CostMemory, Prediction, middle_s, predict
from springtide.policy.elastic.view import memory_of
from springtide.policy.eta import Band, Calibration, Place, band_of, lay_out, start

log = logging.getLogger(__name__)
READ_EVERY_S = 10.0  # what was learnt changes by the run of a job, not by the second
_UP = frozenset({WorkerState.READY, WorkerState.BUSY})
_MIN_FRACTION = 0.05  # below it, elapsed time divided by progress says nothing
Z95, Z75 = 1.6449, 0.6745  # normal quantiles: nine of ten and half are between them and their negatives
DEFAULT_COLD_START_S = 30.0  # as [models.NAME.scaling] cold_start_s


class Eta(msgspec.Struct, frozen=True):
    """Seconds until a job will have ended: the median, and between what nine of ten and half of them should, as far as
    earlier promises have taught."""

    s: float
    low_s: float
    high_s: float
    likely_low_s: float
    likely_high_s: float

    def plus(self, seconds: float) -> Eta:
        """The same with so much to do afterwards."""
        return Eta(*(round(each + seconds, 3) for each in msgspec.structs.astuple(self)))


class _Tail(msgspec.Struct, frozen=True):
    """The end of a queue as it was seen."""

    view: QueueView
    start_s: float | None  # until a job that came then would begin; None: nobody is there or may come
    free: int  # jobs that may come after it and still find an idle worker
    lanes: int  # workers that are up


class _Run(NamedTuple):
    """What was learnt, and what it says of a job predicted like this."""

    costs: CostMemory
    predicted_s: float
    prediction: Prediction


class _Said(NamedTuple):
    """What was learnt, and what it makes of what an engine says of a job."""

    learnt: CostMemory
    told: Foretold
    run_s: float


class Readiness:
    """When jobs will be ready."""

    def __init__(self, history: FleetHistory, models: Mapping[ModelName, ServedModel], clock: Clock) -> None:
        self._history = history
        self._models = models
        self._clock = clock
        self._costs: dict[ModelName, CostMemory] = {}  # by what was predicted
        self._features: dict[ModelName, CostMemory] = {}  # by what the engine says
        self._calibrations: dict[ModelName, Calibration] = {}
        self._starts_s: dict[ModelName, float] = {}
        self._read_at_s = float("-inf")
        self._tails: dict[ModelName, _Tail] = {}
        self._runs: dict[ModelName, _Run] = {}  # asked for last: many jobs are alike
        self._said: dict[ModelName, _Said] = {}

    async def refresh(self) -> None:
        """Read again what may have changed since the last time."""
        if self._clock.monotonic_s() - self._read_at_s < READ_EVERY_S:
            return
        self._read_at_s = self._clock.monotonic_s()
        models = list(self._models)
        names = [
            *(cost_memory(model) for model in models),
            *(features_memory(model) for model in models),
            *(eta_memory(model) for model in models),
            *(starts_memory(self._models[model].pool or model) for model in models),
        ]
        try:
            found = await self._history.memories(names)
        except SpringtideError as error:
            log.debug("nothing new about run times: %s", error)
            return
        count = len(models)
        told = (found[first : first + count] for first in range(0, 4 * count, count))
        for model, cost, features, eta, starts in zip(models, *told, strict=True):
            _take(self._costs, model, cost, CostMemory)
            _take(self._features, model, features, CostMemory)
            _take(self._calibrations, model, eta, Calibration)
            if starts is not None and (seconds := memory_of(starts.body, list[float])):
                self._starts_s[model] = statistics.median(seconds)

    def predicted_s(self, model: ModelName, foretold: Foretold) -> float:
        """Run seconds of a job of which its engine says this: what it is queued with."""
        learnt = self._features.get(model, _NOTHING)
        known = self._said.get(model)
        if known is None or known.learnt is not learnt or known.told != foretold:
            run_s = min(middle_s(learnt, foretold.features, foretold.estimate_s), self._models[model].timeout_s)
            known = self._said[model] = _Said(learnt, foretold, run_s)
        return known.run_s

    def run(self, model: ModelName, predicted_s: float) -> Prediction:
        """Run seconds of a job that was queued with this figure, whatever has been learnt since."""
        costs = self._costs.get(model, _NOTHING)
        known = self._runs.get(model)
        if known is None or known.costs is not costs or known.predicted_s != predicted_s:
            known = self._runs[model] = _Run(costs, predicted_s, predict(costs, {}, predicted_s))
        return known.prediction

    def promise(self, view: QueueView, job: Job, *, entered: int) -> Foretold:
        """What is foretold of a job that comes now, to be kept with it. entered: jobs that came since the view."""
        foretold = job.foretold or Foretold(estimate_s=job.predicted_s)
        tail = self._tail(view)
        if tail.start_s is None:
            return msgspec.structs.replace(foretold, done_s=None)
        run = self.run(view.model, job.predicted_s)
        behind = max(0, entered - tail.free) * run.median_s / tail.lanes  # spread evenly over who is there
        laid = lay_out(tail.start_s + behind, run.median_s, run.p90_s)
        return Foretold(
            estimate_s=foretold.estimate_s,
            features=foretold.features,
            done_s=round(laid.middle_s, 3),
            spread=round(laid.spread, 4),
            waits=laid.waits,
        )

    def of_promised(self, model: ModelName, foretold: Foretold) -> Eta | None:
        """What a client is told of such a promise."""
        if foretold.done_s is None:
            return None
        calibration = self._calibrations.get(model)
        return _eta(band_of(foretold.done_s, foretold.spread, waits=foretold.waits, calibration=calibration))

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
            start_s = self._tail(view).start_s
        return None if start_s is None else _eta(self._band(view.model, start_s, self.run(view.model, estimate_s)))

    def of_coming(self, view: QueueView, estimate_s: float, *, jobs: int) -> Eta | None:
        """Until the last of so many jobs that are not there yet will have ended; None as above."""
        before = view.queued + jobs - 1
        start_s = self._start_s(view, before, view.predicted_s + (jobs - 1) * estimate_s)
        return None if start_s is None else _eta(self._band(view.model, start_s, self.run(view.model, estimate_s)))

    def _band(self, model: ModelName, start_s: float, run: Prediction) -> Band:
        laid = lay_out(start_s, run.median_s, run.p90_s)
        return band_of(laid.middle_s, laid.spread, waits=laid.waits, calibration=self._calibrations.get(model))

    def of_running(self, model: ModelName, estimate_s: float, elapsed_s: float, fraction: float | None) -> Eta:
        """The same for one that runs."""
        run = self.run(model, estimate_s)
        if fraction is not None and fraction >= _MIN_FRACTION:
            rest_s = elapsed_s * (1 - fraction) / fraction
        else:
            rest_s = max(0.0, run.median_s - elapsed_s)
        spread = math.log(run.p90_s / run.median_s) / Z90
        wide, narrow = math.exp(Z95 * spread), math.exp(Z75 * spread)
        told = (rest_s, rest_s / wide, rest_s * wide, rest_s / narrow, rest_s * narrow)
        return Eta(*(round(each, 3) for each in told))

    def _tail(self, view: QueueView) -> _Tail:
        """The end of the queue. Worked out once for each view: submits ask thousands of times."""
        known = self._tails.get(view.model)
        if known is None or known.view is not view:
            up = [worker for worker in view.workers if worker.state in _UP]
            idle = sum(not worker.held for worker in up)
            known = self._tails[view.model] = _Tail(
                view=view,
                start_s=self._start_s(view, view.queued, view.predicted_s),
                free=max(0, idle - view.queued - 1),
                lanes=max(1, len(up)),
            )
        return known

    def _start_s(self, view: QueueView, ahead: int, work_s: float) -> float | None:
        """The same behind so many jobs, whose engine's estimates add up to `work_s`."""
        place = self._place(view, ahead, work_s)
        is_there = place.idle or place.busy_left_s or place.loading_left_s
        return start(place) if is_there or place.may_grow else None

    def _place(self, view: QueueView, ahead: int, work_s: float) -> Place:
        each_s = self.run(view.model, work_s / ahead if ahead else 1.0).median_s
        cold_s = self.usual_start_s(view.model)
        up = [worker for worker in view.workers if worker.state in _UP]
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
_KindT = TypeVar("_KindT")


def _take(into: dict[ModelName, _KindT], model: ModelName, memory: Memory | None, kind: type[_KindT]) -> None:
    if memory is not None and (learnt := memory_of(memory.body, kind)) is not None:
        into[model] = learnt


def _eta(band: Band) -> Eta:
    return Eta(
        s=round(band.median_s, 3),
        low_s=round(band.low90_s, 3),
        high_s=round(band.high90_s, 3),
        likely_low_s=round(band.low50_s, 3),
        likely_high_s=round(band.high50_s, 3),
    )


def _may_grow(model: ServedModel, view: QueueView) -> bool:
    return model.max_replicas is not None and len(view.workers) < model.max_replicas

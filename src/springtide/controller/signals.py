"""Measures what the policies see: `await look()` gives one frozen `PoolView` for every model, with its age.

Figures come from three places: the queue and its workers from the broker, processes from the fleet, and the past (who
came, who waited too long, how long the last ones took) from the record. A place that cannot be asked makes its figures
old or None, never zero: policies hold on them. Counters and integrals are this process's own and begin at nought with
it; policies take differences. Cold starts that were measured are remembered beyond a restart.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from springtide.broker.protocol import Broker
from springtide.controller.workers import fresh_usages, is_failing, is_up, mean, together
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.fleet import QueueView, Replica, ReplicaPhase, Trouble, WorkerView
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.lease import LiveJob
from springtide.fleet.protocol import Fleet
from springtide.ledger.history import Arrived, Ended, FleetHistory, Memory, cost_memory, starts_memory
from springtide.policy.cost import CostMemory, predict
from springtide.policy.elastic.view import PoolView, memory_of
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import COLD_START

log = logging.getLogger(__name__)
COUNT_EVERY_S = 2.0  # arrivals: a range of the primary key, a millisecond for thousands of jobs
SETTLE_S = 1.0  # a job's id is made before its commit: later ones are counted by then
JUDGE_EVERY_S = 10.0  # who began in time, and how long the last ones took
NOTED_AFTER_S = 4.0  # that an attempt runs is on record two seconds after it began, a little more under load
RECENT_S = 900.0
RECENT_JOBS = 1000  # of all models
COLD_STARTS = 30  # as many as a 90 % quantile needs to mean something
MIN_FRACTION = 0.05  # below it, elapsed time divided by progress says nothing
DEFAULT_RUN_S = 1.0  # where nothing has run yet and the queue predicts nothing


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is scaled: a model, or several that share workers."""

    models: tuple[ModelName, ...]
    wait_s: float = 30.0  # the wait that is aimed at
    share: float | None = None  # of jobs, that shall begin within it
    shared_by: int = 1  # jobs that may share one run: work is counted in runs


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    view: PoolView
    models: tuple[ModelName, ...] = ()  # whose jobs its workers run
    idle: tuple[WorkerId, ...] = ()  # who may leave without anybody noticing, longest idle first
    queue: QueueView | None = None
    wait_s_p95: float | None = None  # of the jobs that ended last
    restarts: int = 0  # workers that died and were started again, since the fleet was
    troubles: tuple[Trouble, ...] = ()  # what keeps workers from coming up


class Signals:
    """Looks, again and again."""

    def __init__(
        self,
        broker: Broker,
        fleet: Fleet,
        history: FleetHistory,
        clock: Clock,
        *,
        pools: Mapping[ModelName, Pool],
        metrics: Metrics | None = None,
    ) -> None:
        self._broker = broker
        self._fleet = fleet
        self._history = history
        self._clock = clock
        self._pools = pools
        self._gauges = {name: _Gauge(name, pool, metrics or Metrics()) for name, pool in pools.items()}
        self._count_from_s: float | None = None
        self._judge_from_s: float | None = None
        self._knows_the_past = False
        self._costs: dict[ModelName, CostMemory] = {}

    async def look(self, *, paused: Container[ModelName] = ()) -> dict[ModelName, Looked]:
        """Everything as it is now. paused: of models that share workers, what waits for these asks for none."""
        now_s = self._clock.now_s()
        replicas = await self._fleet.observe()
        await self._ask_the_record(now_s)
        views, running = await self._ask_the_broker(now_s)
        found: dict[ModelName, Looked] = {}
        for name, gauge in self._gauges.items():
            mine = [replica for replica in replicas if replica.model == name]
            models = self._pools[name].models
            if views is not None:
                mixed = [_at_rest(views[m]) if m in paused and len(models) > 1 else views[m] for m in models]
                queue = together(name, mixed)
                gauge.saw(queue, [job for model in models for job in running[model]], mine, now_s)
            troubles = tuple(replica.trouble for replica in mine if replica.trouble is not None)
            found[name] = msgspec.structs.replace(gauge.read(mine, now_s), models=models, troubles=troubles)
        return found

    async def _ask_the_broker(
        self, now_s: float
    ) -> tuple[dict[ModelName, QueueView] | None, dict[ModelName, list[LiveJob]]]:
        models = [model for pool in self._pools.values() for model in pool.models]
        try:
            views = {view.model: self._sized(view) for view in await self._broker.queues(models, now_s)}
            busy = [model for model in models if views[model].leased]
            running: dict[ModelName, list[LiveJob]] = {model: [] for model in models}
            for model in busy:
                running[model] = await self._broker.held([model], now_s, min_age_s=0.0)
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("no figures of the queues: %s", error)
            return None, {}
        return views, running

    def _sized(self, view: QueueView) -> QueueView:
        return msgspec.structs.replace(view, predicted_s=self._corrected(view.model, view.predicted_s, view.queued))

    async def _ask_the_record(self, now_s: float) -> None:
        try:
            await self._recall()
            await self._count(now_s)
            await self._judge(now_s)
            await self._keep(now_s)
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("no figures of the past: %s", error)

    async def _recall(self) -> None:
        """Cold starts that a controller before this one has measured."""
        if self._knows_the_past:
            return
        names = list(self._gauges)
        for name, memory in zip(names, await self._history.memories([starts_memory(n) for n in names]), strict=True):
            if memory is not None:
                self._gauges[name].cold_starts.extend(float(one) for one in json.loads(memory.body))
        self._knows_the_past = True

    async def _count(self, now_s: float) -> None:
        until_s = now_s - SETTLE_S
        if self._count_from_s is None:
            self._count_from_s = until_s
        if until_s - self._count_from_s < COUNT_EVERY_S:
            return
        came = {one.model: one for one in await self._history.arrived(since_s=self._count_from_s, until_s=until_s)}
        self._count_from_s = until_s
        for name, gauge in self._gauges.items():
            gauge.came(self._arrivals(came[model]) for model in self._pools[name].models if model in came)

    def _arrivals(self, came: Arrived) -> Arrived:
        work_s = self._corrected(came.model, came.work_s, came.jobs)
        factor = work_s / came.work_s if came.work_s > 0 else 1.0
        return Arrived(model=came.model, jobs=came.jobs, work_s=work_s, work_s2=came.work_s2 * factor**2)

    async def _judge(self, now_s: float) -> None:
        """How the jobs fared that came just so long ago that it is known by now."""
        if self._judge_from_s is None:
            self._judge_from_s = now_s
        if now_s - self._judge_from_s < JUDGE_EVERY_S:
            return
        since_s, self._judge_from_s = self._judge_from_s, now_s
        newest = await self._history.ended(since_s=now_s - RECENT_S, limit=RECENT_JOBS)
        for name, gauge in self._gauges.items():
            pool = self._pools[name]
            back_s = pool.wait_s + NOTED_AFTER_S
            for model in pool.models:
                told = await self._history.attained(
                    model, wait_s=pool.wait_s, since_s=since_s - back_s, until_s=now_s - back_s, now_s=now_s
                )
                gauge.started += told.jobs
                gauge.late += told.late
            gauge.ended([one for one in newest if one.model in pool.models])
        await self._learn_costs()

    async def _learn_costs(self) -> None:
        """How far engines' estimates are off, as `controller.costs` has found."""
        models = [model for pool in self._pools.values() for model in pool.models]
        found = await self._history.memories([cost_memory(model) for model in models])
        for model, memory in zip(models, found, strict=True):
            cost = None if memory is None else memory_of(memory.body, CostMemory)
            if cost is not None:
                self._costs[model] = cost

    def _corrected(self, model: ModelName, work_s: float, jobs: int) -> float:
        """Predicted seconds of so many jobs, from the sum of their engine's estimates."""
        cost = self._costs.get(model)
        if cost is None or jobs == 0:
            return work_s
        return jobs * predict(cost, {}, work_s / jobs).median_s

    async def _keep(self, now_s: float) -> None:
        fresh = [gauge for gauge in self._gauges.values() if gauge.has_learnt]
        await self._history.put_memories(
            [
                Memory(name=starts_memory(gauge.name), at_s=now_s, body=json.dumps(list(gauge.cold_starts)))
                for gauge in fresh
            ]
        )
        for gauge in fresh:
            gauge.has_learnt = False


def _at_rest(view: QueueView) -> QueueView:
    """The queue of a paused model, as its colleagues' workers see it: nothing to do."""
    return msgspec.structs.replace(view, queued=0, predicted_s=0.0, oldest_enqueued_at_s=None)


class _Gauge:
    """What is known of one pool between looks."""

    def __init__(self, name: ModelName, pool: Pool, metrics: Metrics) -> None:
        self.name = name
        self._metrics = metrics
        self._shared_by = pool.shared_by
        self.cold_starts: deque[float] = deque(maxlen=COLD_STARTS)
        self.has_learnt = False  # a cold start that is not written down yet
        self.started = 0
        self.late = 0
        self._queue: QueueView | None = None
        self._running: dict[WorkerId, list[LiveJob]] = {}
        self._at_s: float | None = None
        self._first_look_s: float | None = None
        self._arrived = 0
        self._arrived_s = 0.0
        self._arrived_s2 = 0.0
        self._inside_s = 0.0
        self._busy_s = 0.0
        self._ready_s = 0.0
        self._idle_since_s: dict[WorkerId, float] = {}
        self._has_been_up: set[WorkerId] = set()
        self._run_s: float | None = None
        self._latency_s_p95: float | None = None
        self._wait_s_p95: float | None = None

    def came(self, arrived: Iterable[Arrived]) -> None:
        for one in arrived:
            self._arrived += one.jobs
            self._arrived_s += one.work_s / self._shared_by
            self._arrived_s2 += one.work_s2 / self._shared_by**2

    def ended(self, jobs: Sequence[Ended]) -> None:
        if not jobs:
            return
        self._run_s = statistics.median(job.run_s for job in jobs)
        self._latency_s_p95 = _quantile([job.wait_s + job.run_s for job in jobs], 0.95)
        self._wait_s_p95 = _quantile([job.wait_s for job in jobs], 0.95)

    def saw(self, queue: QueueView, running: Sequence[LiveJob], replicas: Sequence[Replica], now_s: float) -> None:
        """Take in a fresh view of the queue: add to the integrals what the time since the last one was like."""
        past_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        if self._queue is not None:
            up = [worker for worker in self._queue.workers if is_up(worker)]
            self._inside_s += past_s * (self._queue.queued + self._queue.leased)
            self._ready_s += past_s * len(up)
            self._busy_s += past_s * sum(worker.held > 0 for worker in up)
        self._queue, self._at_s = queue, now_s
        self._first_look_s = now_s if self._first_look_s is None else self._first_look_s
        self._running = {}
        for job in running:
            if job.worker is not None:
                self._running.setdefault(job.worker, []).append(job)
        here = {replica.worker: replica for replica in replicas}
        for worker in queue.workers:
            self._note_cold_start(worker, here.get(worker.worker), now_s)
        idle = {worker.worker for worker in queue.workers if is_up(worker) and worker.held == 0}
        self._idle_since_s = {worker: self._idle_since_s.get(worker, now_s) for worker in idle}
        self._has_been_up &= set(here)

    def read(self, replicas: Sequence[Replica], now_s: float) -> Looked:
        """The pool as it is, from what was seen last."""
        workers = {worker.worker: worker for worker in self._queue.workers} if self._queue else {}
        idle: list[tuple[float, WorkerId]] = []
        busy_left_s: list[float] = []
        loading_left_s: list[float] = []
        draining = failing = 0
        for replica in replicas:
            worker = workers.get(replica.worker)
            if replica.phase is ReplicaPhase.DRAINING:
                draining += 1
            elif replica.phase is ReplicaPhase.BACKING_OFF or is_failing(worker):
                failing += 1
            elif worker is None or not is_up(worker):
                loading_left_s.append(self._cold_start_s - (now_s - replica.started_at_s))
            elif worker.held == 0:
                idle.append((now_s - self._idle_since_s.get(replica.worker, now_s), replica.worker))
            else:
                busy_left_s.append(self._rest_s(worker, now_s))
        idle.sort(reverse=True)
        usages = fresh_usages(
            [worker for one in replicas if (worker := workers.get(one.worker)) and is_up(worker)], now_s
        )
        queue = self._queue
        oldest = queue.oldest_enqueued_at_s if queue else None
        view = PoolView(
            now_s=now_s,
            age_s=0.0 if self._at_s is None else now_s - self._at_s,
            waiting=queue.queued if queue else None,
            waiting_s=queue.predicted_s / self._shared_by if queue else 0.0,
            oldest_wait_s=0.0 if oldest is None else max(0.0, now_s - oldest),
            arrived=self._arrived,
            arrived_s=self._arrived_s,
            arrived_s2=self._arrived_s2,
            started=self.started,
            late=self.late,
            inside_s=self._inside_s,
            busy_s=self._busy_s,
            ready_s=self._ready_s,
            idle_for_s=tuple(for_s for for_s, _ in idle),
            busy_left_s=tuple(busy_left_s),
            loading_left_s=tuple(loading_left_s),
            draining=draining,
            failing=failing,
            cold_start_s=statistics.median(self.cold_starts) if self.cold_starts else None,
            cold_start_s_p90=_quantile(self.cold_starts, 0.9),
            latency_s_p95=self._latency_s_p95,
            gpu_utilization=mean(usage.gpu for usage in usages),
            gpu_memory=mean(usage.gpu_memory for usage in usages),
            cpu_utilization=mean(usage.cpu for usage in usages),
            memory_utilization=mean(usage.memory for usage in usages),
            measured=len(usages),
        )
        return Looked(
            view=view,
            idle=tuple(worker for _, worker in idle),
            queue=queue,
            wait_s_p95=self._wait_s_p95,
            restarts=max((replica.restarts for replica in replicas), default=0),
        )

    @property
    def _cold_start_s(self) -> float:
        return statistics.median(self.cold_starts) if self.cold_starts else 0.0

    def _note_cold_start(self, worker: WorkerView, replica: Replica | None, now_s: float) -> None:
        """From the start of its process to its first word that it takes jobs. Of a worker that was there before us
        nobody can tell when it first said so."""
        if replica is None or worker.worker in self._has_been_up or not is_up(worker):
            return
        self._has_been_up.add(worker.worker)
        if self._first_look_s is not None and self._first_look_s <= replica.started_at_s <= worker.beat_at_s:
            took_s = max(0.0, min(worker.beat_at_s, now_s) - replica.started_at_s)
            self.cold_starts.append(took_s)
            self._metrics.observe(COLD_START, self.name, value=took_s)
            self.has_learnt = True

    def _rest_s(self, worker: WorkerView, now_s: float) -> float:
        """Seconds until it is idle, if nothing more comes; below zero where it is late by so much."""
        run_s = self._run_s
        if run_s is None:
            queue = self._queue
            run_s = queue.predicted_s / queue.queued if queue and queue.queued else DEFAULT_RUN_S
        jobs = sorted(self._running.get(worker.worker, ()), key=lambda job: job.started_at_s or now_s)
        if not jobs:
            return run_s
        elapsed_s = max(0.0, now_s - (jobs[0].started_at_s or now_s))
        fraction = jobs[0].fraction
        if fraction is not None and fraction >= MIN_FRACTION:
            rest_s = elapsed_s * (1.0 - fraction) / fraction
        else:
            rest_s = run_s - elapsed_s
        return rest_s + run_s * (len(jobs) - 1)


def _quantile(values: Iterable[float], q: float) -> float | None:
    """By the nearest rank; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None

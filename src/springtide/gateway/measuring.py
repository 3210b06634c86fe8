"""What the gateway counts of requests, and what it looks up when it is scraped: queues, workers, dependencies.

Promises: counting a request costs a few microseconds; a route is told by its template and never by its path, so that no
id of a job and no typing mistake becomes a label. A broker that is down takes its gauges with it: no data is not zero.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import QueueView, WorkerView
from springtide.domain.ids import JobId
from springtide.domain.lease import LEASE_TTL_S
from springtide.gateway.problems import CODE
from springtide.gateway.services import GatewayServices
from springtide.telemetry import metrics_catalogue as names
from springtide.telemetry.metrics import OTHER, Metrics, Series

BEGAN = "springtide.began_s"  # in a request's scope
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_NO_JOB = JobId("job_" + "0" * 32)
_OF_QUEUES = (
    names.QUEUE_JOBS,
    names.QUEUE_RUNNING,
    names.QUEUE_OLDEST,
    names.QUEUE_WORK,
    names.TENANT_QUEUED,
    names.TENANT_RUNNING,
    names.WORKERS,
    names.WORKER_GPU,
    names.WORKER_GPU_MEMORY,
    names.WORKER_CPU,
    names.WORKER_MEMORY,
)
_USAGES: tuple[tuple[Series, str], ...] = (
    (names.WORKER_GPU, "gpu"),
    (names.WORKER_GPU_MEMORY, "gpu_memory"),
    (names.WORKER_CPU, "cpu"),
    (names.WORKER_MEMORY, "memory"),
)


class Requests:
    """Counts the requests of one application."""

    def __init__(self, services: GatewayServices) -> None:
        self._metrics = services.metrics
        self._clock = services.clock

    def begin(self, scope: Any) -> None:
        scope[BEGAN] = self._clock.monotonic_s()

    def answered(self, scope: Any, status: int) -> None:
        """The head of an answer leaves."""
        metrics, method = self._metrics, scope["method"]
        route = scope.get("path_template") or OTHER
        metrics.add(names.HTTP_REQUESTS, method if method in _METHODS else OTHER, route, str(status))
        began_s = scope.get(BEGAN)
        if began_s is not None:
            metrics.observe(names.HTTP_SECONDS, route, value=self._clock.monotonic_s() - began_s)
        if status >= 400 and (code := scope["state"].get(CODE)) is not None:
            metrics.add(names.HTTP_PROBLEMS, code)


class Looking:
    """Asks what is only known where it is asked for. `look` is for `Exposition`."""

    def __init__(self, services: GatewayServices) -> None:
        self._services = services
        self._metrics = services.metrics
        self._timeout_s = services.settings.ready_timeout_s

    async def look(self) -> None:
        await asyncio.gather(self._look_at_ledger(), self._look_at_queues(), self._look_at_disks())

    async def _look_at_disks(self) -> None:
        self._metrics.forget(names.DISK_FREE)
        for place, folder in self._services.settings.disks:
            usage = await self._answer(asyncio.to_thread(shutil.disk_usage, folder))  # a network share may hang
            if usage is not None:
                self._metrics.set(names.DISK_FREE, place, value=usage.free / max(usage.total, 1))

    async def _look_at_ledger(self) -> None:
        found = await self._answer(self._services.ledger.get([_NO_JOB]))
        self._metrics.set(names.DEPENDENCY_UP, "ledger", value=float(found is not None))

    async def _look_at_queues(self) -> None:
        services, now_s = self._services, self._services.clock.now_s()
        found = await self._answer(services.broker.queues(list(services.models), now_s))
        self._metrics.forget(*_OF_QUEUES)
        self._metrics.set(names.DEPENDENCY_UP, "broker", value=float(found is not None))
        if found is not None:
            tell_queues(self._metrics, found, now_s)

    async def _answer(self, asking: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asking
        except (TimeoutError, SpringtideError, OSError):
            return None


def tell_queues(metrics: Metrics, views: Sequence[QueueView], now_s: float) -> None:
    """Queues and workers as these views have them."""
    queued: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for view in views:
        oldest = view.oldest_enqueued_at_s
        metrics.set(names.QUEUE_JOBS, view.model, value=view.queued)
        metrics.set(names.QUEUE_RUNNING, view.model, value=view.leased)
        metrics.set(names.QUEUE_OLDEST, view.model, value=0.0 if oldest is None else max(0.0, now_s - oldest))
        metrics.set(names.QUEUE_WORK, view.model, value=view.predicted_s)
        for load in view.tenants:
            queued[load.tenant] += load.queued
            running[load.tenant] += load.running
        for state, count in Counter(worker.state.value for worker in view.workers).items():
            metrics.set(names.WORKERS, view.model, state, value=count)
        for worker in view.workers:
            _tell_usage(metrics, worker, now_s)
    for series, loads in ((names.TENANT_QUEUED, queued), (names.TENANT_RUNNING, running)):
        for tenant, count in loads.items():
            metrics.set(series, tenant, value=count)


def _tell_usage(metrics: Metrics, worker: WorkerView, now_s: float) -> None:
    """What it measured, while that is fresh; nothing is said of what it could not measure."""
    usage = worker.usage
    if usage is None or abs(now_s - usage.at_s) > LEASE_TTL_S:
        return
    for series, field in _USAGES:
        value = getattr(usage, field)
        if value is not None:
            metrics.set(series, worker.model, worker.worker, value=value)

"""Why a queued job waits, in words a client can act on: `explain(...) -> Waiting | None`.

The reason named is the one that would have to change first. No data is not a reason: without figures it is None.
"""

from __future__ import annotations

import msgspec

from springtide.domain.fleet import QueueView, WorkerView
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import LiveJob, WorkerState
from springtide.domain.tenant import Tenant

REMOVED_AFTER_S = 600.0  # a rolling change of configuration takes minutes, and must not fail jobs
_ABLE = frozenset({WorkerState.READY, WorkerState.BUSY})
_COMING = frozenset({WorkerState.STARTING, WorkerState.UNLOADED})


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job waits. `code` is stable; the message has the figures."""

    code: str
    message: str


def explain(
    view: QueueView | None,
    live: LiveJob | None,
    now_s: float,
    *,
    max_replicas: int | None = None,
    max_running: int | None = None,
    tenant: Tenant | None = None,
) -> Waiting | None:
    """Why a queued job of a model that is served here waits.

    view: its model's queue, None where the broker cannot be asked. live: the job's own place there, where known.
    max_replicas, max_running: of its model, where known. tenant: whose job it is.
    """
    if view is None:
        return None
    problem = engine_problem(view)
    if problem is not None:
        return _not_loading(problem)
    if live is not None and live.retry_at_s is not None and live.retry_at_s > now_s:
        message = f"attempt {live.attempt} failed; the next one is due in {_seconds(live.retry_at_s - now_s)}"
        return Waiting(code="retry_delay", message=message)
    able = sum(worker.state in _ABLE for worker in view.workers)
    if able:
        return _at_limit(view, max_running, tenant) or _behind(live, able)
    starting = sum(worker.state is WorkerState.STARTING for worker in view.workers)
    if starting:
        return Waiting(code="worker_starting", message=f"{_count(starting, 'worker')} loading the model")
    if any(worker.state is WorkerState.UNLOADED for worker in view.workers):
        return Waiting(code="no_room", message="its worker makes room for the model beside the others that it hosts")
    if max_replicas == 0:
        return Waiting(code="no_worker", message="no worker may run: max_replicas of the model is 0")
    return Waiting(code="no_worker", message="no worker is up; the controller starts one while jobs wait")


def explain_removed() -> Waiting:
    """The same for a job whose model is not in the configuration (any more)."""
    message = f"its model is not in the configuration; unless it comes back, the job fails after {REMOVED_AFTER_S:g} s"
    return Waiting(code="model_removed", message=message)


def engine_problem(view: QueueView) -> JobError | None:
    """Why a model's engine does not load, where no worker of it works and none has hope."""
    if has_hope(view):
        return None
    return next((worker.problem for worker in view.workers if worker.problem is not None), None)


def has_hope(view: QueueView, *, besides: WorkerId | None = None) -> bool:
    """Whether some worker (other than `besides`) runs jobs, or loads its engine and has not failed at it."""
    return any(_may_serve(worker) for worker in view.workers if worker.worker != besides)


def _may_serve(worker: WorkerView) -> bool:
    return worker.state in _ABLE or (worker.state in _COMING and worker.problem is None)


def _not_loading(problem: JobError) -> Waiting:
    failed, most = problem.details.get("failed_loads"), problem.details.get("load_attempts")
    tries = ""
    if isinstance(failed, int) and isinstance(most, int):
        left = most - failed
        if left > 0:
            tries = f" ({failed} of {most} loads failed; after {left} more, waiting jobs are failed)"
        else:
            tries = f" ({failed} loads in a row failed; waiting jobs are failed)"
    return Waiting(code="engine_not_loading", message=f"the model's engine does not load: {problem.message}{tries}")


def _at_limit(view: QueueView, max_running: int | None, tenant: Tenant | None) -> Waiting | None:
    """A limit that holds it back whoever is idle: the tenant's own, else the model's."""
    if tenant is not None and tenant.max_running is not None:
        running = next((load.running for load in view.tenants if load.tenant == tenant.id), 0)
        if running >= tenant.max_running:
            message = f"{running} of at most {tenant.max_running} jobs of its tenant are in progress (max_running)"
            return Waiting(code="tenant_limit", message=message)
    if max_running is not None and view.leased >= max_running:
        message = f"{view.leased} of at most {max_running} jobs of its model are in progress (max_running)"
        return Waiting(code="model_limit", message=message)
    return None


def _behind(live: LiveJob | None, able: int) -> Waiting:
    ahead = live.ahead if live is not None else None
    if ahead is None:
        return Waiting(code="queued_behind", message=f"it waits for its turn; {_count(able, 'worker')} up")
    message = f"{_count(ahead, 'job')} ahead of it; {_count(able, 'worker')} up"
    return Waiting(code="queued_behind", message=message if ahead else f"it is next; {_count(able, 'worker')} up")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _seconds(seconds: float) -> str:
    return f"{max(1, round(seconds))} s"

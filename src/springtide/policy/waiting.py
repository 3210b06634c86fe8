"""Why a queued job waits, in words a client can act on: `reasons(...) -> list[Waiting]`.

The first is the one that would have to change first: what a status and a stream tell (`explain`). No data is not a
reason: without figures there is none.
"""

from __future__ import annotations

import msgspec

from springtide.domain.fleet import QueueView, WorkerView
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import LiveJob, WorkerState
from springtide.domain.orders import Pause, Pin
from springtide.domain.tenant import Tenant
from springtide.policy.elastic.by_hand import clock

REMOVED_AFTER_S = 600.0  # a rolling change of configuration takes minutes, and must not fail jobs
_ABLE = frozenset({WorkerState.READY, WorkerState.BUSY})
_COMING = frozenset({WorkerState.STARTING, WorkerState.UNLOADED})


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job waits. `code` is stable; the message has the figures in words."""

    code: str
    message: str
    figures: dict[str, float] = {}


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker more would need of something that all models share, and what is left of it."""

    what: str  # GPUs, processors
    takes: float
    free: float
    of: float


def explain(
    view: QueueView | None,
    live: LiveJob | None,
    now_s: float,
    *,
    max_replicas: int | None = None,
    max_running: int | None = None,
    tenant: Tenant | None = None,
    room: Room | None = None,
) -> Waiting | None:
    """The first of `reasons`."""
    found = reasons(view, live, now_s, max_replicas=max_replicas, max_running=max_running, tenant=tenant, room=room)
    return found[0] if found else None


def reasons(  # noqa: PLR0913  # each is one thing that can hold a job up, by keyword
    view: QueueView | None,
    live: LiveJob | None,
    now_s: float,
    *,
    max_replicas: int | None = None,
    max_running: int | None = None,
    tenant: Tenant | None = None,
    pause: Pause | None = None,
    pin: Pin | None = None,
    room: Room | None = None,
) -> list[Waiting]:
    """Everything that holds up a queued job of a model that is served here, what has to change first at the front.

    view: its model's queue, None where the broker cannot be asked. live: the job's own place there, where known.
    max_replicas, max_running: of its model, where known. tenant: whose job it is. room: that a worker more would need
    and that is not there. pause, pin: what an operator has ordered for its model.
    """
    if view is None:
        return []
    found: list[Waiting] = [] if pause is None else [_paused(pause, now_s)]
    problem = engine_problem(view)
    if problem is not None:
        found.append(_not_loading(problem))
    if live is not None and live.retry_at_s is not None and live.retry_at_s > now_s:
        left_s = live.retry_at_s - now_s
        message = f"attempt {live.attempt} failed; the next one is due in {_seconds(left_s)}"
        figures = {"attempt": float(live.attempt), "due_in_s": round(left_s, 1)}
        found.append(Waiting(code="retry_delay", message=message, figures=figures))
    if pause is not None:
        return found
    able = sum(worker.state in _ABLE for worker in view.workers)
    if room is not None and not _would_grow(view, max_replicas if pin is None else pin.replicas):
        room = None
    if able:
        limits = _limits(view, max_running, tenant)
        if room is not None and not limits:
            found.append(_no_room(room))
        found += [*limits, *([] if limits and live is None else [_behind(live, able)])]
        if max_replicas is not None and len(view.workers) >= max_replicas and all(one.held for one in view.workers):
            found.append(_no_capacity(view, max_replicas))
    elif problem is None and room is not None:
        found.append(_no_room(room))
    elif problem is None:
        found.append(_no_worker(view, max_replicas, pin))
    return found


def _paused(pause: Pause, now_s: float) -> Waiting:
    why = f": {pause.note}" if pause.note else ""
    message = f"its model is paused by an operator since {clock(pause.at_s)}{why}; it is kept, and begun when resumed"
    return Waiting(code="paused", message=message, figures={"paused_s": round(max(0.0, now_s - pause.at_s), 1)})


def _would_grow(view: QueueView, max_replicas: int | None) -> bool:
    """Whether only another worker would take the job at once: all that are there are busy, and one more may run."""
    is_full = max_replicas is not None and len(view.workers) >= max_replicas
    return not is_full and all(one.held or one.state is WorkerState.DRAINING for one in view.workers)


def _no_room(room: Room) -> Waiting:
    message = f"waits for {room.takes:g} {room.what}: {room.free:g} of {room.of:g} free"
    figures = {"takes": room.takes, "free": room.free, "of": room.of}
    return Waiting(code="fleet_full", message=message, figures=figures)


def _no_worker(view: QueueView, max_replicas: int | None, pin: Pin | None) -> Waiting:
    starting = sum(worker.state is WorkerState.STARTING for worker in view.workers)
    if starting:
        message, figures = f"{_count(starting, 'worker')} loading the model", {"starting": float(starting)}
        return Waiting(code="worker_starting", message=message, figures=figures)
    if any(worker.state is WorkerState.UNLOADED for worker in view.workers):
        return Waiting(code="no_room", message="its worker makes room for the model beside the others that it hosts")
    if pin is not None and pin.replicas == 0:
        why = f": {pin.note}" if pin.note else ""
        message = f"no worker may run: an operator has set the model to none, {_until(pin)}{why}"
        return Waiting(code="no_worker", message=message, figures={"pinned": 0.0})
    if max_replicas == 0:
        message = "no worker may run: max_replicas of the model is 0"
        return Waiting(code="no_worker", message=message, figures={"max_replicas": 0.0})
    return Waiting(code="no_worker", message="no worker is up; the controller starts one while jobs wait")


def _no_capacity(view: QueueView, max_replicas: int) -> Waiting:
    message = f"all {_count(max_replicas, 'worker')} busy, and no more may run (max_replicas)"
    figures = {"workers": float(len(view.workers)), "max_replicas": float(max_replicas)}
    return Waiting(
        code="no_capacity", message=message.replace("all 1 worker is", "the only worker is"), figures=figures
    )


def explain_removed() -> Waiting:
    """The same for a job whose model is not in the configuration (any more)."""
    message = f"its model is not in the configuration; unless it comes back, the job fails after {REMOVED_AFTER_S:g} s"
    return Waiting(code="model_removed", message=message, figures={"fails_after_s": REMOVED_AFTER_S})


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
    message = f"the model's engine does not load: {problem.message}{tries}"
    told = {"failed_loads": failed, "load_attempts": most}
    figures = {name: float(value) for name, value in told.items() if isinstance(value, int)}
    return Waiting(code="engine_not_loading", message=message, figures=figures)


def _limits(view: QueueView, max_running: int | None, tenant: Tenant | None) -> list[Waiting]:
    """Limits that hold it back whoever is idle: the tenant's own, then the model's."""
    found: list[Waiting] = []
    if tenant is not None and tenant.max_running is not None:
        running = next((load.running for load in view.tenants if load.tenant == tenant.id), 0)
        if running >= tenant.max_running:
            message = f"{running} of at most {tenant.max_running} jobs of its tenant are in progress (max_running)"
            figures = {"running": float(running), "max_running": float(tenant.max_running)}
            found.append(Waiting(code="tenant_limit", message=message, figures=figures))
    if max_running is not None and view.leased >= max_running:
        message = f"{view.leased} of at most {max_running} jobs of its model are in progress (max_running)"
        figures = {"running": float(view.leased), "max_running": float(max_running)}
        found.append(Waiting(code="model_limit", message=message, figures=figures))
    return found


def _behind(live: LiveJob | None, able: int) -> Waiting:
    ahead = live.ahead if live is not None else None
    if ahead is None:
        message, figures = f"it waits for its turn; {_count(able, 'worker')} up", {"workers": float(able)}
        return Waiting(code="queued_behind", message=message, figures=figures)
    message = f"{_count(ahead, 'job')} ahead of it" if ahead else "it is next"
    figures = {"ahead": float(ahead), "workers": float(able)}
    return Waiting(code="queued_behind", message=f"{message}; {_count(able, 'worker')} up", figures=figures)


def _until(pin: Pin) -> str:
    return "until it is taken back" if pin.until_s is None else f"until {clock(pin.until_s)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _seconds(seconds: float) -> str:
    return f"{max(1, round(seconds))} s"

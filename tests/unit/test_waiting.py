"""Why a queued job waits: one reason at a time, the one that would have to change first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from springtide.domain.fleet import QueueView, TenantLoad, WorkerView
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import JobError, JobStatus
from springtide.domain.lease import LiveJob, WorkerState
from springtide.domain.tenant import Tenant
from springtide.policy.waiting import Room, Waiting, engine_problem, explain, explain_removed, has_hope

NOW_S = 1000.0
MODEL = ModelName("m")
STARTING, READY, BUSY = WorkerState.STARTING, WorkerState.READY, WorkerState.BUSY
DRAINING, FAILING = WorkerState.DRAINING, WorkerState.FAILING


def problem(failed: int = 2) -> JobError:
    details = {"failed_loads": failed, "load_attempts": 6}
    return JobError(code="load_failed", message="OSError: no device", retryable=True, details=details)


def view(*workers: WorkerState | tuple[WorkerState, JobError]) -> QueueView:
    told = [worker if isinstance(worker, tuple) else (worker, None) for worker in workers]
    return QueueView(
        model=MODEL,
        queued=1,
        leased=0,
        predicted_s=1.0,
        oldest_enqueued_at_s=NOW_S,
        workers=tuple(
            WorkerView(worker=WorkerId(f"w-{n}"), model=MODEL, state=state, held=0, beat_at_s=NOW_S, problem=trouble)
            for n, (state, trouble) in enumerate(told)
        ),
        taken_at_s=NOW_S,
    )


def live(ahead: int | None = 0, retry_at_s: float | None = None) -> LiveJob:
    return LiveJob(id=JobId("j"), status=JobStatus.QUEUED, attempt=1, ahead=ahead, retry_at_s=retry_at_s)


def why(queue: QueueView, job: LiveJob | None = None, **known: Any) -> Waiting:
    waiting = explain(queue, job, NOW_S, **known)
    assert waiting is not None
    return waiting


@pytest.mark.parametrize(
    ("queue", "job", "code", "told"),
    [
        (view(), None, "no_worker", "the controller starts one"),
        (view(DRAINING), live(), "no_worker", "no worker is up"),
        (view(STARTING), live(), "worker_starting", "1 worker is loading"),
        (view(STARTING, STARTING), live(), "worker_starting", "2 workers are loading"),
        (view(WorkerState.UNLOADED), live(), "no_room", "makes room for the model"),
        (view(WorkerState.UNLOADED, STARTING), live(), "worker_starting", "1 worker is loading"),
        (view((WorkerState.UNLOADED, problem())), live(), "engine_not_loading", "OSError"),
        (view((STARTING, problem())), live(), "engine_not_loading", "OSError: no device (2 of 6 loads failed; after 4"),
        (
            view((FAILING, problem(9))),
            live(),
            "engine_not_loading",
            "(9 loads in a row failed; waiting jobs are failed",
        ),
        (view((FAILING, problem())), live(None, NOW_S + 9), "engine_not_loading", "OSError"),
        (view((FAILING, problem()), STARTING), live(), "worker_starting", "1 worker"),
        (view((FAILING, problem()), BUSY), live(3), "queued_behind", "3 jobs are ahead of it; 1 worker is up"),
        (view(BUSY, READY), live(1), "queued_behind", "1 job is ahead of it; 2 workers are up"),
        (view(BUSY), live(0), "queued_behind", "it is next"),
        (view(BUSY), None, "queued_behind", "waits for its turn"),
        (view(READY), live(None, NOW_S + 4), "retry_delay", "attempt 1 failed; the next one is due in 4 s"),
        (view(READY), live(None, NOW_S - 1), "queued_behind", "waits for its turn"),
    ],
)
def test_the_reason_that_would_have_to_change_first_is_named(
    queue: QueueView, job: LiveJob | None, code: str, told: str
) -> None:
    waiting = why(queue, job)
    assert waiting.code == code
    assert told in waiting.message


@pytest.mark.parametrize(
    ("running", "leased", "code"),
    [(2, 2, "tenant_limit"), (1, 5, "model_limit"), (2, 5, "tenant_limit"), (1, 4, "queued_behind")],
)
def test_a_limit_that_is_reached_is_named_the_tenants_first(running: int, leased: int, code: str) -> None:
    acme = Tenant(id=TenantId("acme"), max_running=2)
    load = TenantLoad(tenant=acme.id, queued=1, running=running)
    full = msgspec.structs.replace(view(BUSY), tenants=(load,), leased=leased)
    waiting = why(full, live(0), tenant=acme, max_running=5)
    assert waiting.code == code
    assert "max_running" in waiting.message or code == "queued_behind"


def test_without_a_worker_a_limit_is_not_the_reason() -> None:
    acme = Tenant(id=TenantId("acme"), max_running=1)
    load = TenantLoad(tenant=acme.id, queued=1, running=1)
    assert why(msgspec.structs.replace(view(), tenants=(load,)), tenant=acme).code == "no_worker"


def test_a_model_that_may_have_no_worker_says_so() -> None:
    assert "max_replicas" in why(view(), max_replicas=0).message
    assert "max_replicas" not in why(view(), max_replicas=3).message


def test_no_figures_are_no_reason() -> None:
    assert explain(None, live(), NOW_S) is None


def test_a_removed_model_has_a_reason_of_its_own() -> None:
    assert explain_removed().code == "model_removed"


def test_hope_is_a_worker_that_works_or_loads_without_trouble() -> None:
    me = WorkerId("w-0")
    broken = (FAILING, problem())
    assert not has_hope(view(broken), besides=me)
    assert not has_hope(view(broken, broken, DRAINING, (STARTING, problem())), besides=me)
    assert all(has_hope(view(broken, other), besides=me) for other in (READY, BUSY, STARTING))
    assert not has_hope(view(READY), besides=me)


def test_a_problem_is_the_models_only_where_no_worker_has_hope() -> None:
    assert engine_problem(view((FAILING, problem()))) == problem()
    assert engine_problem(view((FAILING, problem()), READY)) is None
    assert engine_problem(view()) is None


@pytest.mark.parametrize(
    ("queue", "most", "code"),
    [
        (view(), 4, "fleet_full"),
        (view(DRAINING), 4, "fleet_full"),
        (view(STARTING), 4, "worker_starting"),
        (view(READY), 4, "queued_behind"),  # it will take the job
        (view(), 0, "no_worker"),  # room would not help
        (view((FAILING, problem())), 4, "engine_not_loading"),
    ],
)
def test_a_full_fleet_is_the_reason_only_where_another_worker_would_help(
    queue: QueueView, most: int, code: str
) -> None:
    room = Room(what="GPUs", takes=4.0, free=1.0, of=8.0)
    waiting = why(queue, live(), room=room, max_replicas=most)
    assert waiting.code == code
    if code == "fleet_full":
        assert waiting.message == "waits for 4 GPUs: 1 of 8 free"
        assert waiting.figures == {"takes": 4.0, "free": 1.0, "of": 8.0}

"""What the controllers count: ends, waits, retries, seconds, deliveries, decisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world

from springtide.controller.fleet_figures import FleetFigures
from springtide.controller.reaper import Reaper
from springtide.controller.signals import Looked
from springtide.controller.tally import Tally
from springtide.domain.fleet import Decision
from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import Foretold, JobError, JobStatus
from springtide.domain.lease import LEASE_TTL_S, Outcome
from springtide.policy.elastic.view import PoolView
from springtide.runtime.clock import SystemClock
from springtide.telemetry import metrics_catalogue as names
from springtide.telemetry.metrics import Metrics

MODEL = ModelName("synthetic")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


def _tally(world: World) -> Tally:
    services = world.services
    return Tally(services.metrics, services.ledger, [MODEL], services.clock)


async def test_each_end_is_counted_once_with_what_it_took_and_whom_it_is_billed_to(world: World) -> None:
    tally, metrics = _tally(world), world.services.metrics
    world.recorder._on_recorded = tally.recorded  # pyright: ignore[reportPrivateUsage]  # the world's own recorder
    for _ in range(2):
        await world.submit(seconds=2)
        await world.complete(await world.lease(), {"seconds": 2, "steps": 1})
    await world.submit(seconds=2)
    await world.fail(await world.lease(), JobError(code="bad_media", message="no"))
    await tally.count()
    await tally.count()
    assert metrics.sums(names.JOBS_ENDED) == {
        ("synthetic", "completed", ""): 2,
        ("synthetic", "failed", "engine_failed"): 0,
        ("synthetic", "failed", "bad_media"): 1,
    }
    assert metrics.sums(names.TENANT_ENDED) == {("default", "completed"): 2, ("default", "failed"): 1}
    assert sum(metrics.cells(names.JOB_WAIT)[(MODEL,)][:-1]) == 3
    assert sum(metrics.cells(names.JOB_LATENCY)[(MODEL,)][:-1]) == 2, "an end without a result has no latency"
    assert sum(metrics.cells(names.RECORD_LAG)[()][:-1]) == 3
    [(billed, seconds)] = metrics.sums(names.GPU_SECONDS).items()
    assert billed == ("default", MODEL) and seconds > 0


async def test_a_retry_is_no_end_and_tells_its_error(world: World) -> None:
    tally, metrics = _tally(world), world.services.metrics
    retried = Outcome(
        seq="1-1",
        id=(await _id(world)),
        model=MODEL,
        status=JobStatus.QUEUED,
        attempt=1,
        finished_at_s=world.services.clock.now_s(),
        error=JobError(code="worker_lost", message="silent", retryable=True),
    )
    tally.recorded([retried], [False])
    assert metrics.sums(names.JOB_RETRIES) == {(MODEL, "worker_lost"): 1}
    assert sum(metrics.sums(names.JOBS_ENDED).values()) == 0


async def _id(world: World) -> str:
    return (await world.submit())["id"]


async def test_sound_and_frames_are_told_by_what_the_engine_knows_of_them(world: World) -> None:
    tally, metrics = _tally(world), world.services.metrics
    job = (await world.services.ledger.get([await _id(world)]))[0]
    assert job is not None and job.foretold is not None
    told = Foretold(estimate_s=1.0, features={"sound_s": 20.0, "frames": 500.0})
    done = msgspec.structs.replace(job, status=JobStatus.COMPLETED, finished_at_s=job.created_at_s + 6, foretold=told)
    tally._count(done, 5.0)  # pyright: ignore[reportPrivateUsage]
    tally._count(msgspec.structs.replace(done, outputs={"frames": 100}), 5.0)  # pyright: ignore[reportPrivateUsage]
    assert metrics.sums(names.SOUND_SECONDS) == {(MODEL,): 40.0}
    assert metrics.cells(names.REAL_TIME_FACTOR)[(MODEL,)][-1] == pytest.approx(0.5)
    assert metrics.sums(names.FRAMES) == {(MODEL,): 600.0}
    assert metrics.cells(names.FRAME_RATE)[(MODEL,)][-1] == pytest.approx(120.0)


async def test_leases_that_expire_are_counted_by_who_took_them_back(world: World) -> None:
    metrics = Metrics()
    await world.submit()
    await world.lease()
    broker, now_s = world.services.broker, world.services.clock.now_s()

    class _Later:
        def now_s(self) -> float:
            return now_s + LEASE_TTL_S + 1

        def monotonic_s(self) -> float:
            return self.now_s()

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0)

    reaper = Reaper(broker, [MODEL], _Later(), metrics=metrics)
    await reaper.reap_once()
    assert metrics.sums(names.LEASES_EXPIRED) == {(): 1}


def test_the_fleet_is_told_as_the_scaler_sees_it_and_sums_only_grow() -> None:
    metrics = Metrics()
    figures = FleetFigures(metrics, {MODEL: 0.99})

    def look(busy_s: float, ready_s: float, *, late: int, restarts: int) -> None:
        view = PoolView(now_s=0.0, busy_s=busy_s, ready_s=ready_s, started=10, late=late, busy_left_s=(1.0,), failing=2)
        decision = Decision(model=MODEL, replicas=3, reason="QUEUE", message="")
        figures.looked({MODEL: Looked(view=view, restarts=restarts)}, {MODEL: decision})

    look(5.0, 8.0, late=1, restarts=2)
    look(9.0, 13.0, late=1, restarts=0)  # no replica is left to tell how often it was restarted
    look(9.0, 13.0, late=2, restarts=3)
    assert metrics.sums(names.BUSY_SECONDS) == {(MODEL,): 9.0}
    assert metrics.sums(names.IDLE_SECONDS) == {(MODEL,): 4.0}
    assert metrics.sums(names.OBJECTIVE_LATE) == {(MODEL,): 2.0}
    assert metrics.sums(names.RESTARTS) == {(MODEL,): 3.0}
    assert metrics.gauges(names.REPLICAS, 0.0)[(MODEL, "failing")] == 2
    assert metrics.gauges(names.REPLICAS_WANTED, 0.0) == {(MODEL,): 3}
    assert metrics.gauges(names.REASON, 0.0) == {(MODEL, "QUEUE"): 1}
    figures.decided(Decision(model=MODEL, replicas=3, reason="QUEUE", message=""), before=1)
    assert metrics.sums(names.DECISIONS) == {(MODEL, "QUEUE", "out"): 1}


async def test_an_end_that_tells_all_is_counted_without_asking_the_record() -> None:
    metrics = Metrics()
    tally = Tally(metrics, None, [MODEL], SystemClock())  # pyright: ignore[reportArgumentType]  # nobody is to ask it
    quick = Outcome(
        seq="1-1",
        id=JobId("job_1"),
        model=ModelName("synthetic@2"),
        status=JobStatus.COMPLETED,
        attempt=1,
        finished_at_s=107.0,
        started_at_s=103.0,
        run_s=0.01,
        tenant=TenantId("ann"),
        enqueued_at_s=100.0,
    )
    tally.recorded([quick], [True])
    await tally.count()
    assert metrics.sums(names.TENANT_ENDED) == {("ann", "completed"): 1}
    assert metrics.sums(names.GPU_SECONDS) == {("ann", MODEL): 0.01}
    assert metrics.cells(names.JOB_WAIT)[(MODEL,)][-1] == 3.0
    assert metrics.cells(names.JOB_LATENCY)[(MODEL,)][-1] == 7.0


@pytest.mark.parametrize("more", [{"attempt": 2}, {"run_s": 1.0}, {"tenant": None}])
async def test_what_only_the_record_knows_is_looked_up(world: World, more: dict[str, Any]) -> None:
    tally, metrics = _tally(world), world.services.metrics
    ended = Outcome(
        seq="1-1",
        id=JobId(await _id(world)),
        model=MODEL,
        status=JobStatus.COMPLETED,
        attempt=1,
        finished_at_s=107.0,
        tenant=TenantId("not as the record says"),
        enqueued_at_s=100.0,
    )
    tally.recorded([msgspec.structs.replace(ended, **more)], [True])
    assert metrics.sums(names.TENANT_ENDED) == {}
    await tally.count()
    assert sum(metrics.sums(names.TENANT_ENDED).values()) == 1

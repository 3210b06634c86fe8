"""Gangs as processes of this machine: what ranks are told, how a loss is named, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest

from springtide.domain.ids import ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet.gangs import REPORTED_EXIT, GangPhase, GangShape, GangView, Runs, attempt_of, gang_name
from springtide.fleet.processes import LocalGangs
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_job_id

# Ranks without the platform, which start in 20 ms: each writes down what it was told.
TOLD = """
import json, os, sys, time
names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
told = {name: os.environ.get(name) for name in names}
folder = os.environ["SPRINGTIDE_RANK_FOLDER"]
open(os.path.join(folder, "..", "told-" + told["RANK"]), "w").write(json.dumps(told))
while told["RANK"] == "0" and not os.path.exists(os.path.join(folder, "..", "told-1")):
    time.sleep(0.01)
"""
WAITS = "import time; time.sleep(600)"


def lease(attempt: int = 1) -> Lease:
    return Lease(
        id=new_job_id(),
        model=ModelName("film"),
        tenant=TenantId("t"),
        worker=WorkerId("film-1"),
        attempt=attempt,
        max_attempts=3,
        payload=msgspec.msgpack.encode(Payload(inputs={})),
        timeout_s=60.0,
        enqueued_at_s=0.0,
    )


def gangs(folder: Path, code: str, *, worker: str = "film-1", **shape: int) -> LocalGangs:
    argv = (sys.executable, "-S", "-c", code)
    return LocalGangs(folder, WorkerId(worker), GangShape(**shape), argv=argv, clock=SystemClock())


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith("told-")]


async def over(gangs: LocalGangs, view: GangView) -> GangView:
    while not view.is_over:
        view = await gangs.change(view)
    return view


async def running(gangs: LocalGangs, given: Lease) -> list[psutil.Process]:
    view = await gangs.start(given)
    while view.phase is GangPhase.PENDING:
        view = await gangs.change(view)
    [noted] = gangs._own.glob("job-*/ranks.json")
    return [psutil.Process(pid) for pid, _ in json.loads(noted.read_text())]


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[LocalGangs]:
    one = gangs(tmp_path, WAITS, processes=2)
    await one.open()
    yield one
    for view in await one.list():
        await one.stop(view.name)
    await one.close()


async def test_every_rank_is_told_what_torchrun_would_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    one = gangs(tmp_path, TOLD, processes=2, gpus_each=1)
    await one.open()
    view = await over(one, await one.start(lease()))
    assert view.phase is GangPhase.SUCCEEDED
    told = [json.loads((one._own / f"told-{rank}").read_text()) for rank in (0, 1)]
    ports = {each["MASTER_PORT"] for each in told}
    assert len(ports) == 1 and int(ports.pop()) > 1023
    assert [(each["RANK"], each["LOCAL_RANK"], each["WORLD_SIZE"]) for each in told] == [
        ("0", "0", "2"),
        ("1", "1", "2"),
    ]
    assert {each["CUDA_VISIBLE_DEVICES"] for each in told} == {"4,5"}
    await one.stop(view.name)
    assert names(tmp_path / "film-1") == [".lock"]
    await one.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "phase", "said"),
    [
        (f"import os; os._exit({REPORTED_EXIT})", GangPhase.SUCCEEDED, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", GangPhase.FAILED, "was ended by SIGSEGV"),
        ("print('last words'); raise SystemExit(9)", GangPhase.FAILED, "ended with exit code 9"),
    ],
)
async def test_an_end_is_told_as_what_it_was(tmp_path: Path, code: str, phase: GangPhase, said: str | None) -> None:
    one = gangs(tmp_path, code)
    await one.open()
    view = await over(one, await one.start(lease()))
    assert view.phase is phase
    if said is not None:
        assert view.error is not None
        assert view.error.retryable and said in view.error.message
        assert "last words" not in code or view.error.details["stderr"] == "last words"
    await one.stop(view.name)
    await one.close()


async def test_a_gang_that_is_stopped_leaves_no_process(waiting: LocalGangs) -> None:
    given = lease()
    ranks = await running(waiting, given)
    assert len(ranks) == 2
    await waiting.stop(gang_name(given.id, 1))
    assert not [rank for rank in ranks if rank.is_running()]
    gone = await waiting.change(await waiting.start(given))
    assert gone.name == gang_name(given.id, 1)


async def test_what_a_dead_worker_left_is_listed_and_stopped_by_the_next(waiting: LocalGangs, tmp_path: Path) -> None:
    given = lease()
    ranks = await running(waiting, given)
    other = gangs(tmp_path, WAITS, worker="film-2")
    await other.open()
    assert await other.list() == [], "it lives: its gangs are its own"
    assert waiting._lock is not None
    os.close(waiting._lock)  # as the kernel does when its process dies
    [left] = await other.list()
    assert (left.job, left.worker, left.is_orphan) == (given.id, "film-1", True)
    await other.stop(left.name)
    for rank in ranks:
        rank.wait(60)
    assert await other.list() == []
    waiting._lock = None
    await other.close()


async def test_the_same_attempt_is_started_once(waiting: LocalGangs) -> None:
    given = lease()
    ranks = await running(waiting, given)
    again = await waiting.start(given)
    assert again.phase is GangPhase.RUNNING
    assert [rank.pid for rank in await running(waiting, given)] == [rank.pid for rank in ranks]


def test_a_gang_s_name_is_a_dns_label_that_tells_job_and_attempt() -> None:
    job = new_job_id()
    name = gang_name(job, 12)
    assert len(name) <= 46 and name.replace("-", "").isalnum() and name.islower()
    assert attempt_of(name) == (job, 12)
    assert attempt_of("springtide-worker-film") is None
    assert Runs("processes") is Runs.PROCESSES

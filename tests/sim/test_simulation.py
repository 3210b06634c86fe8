"""Whole installations in virtual time, under seeded faults: every promise is kept, and a broken one would be seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from springtide.broker.memory_jobs import ModelJobs
from springtide.controller.conductor import Conductor
from springtide.controller.recorder import Recorder
from springtide.controller.sweeper import Sweeper
from springtide.domain.lease import Outcome
from springtide.sim.loop import Stalled, run_virtually
from springtide.sim.world import Plan, simulate

SEEDS = range(24)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_whatever_goes_wrong(seed: int) -> None:
    outcome = simulate(Plan(seed=seed, hours=0.06))
    again = f"python -m springtide.sim --seed {seed} --hours 0.06 --trace run.txt"
    assert not outcome.violations, "\n".join([*outcome.violations, again])
    assert outcome.accepted


def test_an_hour_of_faults_passes() -> None:
    outcome = simulate(Plan(seed=1000))
    assert not outcome.violations
    assert outcome.simulated_s > 3600
    assert outcome.counts["reaped"], "an hour in which no lease was lost shows nothing"
    assert outcome.counts["ended.completed"] > outcome.accepted / 2


def test_without_faults_only_the_jobs_own_failures_are_left() -> None:
    outcome = simulate(Plan(seed=5, hours=0.1, faults=False))
    assert not outcome.violations
    assert outcome.counts.get("reaped", 0) == 0


def test_the_same_seed_gives_the_same_run_in_another_process(tmp_path: Path) -> None:
    traces: list[bytes] = []
    for hash_seed in "1", "2":  # sets of text in another order
        path = tmp_path / hash_seed
        command = [sys.executable, "-m", "springtide.sim", "--seed", "7", "--hours", "0.05", "--trace", str(path)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, stdout=subprocess.DEVNULL)
        traces.append(path.read_bytes())
    assert traces[0] == traces[1]
    assert traces[0].count(b"\n") > 400


def test_another_seed_gives_another_run() -> None:
    assert simulate(Plan(seed=1, hours=0.01)).digest != simulate(Plan(seed=2, hours=0.01)).digest


# --- the checkers have teeth: a product that is broken on purpose is caught -------------------------------------------


def _caught(says: str) -> None:
    for seed in range(6):
        outcome = simulate(Plan(seed=seed, hours=0.06))
        if any(says in violation for violation in outcome.violations):
            return
    raise AssertionError("no seed saw it")


def test_a_broker_that_takes_reports_from_anybody_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def owned(self: Any, worker: str, job: Any, attempt: int, now_s: float) -> Any:
        entry = self._live.get(job)
        return entry if entry is not None and entry.worker is not None else None

    monkeypatch.setattr(ModelJobs, "_owned", owned)
    _caught("was answered True")


def test_jobs_that_are_never_put_back_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sweep(self: Sweeper, *, settle_s: float = 0.0) -> int:
        return 0

    monkeypatch.setattr(Sweeper, "sweep", sweep)
    _caught("have not ended")


def test_pipelines_that_nobody_looks_after_once_a_wake_up_is_lost_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def conduct_all(self: Conductor) -> None:
        pass

    monkeypatch.setattr(Conductor, "conduct_all", conduct_all)
    _caught("have not ended")


def test_leases_that_are_never_taken_back_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelJobs, "reap", lambda self, now_s: [])
    _caught("have not ended")


def test_an_end_that_is_told_before_it_is_on_record_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def record_once(self: Recorder, *, wait_s: float = 5.0) -> int:
        from springtide.controller.recorder import _event

        outcomes: Sequence[Outcome] = await self._broker.read_outcomes(512, wait_s=wait_s)
        ended = [outcome for outcome in outcomes if outcome.status.is_terminal]
        for outcome in ended:
            await self._broker.announce(outcome.model, [_event(outcome)])
        await self._ledger.record(outcomes)
        await self._broker.ack_outcomes(outcomes, self._clock.now_s())
        return len(outcomes)

    monkeypatch.setattr(Recorder, "record_once", record_once)
    _caught("was announced as")


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_a_day_of_sleep_takes_no_time_and_its_order_is_kept() -> None:
    async def main() -> tuple[list[str], float]:
        woke: list[str] = []

        async def sleep(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            woke.append(name)

        await asyncio.gather(sleep("late", 86_400.0), sleep("early", 3_600.0), sleep("soon", 0.001))
        return woke, asyncio.get_running_loop().time()

    assert run_virtually(main) == (["soon", "early", "late"], 86_400.0)


def test_waiting_for_what_cannot_come_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled):
        run_virtually(main)

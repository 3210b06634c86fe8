"""kill -9 of each part of `springtide up` in the middle of 20 jobs: all 20 complete, each once on record."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest

from .conftest import DEADLINE_S, World, is_alive, kill

JOBS = 20


@pytest.mark.parametrize("victim", ["worker", "child", "gateway"])
def test_a_killed_part_loses_no_job(world: World, victim: str) -> None:
    world.up()
    accepted = world.submit(JOBS)
    world.wait_until_done(5)
    kill(world.one(victim))
    world.wait_until_done(JOBS)
    world.assert_each_completed_once(accepted)


def test_killing_springtide_up_alone_loses_no_job_and_leaves_no_process(world: World) -> None:
    """`up` is the controller: its death ends workers and gateway by themselves; a new one goes on."""
    up = world.up()
    accepted = world.submit(JOBS)
    world.wait_until_done(5)
    family = world.everything()
    kill(up)
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "the orphans to leave")
    world.up()
    world.wait_until_done(JOBS)
    world.assert_each_completed_once(accepted)


def test_killing_everything_at_once_loses_no_job(world: World) -> None:
    world.up()
    accepted = world.submit(JOBS)
    world.wait_until_done(5)
    for process in world.everything():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    world.up()
    world.wait_until_done(JOBS)
    world.assert_each_completed_once(accepted)


def test_sigterm_drains_and_what_was_queued_is_done_after_the_restart(world: World) -> None:
    up = world.up()
    accepted = world.submit(JOBS)
    world.wait_until_done(3)
    family = world.everything()
    up.terminate()
    up.wait(DEADLINE_S)
    before = world.statuses()
    assert set(before.values()) <= {"queued", "in_progress", "completed"}
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "everything below it to stop")
    world.up()
    world.wait_until_done(JOBS)
    world.assert_each_completed_once(accepted)


def test_a_closed_terminal_drains_like_sigterm(world: World) -> None:
    up = world.up()
    accepted = world.submit(4)
    world.wait_until_done(1)
    family = world.everything()
    up.send_signal(signal.SIGHUP)
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "everything to stop")
    assert "stopping: workers finish what they run" in world.whole_log()
    world.up()
    world.wait_until_done(4)
    world.assert_each_completed_once(accepted)


def test_asked_twice_it_stops_at_once_and_leaves_no_process(world: World, pause: Path) -> None:
    up = world.up()
    [job] = world.submit(1)
    world.wait_until_running(job)  # one that has not begun yet holds nobody up
    family = world.everything()
    up.send_signal(signal.SIGINT)
    world.wait_for(lambda: "stopping: workers finish" in world.whole_log(), "the first to be heard")
    time.sleep(1.5)  # within a second it would count as one
    up.send_signal(signal.SIGINT)
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "everything to stop")
    assert "stopping at once" in world.whole_log()
    assert world.statuses()[job] != "completed"
    pause.unlink()
    world.up()
    world.wait_until_done(1)
    world.assert_each_completed_once([job])


def test_sigterm_of_every_process_at_once_loses_no_job(world: World) -> None:
    world.up()
    accepted = world.submit(JOBS)
    world.wait_until_done(3)
    family = world.everything()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    world.wait_for(lambda: not [one for one in family if is_alive(one)], "everything to stop")
    world.up()
    world.wait_until_done(JOBS)
    world.assert_each_completed_once(accepted)

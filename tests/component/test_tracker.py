"""A worker keeps no process that has nothing to do, and an engine's semaphores do not outlive it."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, os, signal
import psutil
from springtide.worker import tracker

context = multiprocessing.get_context("forkserver")


def child(ours, needs_one):
    tracker.forget()
    kept = context.Semaphore() if needs_one else None
    ours.send(kept and kept._semlock.name)
    signal.pause()


def one(needs_one):
    theirs, ours = context.Pipe()
    process = context.Process(target=child, args=(ours, needs_one))
    tracker.pretend()
    process.start()
    name = theirs.recv()
    trackers = psutil.Process(process.pid).children()
    process.kill()
    process.join()
    psutil.wait_procs(trackers, timeout=120)
    return len(trackers), name and os.path.exists("/dev/shm/sem." + name.strip("/"))


if __name__ == "__main__":
    print(one(False), one(True))
    print([each.cmdline()[-1].split(";")[0] for each in psutil.Process().children()])
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="where semaphores are is known of Linux only")
def test_a_tracker_runs_only_below_an_engine_that_needs_one_and_cleans_up_after_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == [
        "(0, None) (1, False)",
        "['from multiprocessing.forkserver import main']",
    ]

"""The worker's smaller parts by themselves: frames, the blame after a death, scratch folders."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.errors import ConfigError
from springtide.domain.ids import JobId, WorkerId
from springtide.domain.job import JobError
from springtide.worker import outbox
from springtide.worker.frames import MOST_TOGETHER, FrameBuffer, Report, SharedRunning, TaskResult, encode
from springtide.worker.memory_watch import memory_of, oom_kills
from springtide.worker.run import UNSEEN_MAX, Ending, Run, Stop, endings_after_death
from springtide.worker.scratch import Scratch

CRASH = JobError(code="crashed", message="")


@given(sizes=st.lists(st.integers(0, 300), max_size=6), cut=st.integers(1, 50))
def test_frames_come_out_whole_however_the_stream_is_cut(sizes: list[int], cut: int) -> None:
    reports = [Report([], 0.0, [], [TaskResult(n, outputs=b"x" * size)]) for n, size in enumerate(sizes)]
    frames = [encode(report) for report in reports]
    stream = b"".join(frames)
    buffer = FrameBuffer()
    found = [body for at in range(0, len(stream), cut) for body in buffer.feed(stream[at : at + cut])]
    assert found == [frame[4:] for frame in frames]


@given(groups=st.lists(st.lists(st.integers(1, (1 << 64) - 1), max_size=MOST_TOGETHER), min_size=1, max_size=4))
def test_what_runs_is_what_was_said_last(groups: list[list[int]]) -> None:
    running = SharedRunning(multiprocessing.RawArray("Q", 1 + MOST_TOGETHER))
    for group in groups:
        running.say(group)
        assert running.read() == tuple(group)


def test_only_the_first_and_the_last_of_quick_progress_leaves_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PROGRESS_EVERY_S", 60.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        box = outbox.Outbox(theirs)
        for step in range(101):
            box.progress(1, step / 100, "work")
            box.flush()
        box.result(TaskResult(1))
        box.flush()
        reports = [msgspec.msgpack.decode(body, type=Report) for body in FrameBuffer().feed(ours.recv(1 << 20))]
    told = [(fraction, bool(report.results)) for report in reports for _, fraction, _, _ in report.progress]
    assert told == [(0.0, False), (1.0, True)]


def _runs(*seqs: int, **notes: Any) -> list[Run]:
    runs = [Run(JobId(f"job{seq}"), 1, b"", 60.0, "", "") for seq in seqs]
    for run, seq in zip(runs, seqs, strict=True):
        run.seq = seq
        for name, value in notes.items():
            setattr(run, name, value)
    return runs


def _told(endings: list[Ending]) -> list[str]:
    return [
        "again" if each.unbegun else "cancelled" if each.cancelled else each.error.code if each.error else "?"
        for each in endings
    ]


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ((4,), ["crashed", "again", "again"]),
        ((5,), ["again", "crashed", "again"]),  # the result of 4 was lost on the way: it is run again
        ((4, 6), ["again", "again", "again"]),  # two ran together: each is tried alone
        ((), ["again", "again", "again"]),  # none had begun
    ],
)
def test_only_what_ran_by_itself_is_blamed(running: tuple[int, ...], told: list[str]) -> None:
    assert _told(endings_after_death(_runs(4, 5, 6), running, CRASH)) == told


def test_what_ran_together_is_run_alone_the_next_time() -> None:
    runs = _runs(4, 5, 6)
    endings_after_death(runs, (4, 6), CRASH)
    assert [run.together for run in runs] == [1, MOST_TOGETHER, 1]


def test_what_ran_out_of_memory_together_is_run_in_halves_the_next_time() -> None:
    runs = _runs(*range(1, 9))
    endings_after_death(runs, tuple(range(1, 8)), JobError(code="out_of_memory", message=""))
    assert [run.together for run in runs] == [3] * 7 + [MOST_TOGETHER]


def test_a_run_that_was_to_stop_is_not_blamed_for_its_killing() -> None:
    assert _told(endings_after_death(_runs(4, stop=Stop.CANCELLED), (4,), CRASH)) == ["cancelled"]
    assert _told(endings_after_death(_runs(4, stop=Stop.TIMED_OUT), (4,), CRASH)) == ["timed_out"]


def test_a_job_whose_children_always_die_before_it_begins_is_blamed_in_the_end() -> None:
    (run,) = runs = _runs(4)
    for _ in range(UNSEEN_MAX):
        assert _told(endings_after_death(runs, (), CRASH)) == ["again"]
    assert _told(endings_after_death([run], (), CRASH)) == ["crashed"]


def test_a_job_behind_many_that_crash_is_never_blamed() -> None:
    *crashing, last = _runs(*range(1, 10))
    for run in crashing:
        assert _told(endings_after_death([run, last], (run.seq,), CRASH)) == ["crashed", "again"]


def test_left_overs_of_dead_workers_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    alive = Scratch(tmp_path, WorkerId("alive"))
    alive.prepare()
    kept = Path(alive.attempt(JobId("job"), 1))
    kept.mkdir()
    dying = multiprocessing.get_context("spawn").Process(target=_leave_litter, args=(tmp_path,))
    dying.start()
    dying.join()
    assert (tmp_path / "dead").exists()
    fresh = Scratch(tmp_path, WorkerId("fresh/../odd name"))
    fresh.prepare()
    assert kept.exists()
    assert not (tmp_path / "dead").exists()
    assert not (tmp_path / "dead.lock").exists()
    fresh.close()
    alive.close()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def _leave_litter(folder: Path) -> None:
    scratch = Scratch(folder, WorkerId("dead"))
    scratch.prepare()
    Path(scratch.attempt(JobId("job"), 1), "in").mkdir(parents=True)
    os._exit(0)


def test_an_attempt_that_comes_back_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, WorkerId("w"))
    assert scratch.attempt(JobId("job"), 1) != scratch.attempt(JobId("job"), 1)


def test_a_scratch_folder_that_cannot_be_made_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        Scratch(tmp_path / "file" / "scratch", WorkerId("w")).prepare()


def test_the_memory_of_a_process_is_known_and_that_of_none_is_not() -> None:
    used = memory_of(os.getpid())
    assert used is not None
    assert 1 < used.held_mb <= used.peak_mb
    assert memory_of(2**22 + 1) is None


@pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="only Linux counts kills for memory")
def test_kills_for_memory_are_counted() -> None:
    assert oom_kills() is not None

"""Temporary files of a worker's process go with it, also where it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.worker.temporary import own_temporary_folder

KILLED = """
import os, signal, tempfile
from springtide.worker.temporary import own_temporary_folder
with own_temporary_folder("first"):
    tempfile.mkdtemp(prefix="pymp-")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="st") as made:  # pytest's own path is too long for sockets
        monkeypatch.setattr(tempfile, "tempdir", made)
        monkeypatch.setenv("TMPDIR", made)
        yield Path(made)


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name != ".lock" and path.name != f"st-{os.getuid()}"]


ENDED = """
import multiprocessing.util, pathlib, tempfile
from springtide.worker.temporary import own_temporary_folder
with own_temporary_folder("first"):
    made = pathlib.Path(multiprocessing.util.get_temp_dir())
    (made / "listener-12345678").touch()
print(len(str(made / "listener-12345678")) - len(tempfile.gettempdir()))
"""


def test_what_a_worker_made_is_gone_after_it(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ENDED], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 50, "the path of a socket must be short"
    assert done.stderr == "", "nobody complains of a folder that is gone"
    assert _left(folder) == []


def test_what_a_killed_worker_left_goes_at_the_next_ones_start_and_a_living_ones_stays(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert any(name.startswith("pymp-") for name in _left(folder))
    with own_temporary_folder("second"):
        kept = Path(tempfile.mkdtemp())
        with own_temporary_folder("third"):
            assert kept.exists()
        assert not any(name.startswith("pymp-") for name in _left(folder))


def test_where_the_path_of_a_socket_would_be_too_long_the_usual_folder_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = folder / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with own_temporary_folder("one"):
        assert tempfile.gettempdir() == str(long)
    assert not list(long.iterdir())


def test_a_folder_that_others_may_look_into_is_not_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / f"st-{os.getuid()}").mkdir(mode=0o777)
    (folder / f"st-{os.getuid()}").chmod(0o777)
    with own_temporary_folder("one"):
        assert tempfile.gettempdir() == str(folder)
    assert "not this user's alone" in caplog.text

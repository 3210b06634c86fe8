"""Real processes, killed for real. Each test has its own folder and servers and stops exactly what it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest

from .pausing import VARIABLE

DEADLINE_S = 240.0  # of a condition that always comes: only a busy machine, or a defect, takes so long
CONFIG = """
[server]
port = 0
data_dir = "{data}"

[broker]
url = "{broker}"

[models.synthetic]
engine = "synthetic"
min_replicas = 1
max_replicas = 2
slots = 4
batch = 1
jobs_per_replica = 10
max_attempts = 5
"""


class World:
    """One installation: its folder, its processes, and the truth read straight from its ledger."""

    LOOK_EVERY_S: ClassVar = 0.05  # at what is waited for

    def __init__(self, folder: Path, broker: str = "memory://") -> None:
        self.data = folder / "data"
        self.config = folder / "springtide.toml"
        self.config.write_text(CONFIG.format(data=self.data, broker=broker))
        self.log = (folder / "log.txt").open("ab")
        self.started: list[psutil.Process] = []
        self.environment: dict[str, str] = {}  # beyond that of the tests

    def start(self, *command: str, before: Sequence[str] = ()) -> psutil.Process:
        """A `springtide` command as a process of its own group. before: a program that starts it, and its options."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
        env |= {"SPRINGTIDE_CONFIG": str(self.config), **self.environment}
        popen = subprocess.Popen(
            [*before, sys.executable, "-m", "springtide", *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        process = psutil.Process(popen.pid)
        process._popen = popen  # keep it: a collected Popen warns about its child
        self.started.append(process)
        return process

    def up(self) -> psutil.Process:
        process = self.start("up")
        self.wait_ready()
        return process

    @property
    def url(self) -> str | None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads((self.data / "server.json").read_text())["url"])
        return None

    def wait_ready(self) -> None:
        def ready() -> bool:
            url = self.url
            with contextlib.suppress(httpx.HTTPError):
                return url is not None and httpx.get(f"{url}/healthz", timeout=2).is_success
            return False

        self.wait_for(ready, "the gateway to answer")

    def submit(self, count: int, seconds: float = 0.25) -> list[str]:
        """`count` jobs that take a while; only ids that the server accepted."""
        accepted: list[str] = []
        for _ in range(count):
            body = {"model": "synthetic", "inputs": {"seconds": seconds, "steps": 5}}
            response = httpx.post(f"{self.url}/v1/jobs", json=body, timeout=60)
            assert response.status_code == 202, response.text
            accepted.append(response.json()["id"])
        return accepted

    def statuses(self) -> dict[str, str]:
        """Every job on record with its state, read from the ledger's own file."""
        with contextlib.closing(sqlite3.connect(self.data / "springtide.db", timeout=60)) as connection:
            return dict(connection.execute("SELECT id, status FROM jobs").fetchall())

    def attempts(self) -> dict[str, int]:
        """The number of the last attempt of every job, as far as it is on record."""
        with contextlib.closing(sqlite3.connect(self.data / "springtide.db", timeout=60)) as connection:
            return dict(connection.execute("SELECT id, attempt FROM jobs").fetchall())

    def done(self) -> int:
        return sum(status == "completed" for status in self.statuses().values())

    def wait_until_done(self, count: int) -> None:
        self.wait_for(lambda: self.done() >= count, f"{count} jobs to complete")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > deadline_s:
                pytest.fail(f"waited {DEADLINE_S:.0f} s for {what}; {self.statuses()}\n{self.tail()}")
            time.sleep(self.LOOK_EVERY_S)

    def wait_until_running(self, job: str) -> None:
        """Until its engine has begun: what is leased only may go back to the queue unharmed."""

        def is_running() -> bool:
            found: dict[str, Any] = httpx.get(f"{self.url}/v1/jobs/{job}", timeout=60).json()
            return bool(found["status"] == "in_progress" and found.get("progress"))

        self.wait_for(is_running, f"{job} to run")

    def find(self, role: str) -> list[psutil.Process]:
        """Processes of this world by role: gateway, worker, or child (of a worker: the engine's process)."""
        found: list[psutil.Process] = []
        for root in self.started:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [process for process in [root, *root.children(recursive=True)] if _role(process) == role]
        return found

    def one(self, role: str) -> psutil.Process:
        """A process of that role, as soon as there is one."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = self.find(role)
            return bool(found)

        self.wait_for(is_there, f"a {role}")
        return found[0]

    def everything(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for root in self.started:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [root, *root.children(recursive=True)]
        return found

    def assert_each_completed_once(self, accepted: list[str]) -> None:
        """All that was accepted has ended completed, and its record stays as it is."""
        statuses = self.statuses()
        assert {statuses.get(job) for job in accepted} == {"completed"}, statuses
        assert len(statuses) == len(set(accepted)), "a job was recorded that nobody submitted, or twice"

    def whole_log(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def tail(self) -> str:
        return self.whole_log()[-6000:]

    def close(self) -> None:
        for process in self.everything():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.started:
            process._popen.wait(60)
        self.log.close()


def _role(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
        words = " ".join(command)
        if "-m springtide" in words:
            return command[command.index("springtide") + 1]
        if "forkserver" in words and any("forkserver" in " ".join(parent.cmdline()) for parent in process.parents()):
            return "child"
    except psutil.Error:  # of it, or of a parent
        return "gone"
    return "other"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


@pytest.fixture
def pause(world: World, tmp_path: Path) -> Path:
    """While it is there no run gets to its end: whoever removes it knows what was done before."""
    world.config.write_text(world.config.read_text().replace('engine = "synthetic"', 'engine = "pausing:Pausing"'))
    path = tmp_path / "pause"
    path.touch()
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    world.environment |= {"PYTHONPATH": paths, VARIABLE: str(path)}
    return path


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.send_signal(signal.SIGKILL)
        process.wait(60)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

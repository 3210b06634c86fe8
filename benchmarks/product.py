"""Springtide as its user starts it: real processes, a folder of their own, ended by the id they were started with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from springtide.config import load_config

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
PULL_WITHIN_S = 900.0
SERVER = "[server]\nport = {port}\nmax_upload_mb = 2048\n"
# One worker, warm from the start; the engine does nothing, so that what is measured is the platform.
SYNTHETIC = """
[models.synthetic]
engine = "synthetic"
min_replicas = 1
max_replicas = 1
slots = 128
batch = 64
"""
REAL = """
[models.{name}]
engine = "{name}"
min_replicas = {replicas}
max_replicas = 1
"""


class Installation:
    """A folder with a configuration, and the processes started on it."""

    def __init__(self, folder: Path, models: str, *, port: int = 0) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.config = folder / "springtide.toml"
        self.config.write_text(SERVER.format(port=port) + models)
        self.log = folder / "log.txt"
        self.variables: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Ours alone: no setting of the user's shell reaches what is measured, but for where the code and the weights
        are. With PYTHONDONTWRITEBYTECODE, say, each process would compile all it imports: half of its start."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPRINGTIDE_", "PYTHON"))}
        weights = os.environ.get("SPRINGTIDE_SERVER__WEIGHTS_DIR")
        return {
            **kept,
            **({"PYTHONPATH": path} if (path := os.environ.get("PYTHONPATH")) else {}),
            **({"SPRINGTIDE_SERVER__WEIGHTS_DIR": weights} if weights else {}),
            "SPRINGTIDE_CONFIG": str(self.config),
            "SPRINGTIDE_SERVER__DATA_DIR": str(self.data),
            **self.variables,
        }

    @contextlib.contextmanager
    def process(self, *arguments: str, module: str = "springtide") -> Iterator[subprocess.Popen[bytes]]:
        """`springtide ARGUMENTS` until the block ends; then SIGTERM, and SIGKILL for what does not go."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                _end(process)

    @contextlib.contextmanager
    def up(self) -> Iterator[Running]:
        """`springtide up`, answering."""
        began = time.perf_counter()
        with self.process("up") as process:
            url = self._wait_for_answer(process)
            yield Running(self, process, url, time.perf_counter() - began)

    @contextlib.contextmanager
    def gateway(self, module: str = "springtide") -> Iterator[Running]:
        """`springtide gateway`, answering: no worker takes the jobs."""
        began = time.perf_counter()
        with self.process("gateway", module=module) as process:
            url = self._wait_for_answer(process)
            yield Running(self, process, url, time.perf_counter() - began)

    @property
    def broker_socket(self) -> Path:
        """Where workers reach the embedded broker."""
        kept, os.environ["SPRINGTIDE_SERVER__DATA_DIR"] = os.environ.get("SPRINGTIDE_SERVER__DATA_DIR"), str(self.data)
        try:
            return load_config(self.config).socket_path
        finally:
            if kept is None:
                del os.environ["SPRINGTIDE_SERVER__DATA_DIR"]
            else:
                os.environ["SPRINGTIDE_SERVER__DATA_DIR"] = kept

    def pull(self, model: str) -> None:
        """Fetch the weights of `model` where they are not there yet."""
        with self.process("models", "pull", model) as process:
            code = process.wait(PULL_WITHIN_S)
        if code != 0:
            raise RuntimeError(f"`springtide models pull {model}` ended with {code}:\n{self.tail()}")

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    def completed(self) -> int:
        """Jobs completed, as the ledger's own file says."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data / 'springtide.db'}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM jobs WHERE status = 'completed'").fetchone()[0])

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> str:
        deadline = time.perf_counter() + READY_WITHIN_S
        where = self.data / "server.json"
        while time.perf_counter() < deadline and process.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError, httpx.HTTPError):
                url = str(json.loads(where.read_text())["url"])
                if httpx.get(f"{url}/healthz", timeout=2, trust_env=False).status_code == 200:
                    return url
            time.sleep(0.005)
        code = process.poll()
        what = f"ended with {code}" if code is not None else f"did not answer within {READY_WITHIN_S:.0f} s"
        raise RuntimeError(f"`springtide up` {what}:\n{self.tail()}")


class Running:
    """A server that answers."""

    def __init__(self, home: Installation, process: subprocess.Popen[bytes], url: str, ready_after_s: float) -> None:
        self.home = home
        self.url = url
        self.ready_after_s = ready_after_s
        self._process = process
        self.http = httpx.Client(base_url=url, timeout=180, trust_env=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def processes(self) -> dict[int, str]:
        """Every process of this server by id, with what it is."""
        root = psutil.Process(self._process.pid)
        found = {root.pid: role_of(root)}
        for child in root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found[child.pid] = role_of(child)
        return found

    def wait_until_warm(self, model: str, deadline_s: float = 120.0) -> dict[str, Any]:
        """Until a worker of `model` says that it is ready; returns the model's live figures."""
        ends = time.perf_counter() + deadline_s
        while time.perf_counter() < ends:
            live = self.http.get(f"/v1/models/{model}").json().get("live") or {}
            workers = live.get("workers") or {}
            if workers.get("ready", 0) + workers.get("busy", 0) >= 1:
                return live
            time.sleep(0.05)
        raise RuntimeError(f"no worker of {model} was ready within {deadline_s:.0f} s:\n{self.home.tail()}")

    def wait_until_ended(self, job: str, *, poll_s: float, deadline_s: float) -> dict[str, Any]:
        """The job once it is completed. Raises RuntimeError where it ends otherwise."""
        ends = time.perf_counter() + deadline_s
        while time.perf_counter() < ends:
            found: dict[str, Any] = self.http.get(f"/v1/jobs/{job}").json()
            if found["status"] == "completed":
                return found
            if found["status"] not in {"queued", "in_progress"}:
                raise RuntimeError(f"{job} is {found['status']}: {found.get('error')}")
            time.sleep(poll_s)
        raise RuntimeError(f"{job} did not end within {deadline_s:.0f} s")

    def wait_until_completed(self, count: int, deadline_s: float = 120.0) -> None:
        """Until the ledger has `count` completed jobs. At most 50 looks a second."""
        ends = time.perf_counter() + deadline_s
        while (done := self.home.completed()) < count:
            if time.perf_counter() > ends:
                raise RuntimeError(f"{done} of {count} jobs were completed within {deadline_s:.0f} s")
            time.sleep(0.02)


def role_of(process: psutil.Process) -> str:
    """What a process of ours is, from its command line."""
    words = process.cmdline()
    if "springtide" in words:
        return words[words.index("springtide") + 1]
    joined = " ".join(words)
    if "forkserver" in joined:  # a forked engine keeps the command line of the server it came from
        parent = process.parent()
        is_forked = parent is not None and "forkserver" in " ".join(parent.cmdline())
        return "engine" if is_forked else "forkserver"
    if "springtide.gateway.front" in joined:
        return "front"
    if "springtide.ledger.writer" in joined:
        return "writer"
    if "resource_tracker" in joined:
        return "resource tracker"
    return Path(words[0]).name if words else "gone"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what was started here and everything below it."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.kill()
    process.wait()

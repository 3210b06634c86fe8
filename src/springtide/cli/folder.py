"""The data folder: one server at a time, and where that one is found.

Promises: a second `springtide up` on a folder is refused at once, with the address and the process of the first; a
gateway waits for its predecessor only where that one is on its way out because its parent is gone. The locks are the
kernel's: they end with the process that holds them, however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import TextIO

from springtide.domain.errors import ConfigError, SpringtideError

SERVER_FILE = "server.json"  # where a command finds the running server
UP_LOCK = "up.lock"
GATEWAY_LOCK = "lock"
LEAVES_WITHIN_S = 15.0  # a gateway that lost its parent: connections, what is not recorded yet, the database


def make(folder: Path) -> None:
    """The folder itself. Raises ConfigError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"server.data_dir: {folder} cannot be made or used: {error.strerror}"
        raise ConfigError(f"{message}; choose a folder you may write to") from error


@contextlib.contextmanager
def taken_by_up(folder: Path) -> Generator[None]:
    """Held by `springtide up` for its lifetime. Raises SpringtideError where a server runs there that will stay."""
    make(folder)
    with _opened(folder / UP_LOCK) as file:
        if not _lock(file):
            raise _refusal(folder, f"springtide up is pid {_owner(file)[0]}")
        _sign(file)
        _refuse_a_gateway_that_stays(folder)
        yield


def is_taken(folder: Path) -> bool:
    """Whether a `springtide up` runs there, be it still starting."""
    with contextlib.suppress(ConfigError), _opened(folder / UP_LOCK) as file:
        return not _lock(file)
    return False


@contextlib.asynccontextmanager
async def taken_by_gateway(folder: Path, *, supervised: bool) -> AsyncGenerator[None]:
    """Two embedded brokers on one ledger would lease the same job twice: the second waits for one that is leaving,
    else it is refused. `supervised`: `up` has looked already, so whoever is there is leaving."""
    with _opened(folder / GATEWAY_LOCK) as file:
        ends_at_s = asyncio.get_running_loop().time() + LEAVES_WITHIN_S
        while not _lock(file):
            pid, parent = _owner(file)
            is_late = asyncio.get_running_loop().time() > ends_at_s
            if is_late or not (supervised or _is_orphan(pid, parent)):
                raise _refusal(folder, f"its gateway is pid {pid}")
            await asyncio.sleep(0.1)
        _sign(file, parent=os.getppid() if supervised else 0)
        yield


@contextlib.contextmanager
def announced(folder: Path, url: str) -> Generator[None]:
    """A file that tells commands of this user where the server is."""
    path = folder / SERVER_FILE
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    temporary.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text())["pid"] == os.getpid():
                path.unlink()


def announced_url(folder: Path) -> str | None:
    """The address a live server wrote down; None where there is none, or it died without taking its note along."""
    try:
        note = json.loads((folder / SERVER_FILE).read_text())
        return str(note["url"]) if _is_alive(int(note["pid"])) else None
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _opened(path: Path) -> Generator[TextIO]:
    try:
        file = path.open("a+")
    except OSError as error:
        message = f"server.data_dir: {path} cannot be used: {error.strerror}"
        raise ConfigError(f"{message}; choose a folder you may write to") from error
    with file:
        yield file


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sign(file: TextIO, *, parent: int = 0) -> None:
    """Say who holds the lock, for the one who is refused."""
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()} {parent}")
    file.flush()


def _owner(file: TextIO) -> tuple[int, int]:
    """Pid of who signed last, and of the parent that keeps it; 0 where it has none, or nobody has signed yet."""
    file.seek(0)
    pid, _, parent = file.read().strip().partition(" ")
    return int(pid or 0), int(parent or 0)


def _refuse_a_gateway_that_stays(folder: Path) -> None:
    for pause_s in (0.2, 0.0):  # our own gateway may have taken the lock this moment, and not signed yet
        with _opened(folder / GATEWAY_LOCK) as file:
            if _lock(file):
                return
            pid, parent = _owner(file)
        if parent == os.getpid() or _is_orphan(pid, parent):
            return
        time.sleep(pause_s)
    raise _refusal(folder, f"its gateway is pid {pid}")


def _is_orphan(pid: int, parent: int) -> bool:
    """Whether the parent that kept this process is gone: then it is on its way out."""
    import psutil

    try:
        return parent != 0 and psutil.Process(pid).ppid() != parent  # a parent that nobody has buried is gone too
    except psutil.NoSuchProcess:
        return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _refusal(folder: Path, who: str) -> SpringtideError:
    url = announced_url(folder)
    where = f"at {url} " if url else ""
    return SpringtideError(
        f"Springtide already runs {where}on {folder} ({who}). Stop it, or use another folder: "
        f"SPRINGTIDE_SERVER__DATA_DIR or [server] data_dir in springtide.toml"
    )

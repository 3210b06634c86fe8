"""Finding the server that a command speaks to; for `run`, starting one where none is there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from springtide.client import Patience, Springtide, Unreachable
from springtide.domain.errors import SpringtideError

if TYPE_CHECKING:
    from springtide.config import Config

PATIENCE = Patience(retries=3)  # somebody looks at the screen: 3.5 s, enough for a server that restarts
OWN_SERVER_READY_S = 60.0
OWN_SERVER_STOP_S = 30.0
_err = Console(stderr=True)


class Where(msgspec.Struct, frozen=True):
    """Which server: the one at `url` (else `$SPRINGTIDE_URL`), else that of the configuration."""

    url: str | None = None
    config: Path | None = None

    @property
    def address(self) -> str | None:
        """What was named outright."""
        return self.url or os.environ.get("SPRINGTIDE_URL")

    def settings(self) -> Config:
        """The configuration; children of this process read the same file."""
        from springtide.cli import build

        if self.config is not None:
            os.environ["SPRINGTIDE_CONFIG"] = str(self.config.absolute())
        return build.load(self.config)


@contextlib.contextmanager
def connected(where: Where, *, patience: Patience = PATIENCE) -> Generator[Springtide]:
    """A client of the server; the configuration is read only where no address was given. Raises Unreachable at once
    where none was given and none runs here."""
    client = _named(where, patience)
    if client is not None:
        with client:
            yield client
        return
    with _configured(where.settings(), patience) as client:
        if not client.is_alive():
            raise Unreachable(f"nothing answers at {client.url}. Is `springtide up` running?")
        yield client


@contextlib.contextmanager
def connected_or_own(where: Where, *, before_start: Callable[[Config], None]) -> Generator[Springtide]:
    """The running server, or one of our own for as long as the block lasts; then `before_start` is called first."""
    if where.address:
        with connected(where) as client:
            yield client
        return
    config = where.settings()
    with _announced(config, PATIENCE) or _configured(config, PATIENCE) as client:
        if client.is_alive():
            yield client
            return
    before_start(config)
    with _own_server(config) as client:
        yield client


def _named(where: Where, patience: Patience) -> Springtide | None:
    """The server that was named outright, or that said where it is."""
    if where.address:
        return Springtide(where.address, patience=patience)
    return _announced(where.settings(), patience)


def _announced(config: Config, patience: Patience) -> Springtide | None:
    from springtide.cli.folder import announced_url

    url = announced_url(config.server.data_dir)
    return None if url is None else Springtide(url, patience=patience)


def _configured(config: Config, patience: Patience) -> Springtide:
    return Springtide(f"http://{config.server.host}:{config.server.port}", patience=patience)


@contextlib.contextmanager
def _own_server(config: Config) -> Generator[Springtide]:
    _err.print("no server is running: starting one for this job")
    env = {**os.environ, "SPRINGTIDE_SERVER__PORT": "0", "SPRINGTIDE_LOG": os.environ.get("SPRINGTIDE_LOG", "WARNING")}
    process = subprocess.Popen(
        [sys.executable, "-m", "springtide", "up", "--supervised"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with Springtide(_wait_for_own(config, process)) as client:
            yield client
    finally:
        process.terminate()
        try:
            process.wait(OWN_SERVER_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for_own(config: Config, process: subprocess.Popen[bytes]) -> str:
    from springtide.cli.folder import announced_url, is_taken

    deadline_s = time.monotonic() + OWN_SERVER_READY_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None and not is_taken(config.server.data_dir):  # by another command's, then ours too
            raise SpringtideError(f"the server ended with exit code {process.returncode}; the lines above say why")
        url = announced_url(config.server.data_dir)
        if url is not None:
            with Springtide(url) as client:
                if client.is_alive():
                    return url
        time.sleep(0.05)
    raise SpringtideError(f"the server did not answer within {OWN_SERVER_READY_S:.0f} s")

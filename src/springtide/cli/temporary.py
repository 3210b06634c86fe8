"""A server for one purpose: in a folder of its own that goes with it, on a free port of loopback, ended by its id."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from springtide.cli.folder import announced_url
from springtide.domain.errors import SpringtideError

READY_S = 60.0
STOP_S = 20.0
SHOWN = 2000  # characters of its log, where it does not come up


class Temporary(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers. folder: its data; keys: by tenant."""

    url: str
    pid: int
    folder: Path
    keys: Mapping[str, str]


@contextlib.contextmanager
def temporary_server(
    settings: str | None, *, config: Path | None = None, tenants: Sequence[str] = ()
) -> Generator[Temporary]:
    """`springtide up` for the length of the block. settings: text of its springtide.toml; None: the user's own (or
    `config`), but for folder and port. tenants: each gets a key. Raises SpringtideError where it does not come up."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-"))
    try:
        environment = _environment(folder, settings, config)
        keys = {tenant: _key(tenant, environment) for tenant in tenants}
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "springtide", "up", "--supervised"],
                env=environment,
                stdin=subprocess.PIPE,  # its lifeline: where this process dies, it drains and leaves
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                url = _answering(process, folder)
                yield Temporary(url=url, pid=process.pid, folder=folder, keys=keys)
            finally:
                _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, settings: str | None, config: Path | None) -> dict[str, str]:
    weights = "SPRINGTIDE_SERVER__WEIGHTS_DIR"
    found = dict(os.environ)
    if settings is not None:
        found = {name: value for name, value in found.items() if not name.startswith("SPRINGTIDE_") or name == weights}
        config = folder / "springtide.toml"
        config.write_text(settings)
    if config is not None:
        found["SPRINGTIDE_CONFIG"] = str(config.absolute())
    return {
        **found,
        "SPRINGTIDE_SERVER__DATA_DIR": str(folder / "data"),
        "SPRINGTIDE_SERVER__HOST": "127.0.0.1",
        "SPRINGTIDE_SERVER__PORT": "0",
        "SPRINGTIDE_BROKER__URL": "memory://",  # never the user's own queue and record
        "SPRINGTIDE_LEDGER__URL": "sqlite://",
        "SPRINGTIDE_BLOBS__URL": "file://",
        "SPRINGTIDE_LOG": "WARNING",
    }


def _key(tenant: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "springtide", "keys", "create", tenant],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SpringtideError(f"no key could be made for tenant {tenant}: {done.stderr.strip()}")
    return done.stdout.strip()


def _answering(process: subprocess.Popen[bytes], folder: Path) -> str:
    ends_s = time.monotonic() + READY_S
    while time.monotonic() < ends_s and process.poll() is None:
        url = announced_url(folder / "data")
        with contextlib.suppress(httpx.HTTPError):
            if url is not None and httpx.get(f"{url}/healthz", timeout=2, trust_env=False).is_success:
                return url
        time.sleep(0.05)
    said = (folder / "log.txt").read_text(errors="replace")[-SHOWN:].strip()
    raise SpringtideError(f"the temporary server did not come up; it said:\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for it and everything below it."""
    import psutil

    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def pid_of(folder: Path, url: str) -> int | None:
    """The `springtide up` that serves `url` from this data folder; None where that is another one, or none."""
    from springtide.cli.folder import UP_LOCK, is_taken

    if announced_url(folder) != url.rstrip("/") or not is_taken(folder):
        return None
    with contextlib.suppress(OSError, ValueError, json.JSONDecodeError):
        return int((folder / UP_LOCK).read_text().partition(" ")[0])
    return None

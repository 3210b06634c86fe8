"""One temporary folder per attempt, always removed: at its end, or at the next start where a crash came between.

    scratch folder/
    ├── <worker>.lock       locked (flock) for as long as that worker lives
    └── <worker>/
        └── <job>-<attempt>-<n>/
            ├── in/         fetched inputs, where the blob store has no local file to lend
            └── out0/       the engine's own; out1 where it was dispatched a second time

Several workers may share the scratch folder: what is removed at a start belongs to workers whose lock nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Generator
from pathlib import Path

from springtide.domain.errors import ConfigError
from springtide.domain.ids import JobId

log = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Scratch:
    """The folders of one worker. All methods that touch the disk block; call them in a thread where it may be slow."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._shared = folder.absolute()
        self._own = self._shared / _UNSAFE.sub("_", worker)
        self._own_text = str(self._own)
        self._lock: int | None = None
        self._given = 0

    def prepare(self) -> None:
        """Remove what dead workers left, and make this worker's folder. Raises ConfigError where that is impossible."""
        try:
            self._shared.mkdir(parents=True, exist_ok=True)
            with _locked(self._shared / ".lock"):  # one worker at a time looks at the locks of others
                self._remove_leftovers()
                self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._own.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the scratch folder {self._shared} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Remove everything of this worker."""
        remove(self._own)
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def attempt(self, job: JobId, attempt: int) -> str:
        """A folder for one attempt, a new one for each call: an attempt given back may come again at once, with the
        same number. Not made yet, and as text: most attempts never look at it, and a path costs them 5 µs."""
        self._given += 1
        return f"{self._own_text}/{job}-{attempt}-{self._given}"

    @property
    def _lock_path(self) -> Path:
        return self._own.with_name(self._own.name + ".lock")

    def _remove_leftovers(self) -> None:
        for path in self._shared.iterdir():
            if not path.is_dir():
                continue
            lock = path.with_name(path.name + ".lock")
            if lock.exists() and _is_held(lock):
                continue
            log.info("removing %s, left by a worker that is gone", path)
            remove(path)
            lock.unlink(missing_ok=True)


def remove(folder: Path | str) -> None:
    """Remove a folder and all in it; what cannot be removed is logged and left for the next start."""
    shutil.rmtree(folder, ignore_errors=True)
    if Path(folder).exists():
        log.warning("cannot remove all of %s", folder)


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _is_held(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

"""Where a worker's process makes temporary files: a folder that goes with it, also where it was killed.

multiprocessing keeps its forkserver's socket in a folder of its own and removes it at a normal end only. Here it lies
in one whose lock the worker holds, so that the next worker of this user sees that nobody does, and removes it. The
path is short, because that of a socket must be; where the folder's own is too long already, it stays as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from springtide.domain.errors import ConfigError
from springtide.worker.scratch import Scratch

log = logging.getLogger(__name__)
SOCKET = "/pymp-12345678/listener-12345678"  # as multiprocessing names it
MOST_PATH = 103  # of a socket on macOS, without the zero in the end; Linux: 107
AFTER_ITS_OWN = -200  # multiprocessing removes its folder at -100, and would complain of one that is gone


@contextlib.contextmanager
def own_temporary_folder(worker: str) -> Generator[None]:
    """`tempfile`'s folder, and so multiprocessing's, for the block; removed at the end of the process. Where none
    can be had in safety, the usual one."""
    usual, shared = tempfile.tempdir, Path(tempfile.gettempdir()) / f"st-{os.getuid()}"
    name = hashlib.sha256(worker.encode()).hexdigest()[:8]
    scratch = Scratch(shared, name)
    if len(os.fsencode(shared / name)) + len(SOCKET) > MOST_PATH:
        log.info(
            "the path of %s is too long for sockets in it; temporary files of a worker that is killed stay", shared
        )
        yield
        return
    try:
        shared.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours_alone(shared):
            log.warning("%s is not this user's alone; temporary files of a worker that is killed will stay", shared)
            yield
            return
        scratch.prepare()
    except (OSError, ConfigError) as error:
        log.warning("temporary files of a worker that is killed will stay: %s", error)
        yield
        return
    tempfile.tempdir = str(shared / name)
    try:
        yield
    finally:
        from multiprocessing.util import Finalize  # not before the first engine needs it anyway

        tempfile.tempdir = usual
        Finalize(None, scratch.close, exitpriority=AFTER_ITS_OWN)


def _is_ours_alone(folder: Path) -> bool:
    """A folder that somebody else made beforehand could be looked into."""
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077

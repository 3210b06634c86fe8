"""Model files from a share or a bucket into a cache that a worker reads: before it starts, in its init container.

Promises: a file under its own name is whole and has its pinned SHA-256; two stagings at once do the work once; a source
that is down, hangs, lacks a file or holds another one is passed over for the next, and said so. Refuses nothing: what
no source gave is returned, for the caller to fetch elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from springtide.domain.errors import NotFound, SpringtideError, Unavailable
from springtide.engines.packages import Report
from springtide.engines.protocol import Weights
from springtide.engines.weights import WORK, alone, missing_of

log = logging.getLogger(__name__)
PIECE_BYTES = 4 << 20
AHEAD = 2  # pieces read while one is written


class Source(Protocol):
    """Where files may come from."""

    def __str__(self) -> str: ...

    def read(self, path: str) -> Iterable[bytes]:
        """The bytes of a file below the weights folder. Raises NotFound where it has no such file, Unavailable where
        it is down."""
        ...


def stage(weights: Sequence[Weights], folder: Path, sources: Sequence[Source], report: Report) -> list[Weights]:
    """Bring what is missing of `weights` into `folder`; the rest, which no source gave, is returned.

    Raises Unavailable where the folder cannot be written.
    """
    if not missing_of(weights, folder):
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, report):
            down: set[int] = set()
            for one in missing_of(weights, folder):
                for at, source in enumerate(sources):
                    if at not in down and _brought(one, source, folder, report, on_down=lambda at=at: down.add(at)):
                        break
            shutil.rmtree(folder / WORK, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"model files cannot be written to {folder}: {error.strerror or error}") from error
    return missing_of(weights, folder)  # writes the stamp, so that no worker hashes them again


def _brought(one: Weights, source: Source, folder: Path, report: Report, *, on_down: Callable[[], None]) -> bool:
    """Whether the file is there now, whole. on_down: called where the source gave nothing at all, so that the next file
    need not wait for it as long."""
    partial = folder / WORK / "staged"
    partial.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with partial.open("wb") as file:
            for piece in source.read(one.path):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
                report(one.path, size / max(1, one.bytes))
            file.flush()
            os.fsync(file.fileno())
    except SpringtideError as error:
        log.warning("%s is not to be had from %s: %s", one.path, source, error)
        if isinstance(error, Unavailable):
            on_down()
        return False
    if digest.hexdigest() != one.sha256:
        log.warning("%s from %s has another SHA-256 than the pinned %s: not used", one.path, source, one.sha256)
        return False
    target = folder / one.path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    log.info("%s is here from %s", one.path, source)
    return True


class Share:
    """A folder that may be a mounted share, and so may hang in any call."""

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        """timeout_s: a share that gives nothing for so long is down."""
        self._folder = folder
        self._timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the share at {self._folder}"

    def read(self, path: str) -> Iterator[bytes]:
        pieces: queue.Queue[bytes | OSError | None] = queue.Queue(maxsize=AHEAD)
        is_read = threading.Thread(target=_pump, args=(self._folder / path, pieces), daemon=True)
        is_read.start()  # a thread that hangs in the kernel is left behind; the process ends without it
        while True:
            try:
                piece = pieces.get(timeout=self._timeout_s)
            except queue.Empty:
                raise Unavailable(f"it gave nothing for {self._timeout_s:g} s") from None
            if piece is None:
                return
            if isinstance(piece, FileNotFoundError):
                raise NotFound("there is no such file on it") from piece
            if isinstance(piece, OSError):
                raise Unavailable(piece.strerror or str(piece)) from piece
            yield piece


def _pump(path: Path, pieces: queue.Queue[bytes | OSError | None]) -> None:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                pieces.put(piece)
        pieces.put(None)
    except OSError as error:
        pieces.put(error)

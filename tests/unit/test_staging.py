"""A worker's init container: files from the first source that gives them, each checked; a share that hangs holds up
nobody for longer than it may."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.domain.errors import Unavailable
from springtide.engines import staging
from springtide.engines.protocol import Weights


def file_of(path: str, data: bytes) -> Weights:
    return Weights(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), recipe="x", license="MIT")


FIRST, SECOND = file_of("a/first.onnx", b"one"), file_of("second.bin", b"two" * 3_000_000)
DATA = {"a/first.onnx": b"one", "second.bin": b"two" * 3_000_000}


def put(folder: Path, **changed: bytes) -> Path:
    for path, data in DATA.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(changed.get(path.partition(".")[0].replace("a/", ""), data))
    return folder


class Bucket:
    """Another source; it counts who asks."""

    def __init__(self, *, is_up: bool = True) -> None:
        self.is_up = is_up
        self.asked: list[str] = []

    def read(self, path: str) -> Iterator[bytes]:
        self.asked.append(path)
        if not self.is_up:
            raise Unavailable("it is down")
        yield DATA[path]


def silent(what: str, fraction: float) -> None: ...


def staged(folder: Path, *sources: staging.Source) -> list[Weights]:
    return staging.stage([FIRST, SECOND], folder, sources, silent)


def test_files_come_from_the_share_and_only_once(tmp_path: Path) -> None:
    share, bucket, cache = put(tmp_path / "share"), Bucket(), tmp_path / "cache"
    assert staged(cache, staging.Share(share, timeout_s=10), bucket) == []
    assert (cache / "second.bin").read_bytes() == DATA["second.bin"]
    before = (cache / "second.bin").stat().st_ino
    assert staged(cache, Bucket(is_up=False)) == []
    assert (cache / "second.bin").stat().st_ino == before
    assert bucket.asked == []


def test_a_file_that_is_another_than_pinned_comes_from_the_next_source(tmp_path: Path) -> None:
    share = put(tmp_path / "share", first=b"0ne")
    bucket = Bucket()
    assert staged(tmp_path / "cache", staging.Share(share, timeout_s=10), bucket) == []
    assert bucket.asked == ["a/first.onnx"]
    assert (tmp_path / "cache" / "a" / "first.onnx").read_bytes() == b"one"


def test_a_file_that_the_share_lacks_does_not_make_the_share_down(tmp_path: Path) -> None:
    share = put(tmp_path / "share")
    (share / "a" / "first.onnx").unlink()
    bucket = Bucket()
    assert staged(tmp_path / "cache", staging.Share(share, timeout_s=10), bucket) == []
    assert bucket.asked == ["a/first.onnx"]


def test_a_share_that_hangs_is_given_up_once_for_all_files(tmp_path: Path) -> None:
    """A pipe that nobody writes to hangs in `open`, as a mount does whose server is gone."""
    share = tmp_path / "share"
    (share / "a").mkdir(parents=True)
    os.mkfifo(share / "a" / "first.onnx")
    os.mkfifo(share / "second.bin")
    bucket = Bucket()
    hanging = staging.Share(share, timeout_s=0.05)
    asked: list[str] = []
    read = hanging.read

    def counted(path: str) -> Iterator[bytes]:
        asked.append(path)
        return read(path)

    hanging.read = counted  # type: ignore[method-assign]
    assert staged(tmp_path / "cache", hanging, bucket) == []
    assert bucket.asked == ["a/first.onnx", "second.bin"]
    assert asked == ["a/first.onnx"]
    for path in DATA:  # let the readers go that were left behind
        os.close(os.open(share / path, os.O_RDWR | os.O_NONBLOCK))


def test_what_no_source_gave_is_told_and_nothing_half_is_left(tmp_path: Path) -> None:
    assert staged(tmp_path / "cache", Bucket(is_up=False)) == [FIRST, SECOND]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_a_cache_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be written"):
        staged(tmp_path / "cache", Bucket())

"""Shared by all tests: failed asserts of the contract suites show what was compared; one S3 server."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.register_assert_rewrite("springtide.testing")

# Where it is set, each of the hundreds of processes that tests start compiles all it imports anew: 1 s of processor.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell makes its background jobs, and nohup all, ignore these, and so would whatever tests start and send them to.
# With a function of our own for them nothing changes here, and programs started from here begin with the usual ones.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

if TYPE_CHECKING:
    from springtide.testing.s3 import S3Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly wait (for leases to end, for processes to come back) are spread among the first half of those
    that compute, so that several processes of pytest keep the processors busy, and to the end."""
    waiting = [item for item in items if "fault" in item.path.parts]
    others = [item for item in items if "fault" not in item.path.parts]
    if not waiting or not others:
        return
    every = len(others) / 2 / len(waiting)
    places = [(index * every, 1, item) for index, item in enumerate(waiting)]
    places += [(float(index), 0, item) for index, item in enumerate(others)]
    items[:] = [item for _, _, item in sorted(places, key=lambda place: place[:2])]


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay: the garbage collector need not look through them each time,
    which takes a tenth of the processor."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One S3 server for all; a test that stops one starts its own."""
    from springtide.testing.s3 import s3_server  # here, so that tests without it do not load it
    from springtide.testing.servers import NoServer

    try:
        with s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture
def definitions(tmp_path: Path) -> Callable[..., Callable[[Mapping[str, Any]], list[str]]]:
    """`definitions(names of files)` gives what tells the problems of an object of these custom kinds. Skips where the
    definitions are not beside the project."""

    def load(*names: str) -> Callable[[Mapping[str, Any]], list[str]]:
        root = Path(__file__).parents[1]
        shared = next((up / "shared" for up in root.parents if (up / "shared" / "crds").is_dir()), None)
        if shared is None:
            pytest.skip("the definitions of custom kinds are not beside the project (../shared/crds)")
        spec = importlib.util.spec_from_file_location("crd_validate", shared / "tools" / "crd_validate.py")
        assert spec is not None and spec.loader is not None
        tool = importlib.util.module_from_spec(spec)
        folder = tmp_path / "definitions"
        folder.mkdir()
        for name in names:
            (folder / f"{name}.yaml").symlink_to(shared / "crds" / f"{name}.yaml")
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # the tool leaves its files open
            spec.loader.exec_module(tool)
            validators, _ = tool.load(str(folder))
            gc.collect()

        def problems(made: Mapping[str, Any]) -> list[str]:
            found = validators[made["apiVersion"], made["kind"]].iter_errors(made)
            return [f"{'.'.join(map(str, one.path))}: {one.message[:200]}" for one in found]

        return problems

    return load

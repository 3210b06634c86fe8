"""Threads by what the machine and its container allow, on cgroup v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.domain.errors import ConfigError
from springtide.engines.settings import ThreadedSettings, default_threads, read_settings
from springtide.runtime import processors
from springtide.runtime.processors import usable_memory_mb, usable_processors


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)


def group(root: Path, path: str, **files: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / path / name.replace("_", ".", 1)).write_text(f"{text}\n")


def own(folder: Path, *lines: str) -> Path:
    path = folder / "cgroup"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("quota", "usable"), [("max 100000", 16), ("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, usable: int) -> None:
    group(tmp_path, ".", cpu_max=quota)
    assert usable_processors(tmp_path, own(tmp_path, "0::/")) == usable


def test_a_quota_further_up_counts_as_well(tmp_path: Path) -> None:
    group(tmp_path, "system.slice", cpu_max="300000 100000")
    group(tmp_path, "system.slice/springtide.service", cpu_max="800000 100000")
    assert usable_processors(tmp_path, own(tmp_path, "0::/system.slice/springtide.service")) == 3


def test_a_quota_of_the_first_cgroup_version_counts(tmp_path: Path) -> None:
    group(tmp_path, "cpu/docker/abc", cpu_cfs_quota_us="250000", cpu_cfs_period_us="100000")
    group(tmp_path, "cpu", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    line = own(tmp_path, "5:memory:/docker/abc", "4:cpu,cpuacct:/docker/abc", "0::/")
    assert usable_processors(tmp_path, line) == 2


def test_a_machine_without_cgroups_uses_what_it_is_bound_to(tmp_path: Path) -> None:
    assert usable_processors(tmp_path / "none", tmp_path / "absent") == 16


def test_memory_is_the_machines_or_what_its_container_may_have(tmp_path: Path) -> None:
    group(tmp_path, "app", memory_max="max")
    whole = usable_memory_mb(tmp_path, own(tmp_path, "0::/app"))
    assert whole is not None and whole > 0
    (tmp_path / "app" / "memory.max").write_text(str(256 << 20))
    (tmp_path / "memory.max").write_text(str(128 << 20))
    assert usable_memory_mb(tmp_path, own(tmp_path, "0::/app")) == 128, "a limit further up counts as well"


def test_nonsense_is_no_quota(tmp_path: Path) -> None:
    group(tmp_path, ".", cpu_max="lots")
    assert usable_processors(tmp_path, own(tmp_path, "0::/")) == 16


@pytest.mark.parametrize(("there", "threads"), [(1, 1), (2, 2), (4, 4), (16, 8), (128, 8)])
def test_one_job_uses_small_machines_whole_and_large_ones_in_part(there: int, threads: int) -> None:
    assert default_threads(there) == threads


def test_the_setting_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.engines.settings.usable_processors", lambda: 2)
    assert read_settings(ThreadedSettings, {}, engine="any").thread_count == 2
    assert read_settings(ThreadedSettings, {"threads": 16}, engine="any").thread_count == 16
    with pytest.raises(ConfigError, match="threads"):
        read_settings(ThreadedSettings, {"threads": 0}, engine="any")

"""GPUs as the driver tells of them: never an error, and never a figure that nobody measured."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from springtide.runtime.gpus import GpuLoad, GpuWatch


class Driver:
    """Two cards, the second of which is a slice that tells no utilisation."""

    def __init__(self) -> None:
        self.opened = 0
        self.is_reset = False

    def nvmlInit(self) -> None:
        self.opened += 1
        self.is_reset = False

    def nvmlDeviceGetCount(self) -> int:
        if self.is_reset:
            raise RuntimeError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return {"GPU-8a2b": 0, "MIG-77": 1}[name]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle == 1:
            raise RuntimeError("Not Supported")
        return SimpleNamespace(gpu=73, memory=12)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=100, free=80 if handle == 0 else 25)


CARD, SLICE = GpuLoad(0.73, pytest.approx(0.2)), GpuLoad(None, 0.75)  # type: ignore[arg-type]  # compares as a float


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


@pytest.mark.parametrize(
    ("visible", "loads"), [(None, [CARD, SLICE]), ("1", [SLICE]), ("GPU-8a2b", [CARD]), ("MIG-77, 0", [SLICE, CARD])]
)
def test_only_the_cards_a_process_may_use_are_looked_at(driver: Driver, visible: str | None, loads: list[Any]) -> None:
    assert GpuWatch(visible).look() == loads


def test_the_driver_is_opened_once_and_anew_after_it_was_reset(driver: Driver) -> None:
    watch = GpuWatch()
    watch.look()
    watch.look()
    assert driver.opened == 1
    driver.is_reset = True
    assert watch.look() == [], "no card answers: that is no figure, and no error"
    assert len(watch.look()) == 2
    assert driver.opened == 2


def test_without_the_package_or_with_no_card_to_use_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuWatch.of_this_process({}) is None
    assert GpuWatch.of_this_process({"CUDA_VISIBLE_DEVICES": "-1"}) is None
    assert GpuWatch().look() == []

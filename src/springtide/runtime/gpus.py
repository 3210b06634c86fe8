"""Which NVIDIA GPUs there are, how busy they are and how much of their memory is free: asked of the driver, by NVML.

Promises never to raise and never to load CUDA: asking costs no GPU memory and may be done before a fork. Without the
package `nvidia-ml-py` nothing is known, which is not the same as there being none.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import msgspec


class Gpu(msgspec.Struct, frozen=True):
    """One GPU at the time it was asked about."""

    name: str
    total_bytes: int
    free_bytes: int


def find_gpus() -> list[Gpu] | None:
    """The GPUs of this machine; an empty list where there is no driver; None where it cannot be known."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except Exception:  # NVMLError: no driver, or none that answers
        return []
    try:
        return [_look(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # a GPU that fell off the bus, or is not this user's to see
        return []
    finally:
        with contextlib.suppress(Exception):
            nvml.nvmlShutdown()


class GpuLoad(msgspec.Struct, frozen=True):
    """How one GPU is used, as shares from 0 to 1; None: this one does not say (a slice of one, say)."""

    utilization: float | None  # of the time of the driver's last sample, a second or less
    memory: float | None


class GpuWatch:
    """Looks again and again at the GPUs that a process may use. `look` may take as long as the driver does."""

    def __init__(self, visible: str | None = None) -> None:
        """visible: what CUDA_VISIBLE_DEVICES says: numbers, or identities such as GPU-8a2b…; None: all there are. (CUDA
        numbers by speed unless CUDA_DEVICE_ORDER=PCI_BUS_ID, the driver by bus: only unlike cards in one machine
        differ.)"""
        self._visible = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
        self._nvml: Any = None

    @classmethod
    def of_this_process(cls, variables: Mapping[str, str] = os.environ) -> GpuWatch | None:
        """None where nothing could be asked, or no GPU is this process's to use."""
        visible = variables.get("CUDA_VISIBLE_DEVICES")
        if visible is not None and visible.strip() in {"", "-1"}:
            return None
        try:
            known = importlib.util.find_spec("pynvml") is not None
        except ValueError:  # taken out of sys.modules
            return None
        return cls(visible) if known else None

    def look(self) -> list[GpuLoad]:
        """Every GPU that answers; empty where there is no driver. The driver is kept open, and opened anew after an
        error."""
        try:
            if self._nvml is None:
                nvml: Any = importlib.import_module("pynvml")
                nvml.nvmlInit()
                self._nvml = nvml
            return [load for handle in self._handles() if (load := self._load(handle)) is not None]
        except Exception:  # NVMLError: no driver, or one that was reset
            self._nvml = None
            return []

    def _handles(self) -> list[Any]:
        nvml = self._nvml
        if self._visible is None:
            return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [
            nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)
            for name in self._visible
        ]

    def _load(self, handle: Any) -> GpuLoad | None:
        utilization = memory = None
        with contextlib.suppress(Exception):
            utilization = int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        with contextlib.suppress(Exception):
            found = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            memory = 1.0 - int(found.free) / int(found.total)
        return None if utilization is None and memory is None else GpuLoad(utilization, memory)


def _look(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(name.decode() if isinstance(name, bytes) else str(name), int(memory.total), int(memory.free))

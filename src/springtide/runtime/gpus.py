"""Which NVIDIA GPUs there are and how much of their memory is free, asked of the driver through NVML.

Promises never to raise and never to load CUDA: asking costs no GPU memory and may be done before a fork. Without the
package `nvidia-ml-py` nothing is known, which is not the same as there being none.
"""

from __future__ import annotations

import contextlib
import importlib
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


def _look(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(name.decode() if isinstance(name, bytes) else str(name), int(memory.total), int(memory.free))

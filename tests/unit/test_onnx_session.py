"""Where a network runs: by what this build of ONNX Runtime offers and what the driver says of the GPUs. All faked."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from springtide.domain.errors import ConfigError
from springtide.engines import onnx as subject
from springtide.engines.onnx import CPU, CUDA, TENSORRT, choose_providers, open_session, run_session
from springtide.runtime.gpus import Gpu, find_gpus
from springtide.worker.outcome import is_memory_death

OFFERED = [TENSORRT, CUDA, CPU]
ROOMY, FULL = Gpu("A10", 24 << 30, 20 << 30), Gpu("A10", 24 << 30, 1 << 30)


def chosen(wanted: Any, offered: list[str] = OFFERED, gpus: list[Gpu] | None = None) -> list[str]:
    found = choose_providers(wanted, offered=offered, cache=Path("unused"), gpus=lambda: gpus)
    return [one if isinstance(one, str) else one[0] for one in found]


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.ctypes.util, "find_library", lambda name: f"lib{name}.so.10")


class Session:
    """Stands for ONNX Runtime's own: starts on what `works`, as that does where a library is missing."""

    works = frozenset({CPU})

    def __init__(self, path: str, options: onnxruntime.SessionOptions, *, providers: list[Any]) -> None:
        self.options = options
        self.names = [one if isinstance(one, str) else one[0] for one in providers]

    def get_providers(self) -> list[str]:
        return [name for name in self.names if name in self.works]


@pytest.fixture
def fake_runtime(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED)
    return Session


def test_a_build_without_cuda_computes_on_the_processor() -> None:
    assert chosen("auto", [CPU], [ROOMY]) == [CPU]


def test_a_gpu_with_room_is_used() -> None:
    assert chosen("auto", gpus=[FULL, ROOMY]) == [CUDA, CPU]


@pytest.mark.parametrize("gpus", [[], [FULL]])
def test_no_gpu_or_a_full_one_means_the_processor(gpus: list[Gpu]) -> None:
    assert chosen("auto", gpus=gpus) == [CPU]


def test_where_nothing_can_be_asked_cuda_is_tried() -> None:
    assert chosen("auto", gpus=None) == [CUDA, CPU]


@pytest.mark.usefixtures("tensorrt")
def test_tensorrt_comes_first_where_its_library_is() -> None:
    assert chosen("auto", gpus=[ROOMY]) == [TENSORRT, CUDA, CPU]


def test_names_are_taken_short_and_long_in_the_order_given() -> None:
    assert chosen("cpu") == [CPU]
    assert chosen(["cuda", "tensorrt"]) == [CUDA, TENSORRT, CPU]
    assert chosen("CUDAExecutionProvider") == [CUDA, CPU]


def test_a_provider_that_is_not_built_in_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no 'rocm'; it has: tensorrt, cuda, cpu"):
        chosen("rocm")


def test_what_was_asked_for_by_name_never_falls_back(fake_runtime: type[Session]) -> None:
    with pytest.raises(ConfigError, match=r"CUDAExecutionProvider did not start.*CPUExecutionProvider"):
        open_session(Path("m.onnx"), threads=2, providers="cuda")


def test_auto_falls_back_and_says_so(fake_runtime: type[Session], caplog: pytest.LogCaptureFixture) -> None:
    session = open_session(Path("m.onnx"), threads=2, gpus=lambda: [ROOMY])
    assert session.get_providers() == [CPU]
    assert "CUDAExecutionProvider did not start" in caplog.text


def test_the_session_has_the_measured_options(fake_runtime: type[Session]) -> None:
    options: Any = open_session(Path("m.onnx"), threads=3, providers="cpu").options  # type: ignore[attr-defined]
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.enable_cpu_mem_arena is False
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_file_that_is_no_model_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"m\.onnx cannot be loaded"):
        open_session(tmp_path / "m.onnx", threads=1)


@pytest.mark.parametrize(
    "text",
    [
        "Status Message: std::bad_alloc",
        "Failed to allocate memory for requested buffer of size 4",
        "CUDA failure 2: out of memory",
    ],
)
def test_memory_that_runs_out_is_pythons_own_error_and_fewer_at_once_are_tried(text: str) -> None:
    class Full:
        def run(self, outputs: Any, inputs: Any) -> Any:
            raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {text}")

    full: Any = Full()
    with pytest.raises(MemoryError) as caught:
        run_session(full, {})
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert is_memory_death(caught.value)


def test_any_other_error_of_the_library_is_left_as_it_is() -> None:
    class Odd:
        def run(self, outputs: Any, inputs: Any) -> Any:
            raise RuntimeError("INVALID_ARGUMENT")

    odd: Any = Odd()
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
        run_session(odd, {})


class Driver:
    """Stands for the package nvidia-ml-py with one GPU."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.is_open = False

    def nvmlInit(self) -> None:
        if self.broken:
            raise RuntimeError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=24 << 30, free=20 << 30, used=4 << 30)

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "A10"


def test_the_driver_is_asked_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert find_gpus() == [ROOMY]
    assert driver.is_open is False


def test_no_driver_means_no_gpu_and_no_package_means_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(broken=True))
    assert find_gpus() == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpus() is None

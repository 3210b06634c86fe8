"""Every ONNX session of every engine: opened with options that were measured, on what the machine has to compute with.

    class Settings(OnnxSettings): ...

    self._session = open_session(path, threads=self.options.thread_count, providers=self.options.providers)

    mask, = run_session(self._session, {"input": pixels}, ["output"])

Promises that a session runs where its settings say, or does not open: `auto` falls back to the processor by itself, a
provider that was asked for by name never does silently. A broken file is a ConfigError, and memory that runs out a
MemoryError, not the library's own error: fewer jobs at once are tried then.
"""

from __future__ import annotations

import ctypes.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from springtide.domain.errors import ConfigError
from springtide.engines.settings import ThreadedSettings
from springtide.runtime.gpus import Gpu, find_gpus

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

AUTO = "auto"
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
GPU_FREE_MIN_BYTES = 2 << 30  # CUDA's own context takes half a gigabyte, the largest engine here peaks at 1.4
TENSORRT_CACHE = ".tensorrt"  # beside the model
TENSORRT_LIBRARY = "nvinfer"  # onnxruntime lists TensorRT whether or not its library is installed

# What the processor's and CUDA's allocators say, among others around it.
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory", "CUDNN_STATUS_ALLOC_FAILED")

Provider = str | tuple[str, dict[str, str]]


class OnnxSettings(ThreadedSettings):
    """Settings of an engine whose network ONNX Runtime runs."""

    providers: str | tuple[str, ...] = Field(
        default=AUTO,
        description="What computes: auto, or cpu, cuda, tensorrt or any name ONNX Runtime knows, or a list in order.",
    )


def open_session(
    path: Path, *, threads: int, providers: str | Sequence[str] = AUTO, gpus: Callable[[], list[Gpu] | None] = find_gpus
) -> onnxruntime.InferenceSession:
    """The model at `path`, ready to run.

    threads: processor threads of one run. providers: `auto` or names in order of preference.
    Raises ConfigError for a file that is no ONNX model and for providers that are not there.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # ISNet: 2.24 GB at the peak become 1.39, 2.28 afterwards 0.55; no slower
    # Threads that spin while they wait slow each other down by 2 to 4 times where the processor is shared, and gain
    # nothing measurable where it is not.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    offered = onnxruntime.get_available_providers()
    chosen = choose_providers(providers, offered=offered, gpus=gpus, cache=path.parent / TENSORRT_CACHE)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # onnxruntime raises its own types, which nobody outside may need to know
        raise ConfigError(f"{path} cannot be loaded as an ONNX model: {error}") from error
    _check_runs_where_asked(session.get_providers(), chosen, asked=providers)
    return session


def run_session(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
) -> list[Any]:
    """The named outputs (all where None) for these inputs. Raises MemoryError where memory ran out."""
    try:
        return list(session.run(outputs, dict(inputs)))
    except Exception as error:  # the library has no type of its own for it
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            raise MemoryError(f"the network ran out of memory: {str(error)[:500]}") from error
        raise


def choose_providers(
    wanted: str | Sequence[str],
    *,
    offered: Sequence[str],
    cache: Path,
    gpus: Callable[[], list[Gpu] | None] = find_gpus,
) -> list[Provider]:
    """Execution providers with their options, in order; the processor is always last.

    offered: what this build of ONNX Runtime has. cache: where TensorRT may keep what it compiled.
    Raises ConfigError for a name that is not offered.
    """
    if wanted in (AUTO, [AUTO], (AUTO,)):
        names = _automatic(offered, gpus)
    else:
        names = [_named(name, offered) for name in ([wanted] if isinstance(wanted, str) else wanted)]
    return [_with_options(name, cache) for name in dict.fromkeys([*names, CPU])]


def _automatic(offered: Sequence[str], gpus: Callable[[], list[Gpu] | None]) -> list[str]:
    """A GPU where there is one with room. What is not known (no NVML) is left to CUDA itself, which says no at once."""
    if CUDA not in offered:
        return []
    found = gpus()
    if found is not None and not any(gpu.free_bytes >= GPU_FREE_MIN_BYTES for gpu in found):
        if found:
            log.warning("GPU memory is taken (%s): the processor computes", ", ".join(map(_told, found)))
        return []
    if TENSORRT in offered and ctypes.util.find_library(TENSORRT_LIBRARY):
        return [TENSORRT, CUDA]
    return [CUDA]


def _told(gpu: Gpu) -> str:
    return f"{gpu.name}: {gpu.free_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.1f} GB free"


def _named(name: str, offered: Sequence[str]) -> str:
    for one in offered:
        if name.lower() in (one.lower(), one.removesuffix("ExecutionProvider").lower()):
            return one
    there = ", ".join(one.removesuffix("ExecutionProvider").lower() for one in offered)
    raise ConfigError(f"providers: this build of ONNX Runtime has no {name!r}; it has: {there}, and auto")


def _with_options(name: str, cache: Path) -> Provider:
    if name == CUDA:
        # Growing to the next power of two would take half of a card that models share; searching for the fastest
        # convolution at every new input size makes a first run take minutes.
        return name, {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    if name == TENSORRT:
        # Compiling a model takes minutes: once for this GPU, not at every load.
        return name, {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
    return name


def _check_runs_where_asked(got: Sequence[str], chosen: Sequence[Provider], *, asked: str | Sequence[str]) -> None:
    names = [one if isinstance(one, str) else one[0] for one in chosen]
    lacking = [name for name in names if name not in got]
    if not lacking:
        return
    if asked == AUTO:
        log.warning("%s did not start: %s computes", ", ".join(lacking), got[0])
        return
    raise ConfigError(f"providers: {', '.join(lacking)} did not start on this machine; what did: {', '.join(got)}")

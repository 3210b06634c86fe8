"""The process that tries one engine: told by its standard input, answers with one JSON object. See `engines.trial`."""

from __future__ import annotations

import importlib
import os
import resource
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
from pydantic import BaseModel

from springtide.domain.errors import SpringtideError
from springtide.engines.catalog import load_engine
from springtide.engines.examples import example_of, run_example
from springtide.engines.protocol import Engine
from springtide.engines.trial import TEXT_MAX, Order, Trial, fingerprint
from springtide.runtime.processors import usable_processors

RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
LEAST_RUNS, MOST_RUNS = 1, 5  # after the first


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the engine prints must not be taken for the answer
    found: dict[str, Any] = {
        "engine": order.engine,
        "settings": fingerprint(order.settings),
        "processors": usable_processors(),
    }
    try:
        _try(order, found)
    except Exception as error:
        text = error.message if isinstance(error, SpringtideError) else f"{type(error).__name__}: {error}"
        found["problem"] = text[:TEXT_MAX]
    answer.write(msgspec.json.encode(Trial(**found)))
    answer.close()


def _try(order: Order, found: dict[str, Any]) -> None:
    """Fills `found` as far as it gets."""
    engine_type = load_engine(order.engine)
    began = time.perf_counter()
    for name in engine_type.preload:
        with suppress(ImportError):  # as workers do: it fails again, and is told, where it is needed
            importlib.import_module(name)
    found["import_s"] = _since(began)
    began = time.perf_counter()
    engine: Engine[Any, Any] = engine_type(order.settings, Path(order.weights_folder))
    engine.load()
    found["load_s"] = _since(began)
    found["version"] = engine.version
    found["loaded_memory_mb"] = round(psutil.Process().memory_info().rss / 1e6, 1)
    found["peak_memory_mb"] = _peak_mb()
    inputs = example_of(engine)
    found["estimated_s"] = round(float(engine.estimate(inputs)), 3)
    found["first_run_s"] = _run(engine, inputs)
    later: list[float] = []
    while len(later) < LEAST_RUNS or (len(later) < MOST_RUNS and sum(later) < order.runs_within_s):
        later.append(_run(engine, inputs))
    found["run_s"] = round(statistics.median(later), 3)
    found["peak_memory_mb"] = _peak_mb()


def _run(engine: Engine[Any, Any], inputs: BaseModel) -> float:
    began = time.perf_counter()
    run_example(engine, inputs)
    return _since(began)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


def _peak_mb() -> float:
    """Most memory this process has held, and the largest of those it started."""
    own, started = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round((own + started) * RUSAGE_UNIT / 1e6, 1)


if __name__ == "__main__":
    main()

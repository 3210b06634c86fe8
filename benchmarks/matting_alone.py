"""Matting without the platform, in a process of its own: `python -m benchmarks.matting_alone WHAT PICTURE COUNT`.

`turns`: our engine and the bare library take turns on the same picture, so that a slow second hits both.
`loop`: our engine on one picture after the other, as a script of twenty lines would.
Prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from springtide.config import load_config
from springtide.engines.matting.isnet import MODEL, IsnetMatting
from springtide.engines.matting.schema import Input
from springtide.engines.protocol import InputFile
from springtide.engines.settings import default_threads
from springtide.runtime.processors import usable_processors

SIDE = 1024


class Quiet:
    """A progress line that nobody reads."""

    checkpoint = None
    traceparent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        """Nothing."""


def engine_run(picture: Path, folder: Path) -> Callable[[], object]:
    engine = IsnetMatting({}, load_config().weights_folder)
    engine.load()
    given = Input(image=InputFile(path=picture, media_type="image/jpeg", bytes=picture.stat().st_size))
    return lambda: engine.run(given, Quiet(folder))


def bare_run(picture: Path, folder: Path) -> Callable[[], object]:
    """What a script does that calls the library itself: the same work, nothing checked. Threads and arena are as ours:
    those are choices, not overhead."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_threads(usable_processors())
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    path = load_config().weights_folder / MODEL.path
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run() -> None:
        with Image.open(picture) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGBA")
        small = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
        tensor = ((small - 128) / 256).transpose(2, 0, 1)[np.newaxis]
        alpha = session.run(["output"], {"input": np.ascontiguousarray(tensor)})[0][0, 0]  # type: ignore[index]
        mask = Image.fromarray((alpha * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
        cutout = Image.new("RGBA", image.size)
        cutout.paste(image, mask=mask.point(lambda level: 255 if level else 0))
        cutout.putalpha(mask)
        cutout.save(folder / "bare.png", compress_level=1)
        mask.save(folder / "bare-mask.png", compress_level=1)

    return run


def turns(picture: Path, count: int, folder: Path) -> dict[str, float]:
    lanes = {"engine": engine_run(picture, folder), "bare": bare_run(picture, folder)}
    wall: dict[str, list[float]] = {name: [] for name in lanes}
    cpu: dict[str, list[float]] = {name: [] for name in lanes}
    for number in range(count + 1):
        for name, run in lanes.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            run()
            if number:  # the first warms up
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - cpu_began)
    return {f"{name}_wall_s": statistics.median(values) for name, values in wall.items()} | {
        f"{name}_cpu_s": statistics.median(values) for name, values in cpu.items()
    }


def loop(picture: Path, count: int, folder: Path) -> dict[str, float]:
    run = engine_run(picture, folder)
    run()
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(count):
        run()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return {"pictures_per_s": count / wall_s, "cpu_s_a_picture": cpu_s / count, "cores_busy": cpu_s / wall_s}


if __name__ == "__main__":
    what, path, number = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        found = {"turns": turns, "loop": loop}[what](Path(path), int(number), Path(work))
    sys.stdout.write(json.dumps(found))

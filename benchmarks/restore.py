"""Restoration and upscaling: what our engines cost beside the bare model calls they make, in turns in one process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.plan import REPOSITORY, Plan
from benchmarks.report import OURS, Goal, Report
from springtide.config import load_config
from springtide.engines.protocol import InputFile
from springtide.engines.restoration.engine import FaceRestoration
from springtide.engines.restoration.schema import Background
from springtide.engines.restoration.schema import Input as RestoreInput
from springtide.engines.upscaling.engine import Upscale
from springtide.engines.upscaling.schema import Input as UpscaleInput
from springtide.engines.upscaling.schema import Quality
from springtide.engines.weights import pull
from springtide.runtime.processors import usable_processors

PICTURE = REPOSITORY / "tests" / "data" / "portrait.jpg"
HEAD = (60, 0, 420, 360)
ROUNDS = 3
RESTORE, FAST, BEST = f"{OURS} restore, one face", f"{OURS} upscale fast, 512 x 512", f"{OURS} upscale best, 96 x 96"
BARE = {RESTORE: "bare calls of restore", FAST: "bare calls of upscale fast", BEST: "bare calls of upscale best"}
GOALS = tuple(
    Goal(metric="cpu_s", bound=1.1, at_least=False, system=system, over=bare, what="the engine over its model calls")
    for system, bare in BARE.items()
)
NOTES = (
    "engine: all of run(): decode, find and measure faces, align, draw, blend, encode, sign the mark of origin.",
    "bare: the super-resolution network alone, in the same session, on the very arrays that the engine gave it, "
    "noted in a first run that counts for neither.",
    "estimate_over_wall: seconds that the engine predicted over the wall time it took; on a busy machine below one.",
)

Session = Any


class Noting:
    """Stands in front of a session and keeps what it is given."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.given: list[dict[str, Any]] = []

    def run(self, names: list[str] | None, given: dict[str, Any]) -> Any:
        self.given.append({name: values.copy() for name, values in given.items()})
        return self.session.run(names, given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def measure(plan: Plan) -> Report:
    report = Report("restore", title="Face restoration and upscaling beside the bare network", goals=GOALS)
    report.notes = list(NOTES)
    folder = load_config().weights_folder
    pull(FaceRestoration.weights, folder, lambda _what, _fraction: None)
    restore, upscale = FaceRestoration({}, folder), Upscale({}, folder)
    restore.load()
    upscale.load()
    damaged, portrait, small = _pictures(plan.folder)
    lanes: dict[str, tuple[Any, Any, Any]] = {
        RESTORE: (restore, RestoreInput(image=damaged), restore._upscaler(Background.BEST)),
        FAST: (upscale, UpscaleInput(image=portrait, quality=Quality.FAST), upscale._networks[Quality.FAST]),
        BEST: (upscale, UpscaleInput(image=small, quality=Quality.BEST), upscale._networks[Quality.BEST]),
    }
    for name, (engine, given, network) in lanes.items():
        if plan.wants(name):
            _turns(report, name, engine, given, network, plan)
    return report


def _pictures(folder: Path) -> list[InputFile]:
    """The portrait's upper half small and compressed; whole; and a part of it."""
    with Image.open(PICTURE) as portrait:
        portrait.crop(HEAD).resize((240, 240), Image.Resampling.LANCZOS).save(folder / "damaged.jpg", quality=45)
        portrait.save(folder / "portrait.png")
        portrait.crop((176, 56, 272, 152)).save(folder / "small.png")
    return [
        InputFile(path=folder / name, media_type="image/*", bytes=1, width=side, height=side)
        for name, side in (("damaged.jpg", 240), ("portrait.png", 512), ("small.png", 96))
    ]


def _turns(report: Report, name: str, engine: Any, inputs: Any, network: Any, plan: Plan) -> None:
    report.describe(name, f"engine.run() in this process, defaults, {usable_processors()} processors")
    report.describe(BARE[name], "onnxruntime on the same arrays")
    noting = Noting(network._session)
    network._session = noting
    engine.run(inputs, _Line(plan.folder))
    network._session = noting.session
    for _ in range(1 if plan.quick else ROUNDS):
        ours = _timed(lambda: engine.run(inputs, _Line(plan.folder)))
        ours["estimate_over_wall"] = engine.estimate(inputs) / ours["wall_s"]
        ours["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        theirs = _timed(lambda: [noting.session.run(None, given) for given in noting.given])
        report.add(name, ours)
        report.add(BARE[name], theirs)
        print(name, ours, theirs, file=sys.stderr, flush=True)


class _Line:
    """Progress that nobody listens to."""

    checkpoint = None
    traceparent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fraction: float, stage: str | None = None, **_: Any) -> None: ...


def _timed(run: Callable[[], object]) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}

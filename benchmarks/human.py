"""Digital human: processor time a frame at 512 × 512 with everything, by quality and size, beside the encoder alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.plan import REPOSITORY, Plan
from benchmarks.report import OURS, Goal, Report
from springtide.config import load_config
from springtide.engines.human.engine import DigitalHuman
from springtide.engines.human.schema import Input
from springtide.engines.protocol import InputFile
from springtide.engines.weights import pull
from springtide.media.film import FilmWriter, opened_film

DATA = REPOSITORY / "tests" / "data"
VOICE, VOICE_S = DATA / "en.wav", 9.7
HEAD = 124, 10, 324, 210  # of the portrait: the face is more than half as high as this
ENCODER = "x264 alone"
GOALS = (
    Goal(metric="cpu_ms_a_frame", bound=15, at_least=False, what="a portrait of 512 x 512 at CRF 20, encoder included"),
    Goal(
        metric="cpu_ms_a_frame",
        bound=15,
        at_least=False,
        what="the same with a face that fills the picture",
        system=f"{OURS} (close-up)",
    ),
)
NOTES = (
    "cpu_ms_a_frame: processor time of the whole job over its frames: face, sound, drawing, encoders, marks.",
    "Runs in the benchmark's own process, model loaded; 9.7 s of speech are 242 frames.",
    "x264 alone: the frames of the portrait's result, decoded before, through the same encoder at the same settings.",
)


class Case(NamedTuple):
    """One way to ask for a video."""

    name: str
    what: str
    face: str
    options: dict[str, Any]


CASES = (
    Case(OURS, "portrait 512 x 512, CRF 20", "portrait.png", {}),
    Case(f"{OURS} (close-up)", "a face that fills 512 x 512, CRF 20", "closeup.png", {}),
    Case(f"{OURS} (crf 14)", "portrait, CRF 14", "portrait.png", {"crf": 14}),
    Case(f"{OURS} (crf 26)", "portrait, CRF 26", "portrait.png", {"crf": 26}),
    Case(f"{OURS} (crf 32)", "portrait, CRF 32", "portrait.png", {"crf": 32}),
    Case(f"{OURS} (256)", "close-up at 256 x 256", "closeup.png", {"size": 256}),
    Case(f"{OURS} (1024)", "close-up at 1024 x 1024", "closeup.png", {"size": 1024}),
    Case(f"{OURS} (50 fps)", "portrait, 50 frames a second", "portrait.png", {"fps": 50}),
    Case(f"{OURS} (film)", "a film of 512 x 512, two seconds, back and forth", "film.mp4", {}),
)


def measure(plan: Plan) -> Report:
    report = Report("human", title="Digital human", goals=GOALS)
    report.notes = list(NOTES)
    folder = load_config().weights_folder
    pull(DigitalHuman.weights, folder, lambda _what, _fraction: None)
    engine = DigitalHuman({}, folder)
    engine.load()
    _faces(plan.folder)
    wanted = [case for case in CASES if plan.wants(case.name)]
    for case in wanted:
        report.describe(case.name, case.what)
    report.describe(ENCODER, "the same frames, encoded only")
    for number in range(1 if plan.quick else plan.rounds):
        for case in wanted[:1] if plan.quick else wanted:
            work = plan.folder / f"{number}-{CASES.index(case)}"
            work.mkdir()
            values = _made(engine, case, plan.folder / case.face, work)
            report.add(case.name, values)
            print(case.name, values, file=sys.stderr, flush=True)
            if case.name == OURS:
                report.add(ENCODER, _encoded(work / "video.mp4", work / "again.mp4"))
    return report


def _faces(folder: Path) -> None:
    """The portrait, its face alone, and a film of it that sways."""
    with Image.open(DATA / "portrait.jpg") as file:
        portrait = file.convert("RGB")
    portrait.save(folder / "portrait.png")
    portrait.crop(HEAD).resize((512, 512), Image.Resampling.LANCZOS).save(folder / "closeup.png")
    with FilmWriter(folder / "film.mp4", width=512, height=512, fps=25, crf=16) as film:
        for number in range(50):
            film.write(np.asarray(portrait.rotate(6 * np.sin(number / 12), Image.Resampling.BICUBIC)))


class _Line:
    """Progress that nobody listens to."""

    checkpoint = None
    traceparent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fraction: float, stage: str | None = None, **_: Any) -> None: ...


def _made(engine: DigitalHuman, case: Case, face: Path, work: Path) -> dict[str, float]:
    kind = "video" if face.suffix == ".mp4" else "image"
    given: dict[str, Any] = {
        kind: _file(face, width=512, height=512),
        "audio": _file(VOICE, duration_s=VOICE_S),
        "consent": "The portrait is in the public domain.",
        **case.options,
    }
    inputs = Input(**given)
    cpu, wall = time.process_time(), time.perf_counter()
    output = engine.run(inputs, _Line(work))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "frames": output.frames,
        "cpu_ms_a_frame": cpu / output.frames * 1e3,
        "wall_ms_a_frame": wall / output.frames * 1e3,
        "estimate_over_cpu": engine.estimate(inputs) / cpu,
        "kb_a_second": output.video.path.stat().st_size / output.audio_s / 1e3,
    }


def _file(path: Path, **seen: Any) -> InputFile:
    return InputFile(path=path, media_type="", bytes=path.stat().st_size, **seen)


def _encoded(path: Path, again: Path) -> dict[str, float]:
    with opened_film(path) as film:
        frames = list(film.frames())
    cpu, wall = time.process_time(), time.perf_counter()
    with FilmWriter(again, width=512, height=512, fps=25, crf=20, preset="veryfast") as new:
        for frame in frames:
            new.write(frame)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_ms_a_frame": cpu / len(frames) * 1e3, "wall_ms_a_frame": wall / len(frames) * 1e3}

"""Every engine that comes with Springtide keeps the contract that authors of engines are given.

Those that are quick run; of those that load a large network, or drive a service, what can be asked without. Their own
tests run them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine_world import DATA

from springtide.testing import engine_suite, media

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT, SPEECH = DATA / "portrait.jpg", DATA / "en.wav"
SUBTITLES = "1\n00:00:00,000 --> 00:00:01,000\nHello\n"
CONSENT = "I am the person shown, and I agree."
ROOT = Path(__file__).parents[2]
OURS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
    "springtide.engines"
]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is tried on."""

    inputs: Callable[[Path], Mapping[str, Any]]  # may make files in a folder
    is_quick: bool = False
    settings: Mapping[str, Any] = {}
    refused: tuple[Mapping[str, Any], ...] = ()
    says_what_made_it: bool = True
    has_settings: bool = True


def film(folder: Path, name: str = "film.mp4") -> Path:
    return media.video(folder / name, with_sound=True)


EXAMPLES: dict[str, Example] = {
    "concat": Example(
        inputs=lambda folder: {"videos": [film(folder), film(folder, "b.mp4")]}, is_quick=True, has_settings=False
    ),
    "digital-human": Example(
        inputs=lambda _: {"image": PORTRAIT, "audio": SPEECH, "consent": CONSENT},
        refused=({"consent": ""}, {"image": None}),
    ),
    "heygem": Example(
        inputs=lambda _: {"image": PORTRAIT, "audio": SPEECH, "consent": CONSENT},
        settings={"url": "http://127.0.0.1:9", "shared_dir": str(DATA)},
    ),
    "loudness": Example(inputs=lambda _: {"audio": SPEECH}, is_quick=True, has_settings=False, refused=({"lufs": 3},)),
    "matting": Example(inputs=lambda _: {"image": PORTRAIT}, refused=({"background": "red"},)),
    "openai-transcription": Example(
        inputs=lambda _: {"audio": SPEECH}, settings={"url": "http://127.0.0.1:9/v1", "model": "whisper-1"}
    ),
    "restore": Example(inputs=lambda _: {"image": PORTRAIT}, refused=({"strength": 2},)),
    "speech": Example(inputs=lambda _: {"audio": SPEECH}, refused=({"language": "!"},)),
    "subtitles": Example(
        inputs=lambda folder: {"video": film(folder), "text": SUBTITLES}, is_quick=True, refused=({"text": None},)
    ),
    "synthetic": Example(
        inputs=lambda _: {"seconds": 0.05, "steps": 3},
        is_quick=True,
        refused=({"seconds": -1}, {"outcome": "explode"}),
        says_what_made_it=False,  # its `seconds` are those it was asked to spend
    ),
    "thumbnail": Example(
        inputs=lambda folder: {"video": film(folder)}, is_quick=True, has_settings=False, refused=({"columns": 0},)
    ),
    "transcode": Example(
        inputs=lambda folder: {"video": film(folder)}, is_quick=True, has_settings=False, refused=({"fps": 0},)
    ),
    "upscale": Example(inputs=lambda _: {"image": PORTRAIT}, refused=({"image": None},)),
    "video": Example(
        inputs=lambda _: {"prompt": "snow, push in", "width": 128, "height": 96, "seconds": 0.5, "fps": 8},
        is_quick=True,
        refused=({"prompt": ""}, {"seconds": 31}),
    ),
    "watermark": Example(
        inputs=lambda _: {"image": PORTRAIT, "text": "x"}, is_quick=True, refused=({"text": None}, {"size": 2})
    ),
    "what-if": Example(
        inputs=lambda _: {"invent": "steady", "days": 0.02, "load": 2, "policies": ["tide", "kpa"], "tune": False},
        is_quick=True,
        has_settings=False,
        refused=({"days": 0}, {"invent": None}, {"policies": []}),
    ),
}


def _suite(name: str, reference: str) -> type[engine_suite.EngineContract]:
    example = EXAMPLES[name]
    attributes = {
        "engine": reference,
        "settings": example.settings,
        "refused_inputs": example.refused,
        "refused_settings": ({"no_such_setting": 1},) if example.has_settings else (),
        "says_what_made_it": example.says_what_made_it,
        "example": classmethod(lambda _cls, folder: example.inputs(folder)),
    }
    base = engine_suite.EngineSuite if example.is_quick else engine_suite.EngineContract
    return type(f"Test_{name.replace('-', '_')}", (base,), attributes)


globals().update({f"Test_{name}": _suite(name, reference) for name, reference in OURS.items() if name in EXAMPLES})


def test_no_engine_of_ours_is_without_an_example_here() -> None:
    assert OURS.keys() - EXAMPLES.keys() == set(), "add it to EXAMPLES"

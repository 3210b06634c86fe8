"""For tests of the real engines: their model files, inputs, and a progress line that notes what it hears."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from springtide.config import load_config
from springtide.domain.model import FileField
from springtide.engines import weights
from springtide.engines.protocol import Engine, InputFile, Weights
from springtide.media.probe import probe

DATA = Path(__file__).parent.parent / "data"


def weights_folder(engine: type[Engine[Any, Any]]) -> Path:
    """Where the model files of an engine are, after fetching what is not there yet."""
    return fetched(*engine.weights)


@cache
def fetched(*files: Weights) -> Path:
    """Where these model files are, after fetching what is not there yet."""
    folder = load_config().weights_folder
    weights.pull(files, folder, lambda _what, _fraction: None)
    return folder


def probed(path: Path, *media_types: str) -> InputFile:
    """The file as the platform hands it to an engine."""
    field = FileField(
        name="file",
        media_types=media_types,
        required=True,
        many=False,
        max_bytes=1 << 30,
        max_pixels=50_000_000,
        max_duration_s=None,
        needs_audio=False,
    )
    seen = probe(path, field)
    return InputFile(
        path=path,
        media_type=seen.media_type,
        bytes=path.stat().st_size,
        width=seen.width,
        height=seen.height,
        duration_s=seen.duration_s,
    )


class Line:
    """A progress line that notes what it hears."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.heard: list[tuple[float, str | None]] = []
        self.checkpoint: Path | None = None  # what an earlier attempt left
        self.traceparent: str | None = None
        self.checkpoints: list[bytes | Path] = []

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        self.heard.append((fraction, stage))
        if checkpoint is not None:
            self.checkpoints.append(checkpoint)

    @property
    def fractions(self) -> list[float]:
        return [fraction for fraction, _ in self.heard]

    @property
    def stages(self) -> tuple[str | None, ...]:
        return tuple(dict.fromkeys(stage for _, stage in self.heard))

"""Runs an engine on one job's inputs in this very process, with no server: to see a failure happen again under a
debugger, a profiler, or just on the terminal.

What an engine raises is raised here as it is, and a crash takes this process along: that is the point.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from springtide.domain.ids import BlobId
from springtide.engines.binding import bind
from springtide.engines.catalog import load_engine
from springtide.engines.protocol import InputFile


class _Told:
    """`engines.protocol.Progress` on standard error."""

    checkpoint = None
    traceparent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, fraction: float, stage: str | None = None, *, checkpoint: bytes | Path | None = None) -> None:
        sys.stderr.write(f"{fraction:6.1%} {stage or ''}\n")


def run_alone(
    engine_reference: str,
    settings: Mapping[str, Any],
    *,
    weights_folder: Path,
    inputs: Mapping[str, Any],
    files: Mapping[BlobId, InputFile],
) -> str:
    """Load the engine and run it once; gives its output as JSON. Files it made are left in a temporary folder.

    inputs: as a job has them on record, files by blob id. files: where those blobs are.
    """
    engine_type = load_engine(engine_reference)
    bound, _ = bind(engine_type.Input, inputs, files)
    engine = engine_type(settings, weights_folder)
    engine.load()
    folder = Path(tempfile.mkdtemp(prefix="springtide-alone-"))
    return engine.run(bound, _Told(folder)).model_dump_json(indent=2)

"""An engine for kills at a certain moment: stands still at seventy percent for as long as a file is there."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from springtide.engines.protocol import Progress
from springtide.engines.synthetic.engine import Input, Output, Synthetic

PAUSE_AT = 0.7
VARIABLE = "STANDS_STILL_WHILE_THERE_IS"


class Pausing(Synthetic):
    def run_batch(self, inputs: Sequence[Input], progress: Sequence[Progress]) -> list[Output | Exception]:
        return super().run_batch(inputs, [_Line(line) for line in progress])  # type: ignore[arg-type]  # as much of one as is used


class _Line:
    def __init__(self, line: Progress) -> None:
        self._line = line
        self.checkpoint = line.checkpoint

    def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
        self._line(fraction, stage, **more)
        while fraction >= PAUSE_AT and Path(os.environ[VARIABLE]).exists():
            self._line(fraction, stage)
            time.sleep(0.02)

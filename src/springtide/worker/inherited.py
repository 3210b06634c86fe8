"""What a child finds done when it is forked: the forkserver has made the imports, found the engine and set the signals.

Apart from `preload`, which does it, so that naming these things does nothing. In a child that was spawned all is empty.
"""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from springtide.engines.protocol import Engine

PRELOAD = "SPRINGTIDE_PRELOAD"  # the forkserver's variable, JSON: {"sys_path": [...], "engine": "reference"}

found: dict[str, type[Engine[Any, Any]]] = {}  # by reference: looking an engine up by name costs 25 ms, once


def ignore_signal(number: int, frame: FrameType | None) -> None:
    """What is done about signals meant for the worker: nothing."""

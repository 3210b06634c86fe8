"""The mark of origin on what a network drew into somebody's picture: theirs handed on, or a new one."""

from __future__ import annotations

from pathlib import Path

from springtide.engines.made import Made
from springtide.engines.provenance import Kind, carry, mark


def hand_on(source: Path, target: Path, *, made: Made, title: str, is_drawn: bool) -> None:
    """Mark `target`: as what `source` says it is, else, where anything in it is drawn, as a photograph with parts by a
    trained model. The last thing done to the file."""
    if carry(source, target, made=made, title=title) is None and is_drawn:
        mark(target, made=made, kind=Kind.COMPOSITE, title=title)

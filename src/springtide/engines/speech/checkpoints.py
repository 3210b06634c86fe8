"""How far a recording has been written down, so that another attempt goes on from there.

Held are the segments so far, the end of the last piece and the language heard last. Pieces are cut the same way every
time, so the attempt that goes on listens to the recording again (a hundredth of the work) and writes down only what
comes behind that end: the result is the one an undisturbed run would have given.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from pydantic import TypeAdapter

from springtide.engines.speech.schema import Segment
from springtide.engines.speech.transcriber import Heard

EVERY_S = 2.0  # the worker stores about one a second at most
_SEGMENTS = TypeAdapter(list[Segment])


class Place(msgspec.Struct, frozen=True):
    """What was done: everything that ends at or before sample `end`."""

    end: int = 0
    heard: Heard | None = None
    segments: tuple[Segment, ...] = ()


class _Kept(msgspec.Struct, frozen=True):
    made_by: str  # engine, its version and the job's wishes: another one's is not used
    end: int
    heard: Heard | None
    segments: msgspec.Raw


def kept(place: Place, *, made_by: str) -> bytes:
    """The place as bytes."""
    raw = msgspec.Raw(_SEGMENTS.dump_json(list(place.segments)))
    return msgspec.json.encode(_Kept(made_by, place.end, place.heard, raw))


def found(checkpoint: Path | None, *, made_by: str) -> Place:
    """The place another attempt left; the beginning where there is none, or it is not one of `made_by`."""
    if checkpoint is None:
        return Place()
    try:
        read = msgspec.json.decode(checkpoint.read_bytes(), type=_Kept)
        if read.made_by != made_by:
            return Place()
        return Place(read.end, read.heard, tuple(_SEGMENTS.validate_json(bytes(read.segments))))
    except (OSError, ValueError):  # msgspec's and pydantic's errors are ValueErrors
        return Place()

"""What passes between the inspector and its child: one frame a message, four bytes of length and then msgpack.

Values only: a child that was taken over by a hostile file can at worst send back a wrong Probe.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from springtide.domain.model import FileField
from springtide.media.probe import Probe

LENGTH = struct.Struct(">I")
READY = LENGTH.pack(0)  # the child's first frame
MAX_FRAME_BYTES = 1 << 20  # a field with hundreds of media types is a few kB


class Question(msgspec.Struct, frozen=True):
    """A file to look at, and what it is to be."""

    path: str
    field: FileField


class Complaint(msgspec.Struct, frozen=True):
    """The error a file got: what BadMedia or TooLarge is made from again."""

    code: str
    message: str
    details: dict[str, Any] = {}
    is_too_large: bool = False


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the two; neither where the file could not be read at all."""

    probe: Probe | None = None
    complaint: Complaint | None = None
    failure: str | None = None


_encoder = msgspec.msgpack.Encoder()
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Question | Reply) -> bytes:
    """A message as it goes over the pipe."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body

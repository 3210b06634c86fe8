"""Server-sent events out of bytes (WHATWG HTML 9.2), as far as the gateway uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from springtide.client.types import Event


class EventReader:
    """Feed it bytes as they come; it gives whole events. Lines end by LF, CRLF or CR only: text may hold U+2028."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: str | None = None
        self._kind = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that are complete now."""
        text = self._rest + chunk
        held = b"\r" if text.endswith(b"\r") else b""  # its LF may be on the way
        lines = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event = self._whole()
            self._id, self._kind, self._data = None, "", []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"id":
                self._id = value.decode()
            case b"event":
                self._kind = value.decode()
            case b"data":
                self._data.append(value)
            case _:
                pass  # a comment, or a browser's pause: this client has its own
        return None

    def _whole(self) -> Event | None:
        if not self._data:
            return None
        told: dict[str, Any] = msgspec.json.decode(b"\n".join(self._data), type=dict[str, Any])
        told.setdefault("kind", self._kind)
        if self._id is not None:
            told["id"] = self._id
        return msgspec.convert(told, Event)

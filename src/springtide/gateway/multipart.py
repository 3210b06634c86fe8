"""A form read part by part while it arrives: constant memory, whatever its size.

python-multipart does the parsing; this turns its callbacks into parts one can await. A form that is cut short, or is
none, is a CallerError (malformed_form).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from springtide.domain.errors import CallerError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class Part(msgspec.Struct, frozen=True):
    """One part's headers. `filename` is None for a plain field, and empty for a file input left empty in a browser."""

    name: str
    filename: str | None
    content_type: str | None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a multipart Content-Type names."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise malformed("Content-Type names no boundary")
    return boundary


def malformed(why: str) -> CallerError:
    return CallerError(f"The form cannot be read: {why}.", code="malformed_form")


class MultipartReader:
    """Parts in order: `next_part`, then `data` of that part (or not: what is left unread is skipped)."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._heard = _Heard()
        self._in_part = False
        try:
            self._parser = MultipartParser(boundary, self._heard.callbacks())
        except FormParserError as error:
            raise malformed(str(error)) from error

    async def next_part(self) -> Part | None:
        """The next part, or None after the last one."""
        while self._in_part:
            self._in_part = await self._next_event() is not None
        event = await self._next_event()
        if event is None:
            return None
        assert isinstance(event, Part)
        self._in_part = True
        return event

    async def data(self) -> AsyncIterator[bytes]:
        """The bytes of the part in hand."""
        while self._in_part:
            event = await self._next_event()
            if event is None:
                self._in_part = False
                return
            assert isinstance(event, bytes)
            yield event

    async def _next_event(self) -> Part | bytes | None:
        events = self._heard.events
        while not events:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                if self._heard.has_ended and not self._in_part:
                    return None
                raise malformed("it ends in the middle") from None
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise malformed(str(error)) from error
        return events.popleft()


class _Heard:
    """What the parser said. It knows neither the parser nor the reader: with one object for both, each form is a cycle
    of some 30 objects that only the collector frees."""

    def __init__(self) -> None:
        self.events: deque[Part | bytes | None] = deque()  # headers, data, None: end of the part
        self.has_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_part_begin,
            "on_part_data": lambda data, start, end: self.events.append(data[start:end]),
            "on_part_end": lambda: self.events.append(None),
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if not name:
            raise malformed("a part has no name")
        filename = options.get(b"filename")
        content_type = self._headers.get(b"content-type")
        self.events.append(
            Part(
                name.decode("utf-8", "replace"),
                None if filename is None else filename.decode("utf-8", "replace"),
                None if content_type is None else content_type.decode("latin-1"),
            )
        )

    def _on_end(self) -> None:
        self.has_ended = True

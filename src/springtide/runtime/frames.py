"""Whole frames over a stream, between processes of ours on one machine.

A frame is four bytes of length (big-endian) and that much msgpack. Frames sent in one turn of the event loop leave in
one write; whoever sends anything else is hung up on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

log = logging.getLogger(__name__)

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 30  # no frame comes near it: whoever announces more does not speak this protocol

HeadT = TypeVar("HeadT")


class Frames(asyncio.Protocol, Generic[HeadT]):
    """One end of a connection: whole frames in, frames out in few writes."""

    def __init__(self, head: type[HeadT], receive: Callable[[HeadT], None], lost: Callable[[], None]) -> None:
        """head: type of a frame's content. receive: called for each frame. lost: called once when the line is gone."""
        self._decode = msgspec.msgpack.Decoder(head).decode
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._unsent: list[bytes] = []
        self._is_reading = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, content: bytes) -> None:
        """Send one frame with this msgpack. Nothing happens where the line is gone: `lost` tells of it."""
        if not self._unsent and not self._is_reading:
            self._loop.call_soon(self._flush)
        self._unsent.append(len(content).to_bytes(HEADER_BYTES, "big"))
        self._unsent.append(content)

    def close(self) -> None:
        """Hang up. What the other side does not take at once is dropped: it may never take it."""
        self._flush()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        self._lost()

    def data_received(self, data: bytes) -> None:
        if self._unread:
            self._unread += data
            if len(self._unread) < HEADER_BYTES + int.from_bytes(self._unread[:HEADER_BYTES], "big"):
                return  # a long frame arrives in many pieces: look again only when it may be whole
            data = bytes(self._unread)
            self._unread.clear()
        self._is_reading = True
        try:
            read = self._read_frames(data)
        except (msgspec.DecodeError, ValueError) as error:
            # Not this protocol: there is no telling where the next frame begins.
            log.warning("hung up on a connection that does not speak this protocol: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        finally:
            self._is_reading = False
        self._unread += data[read:]
        self._flush()

    def _read_frames(self, data: bytes) -> int:
        """Handle every whole frame; gives how many bytes they took."""
        at = 0
        while len(data) - at >= HEADER_BYTES:
            size = int.from_bytes(data[at : at + HEADER_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            end = at + HEADER_BYTES + size
            if end > len(data):
                break
            self._receive(self._decode(data[at + HEADER_BYTES : end]))
            at = end
        return at

    def _flush(self) -> None:
        if self._unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

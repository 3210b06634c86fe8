"""uvicorn's WebSocket with a short way out: frames that are encoded once and written to many clients.

Handshake, pings, closing and what clients send stay with uvicorn and `websockets`. A message by way of ASGI is encoded
for each client anew and passes a queue of coroutines; measured, that is most of what a delivery costs.

A client that listens holds little: what only its handshake needed is let go, and asyncio's `Queue` and `Event`, five
deques of 760 bytes each, are replaced by what uvicorn uses of them. A thousand clients are 6 MB less for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from springtide.gateway.guarded import WIRE


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Is a `Wire`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = cast("Any", Inbox())
        self.writable = cast("Any", Gate())
        self.conn.debug = False  # it would write headers to the log, and keys with them
        self.is_writable = True
        self.on_writable: Callable[[], None] | None = None

    def write(self, frame: bytes) -> None:
        if not (self.close_sent or self.disconnected or self.transport.is_closing()):
            self.transport.write(frame)

    def close(self, code: int, reason: str) -> None:
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # the client's own goodbye is to be heard
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the handshake was sound, and the application's task is yet to begin
            self.scope["extensions"][WIRE] = self  # type: ignore[index,typeddict-item] - an extension of our own

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.request.headers.clear()  # whoever parses frames keeps the request
            self.request = self.response = cast("Any", None)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_writable = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_writable = True
        if self.on_writable is not None:
            self.on_writable()


class Inbox:
    """Messages to the application, which one task reads: put_nowait, get and empty of an `asyncio.Queue`."""

    __slots__ = ("_messages", "_reader")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._messages.pop(0)

    def empty(self) -> bool:
        return not self._messages


class Gate:
    """Open to begin with: set, clear and wait of an `asyncio.Event`, for one task that waits."""

    __slots__ = ("_closed",)

    def __init__(self) -> None:
        self._closed: asyncio.Future[None] | None = None

    def set(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._closed = None

    def clear(self) -> None:
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        if self._closed is not None:
            await asyncio.shield(self._closed)

"""uvicorn's WebSocket with a short way out: frames that are encoded once and written to many clients.

Handshake, pings, closing and what clients send stay with uvicorn and `websockets`. A message by way of ASGI is encoded
for each client anew and passes a queue of coroutines; measured, that is most of what a delivery costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from springtide.gateway.guarded import WIRE


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Is a `Wire`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_writable = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_writable = True
        if self.on_writable is not None:
            self.on_writable()

"""A connection that was opened with a key, and ends with it.

What is short is let finish: it was allowed when it began. What goes on by itself ends: an event stream with an `error`
event, a WebSocket with close code 4401; whoever comes again is told 401.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

KEY_ENDED = 4401  # of a WebSocket: from the range for applications, after the status that a request would get
WIRE = "springtide.wire"  # where the server puts its side of a WebSocket: among the scope's extensions
_MESSAGES = {"key_revoked": "The key was revoked.", "key_expired": "The key has expired."}


class Guarded:
    """Stands between a server's `receive` and `send` and the application."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._wire: Any = (scope.get("extensions") or {}).get(WIRE)
        self._receive = receive
        self._send = send
        self._is_open = False  # a stream, or a WebSocket, that goes on by itself
        self._is_over = False
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(self, code: str) -> None:
        """The key holds no longer."""
        self._ended.set_result(code)
        if self._is_open and self._wire is not None:
            self._wire.close(KEY_ENDED, _MESSAGES[code])

    async def send(self, message: Any) -> None:
        if self._is_over:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._is_open = any(
                name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"]
            )
        await self._send(message)
        if kind == "websocket.accept":
            self._is_open = True
            if self._ended.done() and self._wire is not None:
                self._wire.close(KEY_ENDED, _MESSAGES[self._ended.result()])

    async def receive(self) -> Any:
        """What the client sends; that it has gone, once the key holds no longer: streams listen for that."""
        if not self._is_open or self._wire is not None:
            return await self._receive()
        coming = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait((self._ended, coming), return_when=asyncio.FIRST_COMPLETED)
            if not self._ended.done():
                return coming.result()
        finally:
            if not coming.done():
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await coming
        await self._say_why(self._ended.result())
        return {"type": "http.disconnect"}

    async def _say_why(self, code: str) -> None:
        self._is_over = True
        data = msgspec.json.encode({"code": code, "message": _MESSAGES[code]})
        body = b"event: error\ndata: %s\n\n" % data
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

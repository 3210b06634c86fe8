"""uvicorn around the app, stopped by an event instead of by signals, so that the composition root owns the process.

What cannot be parsed as HTTP never reaches the app; it is answered here, as a problem like everything else: so are a
head that is too large, and a client that begins a request and falls silent. An answer that is there as a whole leaves
as a whole (docs/decisions/0055).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from springtide.gateway.problems import new_request_id, problem_body
from springtide.runtime.memory import settle

LARGEST_MESSAGE = 1 << 18  # from a WebSocket client: a thousand ids of jobs and events fit twice
MOST_URL_BYTES = 65_535  # httptools keeps lengths of a URL in 16 bits
MOST_HEAD_BYTES = 1 << 16  # of a request's headers: eight times what nginx takes
SILENCE_S = 30.0  # a request that goes on is heard of more often; whoever trickles holds a socket and some kilobytes
LOOKS = 4  # in that time
MOST_COPIED = 1 << 16  # of a body: a longer one is dearer to copy beside its head than to write for itself
LINGER_S = 1.0  # a client that still sends would lose the answer to a reset
_UNSOUND = bytes((*range(9), *range(10, 32), 127))  # in the value of a header (RFC 9110, 5.5)


def _web_socket(**uvicorns: Any) -> asyncio.Protocol:
    """Imported with the first client: 30 ms that a start need not wait for."""
    from springtide.gateway.ws_protocol import WebSocketProtocol

    return WebSocketProtocol(**uvicorns)


class _Exchange(RequestResponseCycle):
    """A request and its answer. The head waits for the first bytes of the body, as ASGI has it, and where those are
    the whole of it both leave in one write: two cost 7 microseconds more, and what uvicorn does for each as much."""

    _head: Any = None  # `http.response.start`, where it waits

    async def send(self, message: Any) -> None:
        head = self._head
        if head is None:
            if self.response_started or self.disconnected or message["type"] != "http.response.start":
                await super().send(message)
                return
            self._head, self.response_started, self.waiting_for_100_continue = message, True, False
            return
        self._head = None
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        whole = self._whole(head, message)
        if whole is None:
            self.response_started = False
            await super().send(head)
            await super().send(message)
            return
        self.transport.write(whole)
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _whole(self, head: Any, message: Any) -> bytes | None:
        """An answer's bytes; None for one in parts, or that takes a closer look."""
        if message["type"] != "http.response.body" or message.get("more_body") or self.scope["method"] == "HEAD":
            return None
        body: bytes = message.get("body", b"")
        headers: list[tuple[bytes, bytes]] = [*self.default_headers, *head["headers"]]
        known = dict(headers)
        if not self.keep_alive or b"connection" in known or b"transfer-encoding" in known or len(body) > MOST_COPIED:
            return None
        if known.get(b"content-length") != b"%d" % len(body):
            return None
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if len(lines) - len(lines.translate(None, _UNSOUND)) != 2 * len(headers):  # more line breaks than are ours
            return None
        return b"%b%b\r\n%b" % (STATUS_LINE[head["status"]], lines, body)


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._heard_at_s = self.loop.time()
        self._in_head = True  # of a request that has begun, or of the first one
        self._chunk_bytes = self._head_bytes = 0
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._heard_at_s = self.loop.time()
        self._chunk_bytes = len(data)
        self._head_bytes += self._chunk_bytes
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, self._chunk_bytes
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_bytes > MOST_HEAD_BYTES and self._is_head_large():  # the first counts some of the body, too
            self._refuse_head()
            raise ValueError("the head is too large")  # ends the parse, and with it the request
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Exchange  # uvicorn names its own where it makes one
        super()._start_asgi_task(cycle, app)

    def _is_head_large(self) -> bool:
        return sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES

    def is_silent(self, silence_s: float) -> bool:
        """Whether the client has owed us the rest of a request for so long."""
        if self._is_refused or self.flow.read_paused or self.loop.time() - self._heard_at_s < silence_s:
            return False
        cycle: Any = self.cycle
        return self._in_head or (cycle is not None and cycle.more_body and not cycle.response_complete)

    def give_up(self, silence_s: float) -> None:
        cycle: Any = self.cycle
        if self._in_head or not cycle.response_started:
            detail = f"Nothing was heard of this request for {silence_s:g} s; nothing was kept. Send it again."
            self._answer(408, b"Request Timeout", "request_stalled", detail)
        self.transport.close()

    def _refuse_head(self) -> None:
        detail = f"The headers have more than the {MOST_HEAD_BYTES} bytes that are read. Send data in the body."
        self._answer(431, b"Request Header Fields Too Large", "headers_too_large", detail)
        self._is_refused = True
        self.loop.call_later(LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Called where the parser gives up."""
        if self._is_refused:
            return
        if len(self.url) > MOST_URL_BYTES:
            detail = f"The URL has {len(self.url)} bytes; at most {MOST_URL_BYTES} can be read. Send data in the body."
            status, phrase, code = 414, b"URI Too Long", "uri_too_long"
        else:
            detail = "This is not a request that can be parsed as HTTP/1.1."
            status, phrase, code = 400, b"Bad Request", "malformed_request"
        self._answer(status, phrase, code, detail)
        self.transport.close()

    def _answer(self, status: int, phrase: bytes, code: str, detail: str) -> None:
        body = problem_body(status, code, detail, request_id=new_request_id())
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n%s" % (status, phrase, len(body), body)
        )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # signals are the process's own business


def _watch(server: uvicorn.Server, silence_s: float) -> asyncio.TimerHandle:
    """End requests that clients do not go on with, now and from now on."""
    for connection in list(server.server_state.connections):
        if isinstance(connection, _Protocol) and connection.is_silent(silence_s):
            connection.give_up(silence_s)
    return asyncio.get_running_loop().call_later(silence_s / LOOKS, _watch, server, silence_s)


async def serve(
    app: Any,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    grace_s: float,
    on_ready: Callable[[], None],
    silence_s: float = SILENCE_S,
) -> None:
    """Serve `app` on a bound, listening socket until `stop`; open requests get `grace_s` to end. A client that sends
    nothing of a request it has begun for `silence_s` is given up."""
    config = uvicorn.Config(
        app,
        loop="none",  # the running loop
        http=_Protocol,
        ws=cast("type[asyncio.Protocol]", _web_socket),  # called like one
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # frames are shared between clients
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,
        timeout_graceful_shutdown=int(grace_s),
        timeout_keep_alive=75,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    started = asyncio.create_task(server.answers.wait())
    await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if not serving.done():
        settle()
        _watch(server, silence_s)
        on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving

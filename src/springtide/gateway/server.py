"""uvicorn around the app, stopped by an event instead of by signals, so that the composition root owns the process.

What cannot be parsed as HTTP never reaches the app; it is answered here, as a problem like everything else: so are a
head that is too large, and a client that begins a request and falls silent. An answer that is there as a whole leaves
as a whole (docs/decisions/0055).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from springtide.gateway.front_line import MOST_BYTES, PATH
from springtide.gateway.problems import new_request_id, problem_body
from springtide.gateway.whole_answers import written
from springtide.runtime.memory import settle

if TYPE_CHECKING:
    from springtide.gateway.fronting import Fronting

Adopt = Callable[[socket.socket, bytes], None]

LARGEST_MESSAGE = 1 << 18  # from a WebSocket client: a thousand ids of jobs and events fit twice
MOST_URL_BYTES = 65_535  # httptools keeps lengths of a URL in 16 bits
MOST_HEAD_BYTES = 1 << 16  # of a request's headers: eight times what nginx takes
SILENCE_S = 30.0  # a request that goes on is heard of more often; whoever trickles holds a socket and some kilobytes
LOOKS = 4  # in that time
MOST_COPIED = 1 << 16  # of a body: a longer one is dearer to copy beside its head than to write for itself
LINGER_S = 1.0  # a client that still sends would lose the answer to a reset


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
        if self.transport.is_closing():  # uvicorn tells only the last of those that came before their answers
            self.disconnected = True
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
        return written(head["status"], headers, body)


class _Protocol(HttpToolsProtocol):
    def __init__(self, fronting: Fronting | None, unread: bytes = b"", **uvicorns: Any) -> None:
        """unread: what was read of the connection elsewhere, and not answered."""
        super().__init__(**uvicorns)
        self._fronting = fronting
        self._unread = unread
        self._posts = 0  # in a row, of those that a front process could pass on

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._heard_at_s = self.loop.time()
        self._in_head = True  # of a request that has begun, or of the first one
        self._chunk_bytes = self._head_bytes = 0
        self._is_refused = False
        if self._unread:
            self.data_received(self._unread)  # before the next byte can come
            self._unread = b""

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

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._fronting is None:
            return
        # The next request may have begun already, and its head not be whole.
        is_short = self.scope.get("method") == "POST" and self.url == PATH and self._chunk_bytes <= MOST_BYTES
        self._posts = self._posts + 1 if is_short else 0
        if is_short and self._fronting.takes(self._posts):
            self.loop.call_soon(self._give_away)

    def _give_away(self) -> None:
        """To the front process, unless something has come or is still to leave."""
        if self._fronting is not None and self._is_resting:
            self.transport.pause_reading()
            if self._fronting.give(self.transport.get_extra_info("socket").fileno()):
                self._unset_keepalive_if_required()
                self.transport.abort()
            else:
                self.transport.resume_reading()

    @property
    def _is_resting(self) -> bool:
        """Whether everything was answered, all of it has left, and the next byte would begin a request."""
        cycle: Any = self.cycle
        if self._in_head or self._is_refused or cycle.more_body or not cycle.response_complete:
            return False
        return not self.transport.is_closing() and not self.transport.get_write_buffer_size()

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
        self.adopting: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    def adopt(self, connection: socket.socket, unread: bytes) -> None:
        """Serve a connection that was accepted elsewhere, beginning with what was read of it."""
        task = asyncio.create_task(self._adopt(connection, unread))
        task.add_done_callback(self.adopting.discard)
        self.adopting.add(task)

    async def _adopt(self, connection: socket.socket, unread: bytes) -> None:
        loop, config = asyncio.get_running_loop(), self.config
        make: Any = config.http_protocol_class
        state: Any = {"server_state": self.server_state, "app_state": self.lifespan.state, "_loop": loop}
        await loop.connect_accepted_socket(lambda: make(config=config, unread=unread, **state), connection)

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
    fronting: Callable[[Any, Adopt], Fronting] | None = None,
) -> None:
    """Serve `app` on a bound, listening socket until `stop`; open requests get `grace_s` to end. A client that sends
    nothing of a request it has begun for `silence_s` is given up. fronting: makes a front process possible."""

    def adopt(connection: socket.socket, unread: bytes) -> None:
        server.adopt(connection, unread)

    front = None if fronting is None else fronting(app, adopt)
    config = uvicorn.Config(
        app,
        loop="none",  # the running loop
        http=cast("type[asyncio.Protocol]", functools.partial(_Protocol, front)),  # called like one, too
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
    if front is not None:
        await front.stop(grace_s)
        await asyncio.gather(*server.adopting, return_exceptions=True)  # else uvicorn would not know of them
    server.should_exit = True
    await serving

"""uvicorn around the app, stopped by an event instead of by signals, so that the composition root owns the process.

What cannot be parsed as HTTP never reaches the app; it is answered here, as a problem like everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from springtide.gateway.problems import new_request_id, problem_body
from springtide.runtime.memory import settle

LARGEST_MESSAGE = 1 << 18  # from a WebSocket client: a thousand ids of jobs and events fit twice
MOST_URL_BYTES = 65_535  # httptools keeps lengths of a URL in 16 bits


def _web_socket(**uvicorns: Any) -> asyncio.Protocol:
    """Imported with the first client: 30 ms that a start need not wait for."""
    from springtide.gateway.ws_protocol import WebSocketProtocol

    return WebSocketProtocol(**uvicorns)


class _Protocol(HttpToolsProtocol):
    def send_400_response(self, msg: str) -> None:
        """Called where the parser gives up."""
        if len(self.url) > MOST_URL_BYTES:
            detail = f"The URL has {len(self.url)} bytes; at most {MOST_URL_BYTES} can be read. Send data in the body."
            status, phrase, code = 414, b"URI Too Long", "uri_too_long"
        else:
            detail = "This is not a request that can be parsed as HTTP/1.1."
            status, phrase, code = 400, b"Bad Request", "malformed_request"
        body = problem_body(status, code, detail, request_id=new_request_id())
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n%s" % (status, phrase, len(body), body)
        )
        self.transport.close()


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


async def serve(
    app: Any, listener: socket.socket, stop: asyncio.Event, *, grace_s: float, on_ready: Callable[[], None]
) -> None:
    """Serve `app` on a bound, listening socket until `stop`; open requests get `grace_s` to end."""
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
        on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving

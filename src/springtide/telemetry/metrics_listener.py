"""A port for whoever watches a process: `/metrics` for Prometheus, `/healthz` and `/readyz` for Kubernetes.

A few dozen lines instead of a web framework: a worker must stay small. Promises: reads no more of a request than its
head, and waits for it no longer than HEAD_S; every answer closes the connection; `/healthz` answers as long as the
event loop turns. It asks nobody for a key: it is bound to this machine unless the operator says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable

from springtide.domain.errors import ConfigError
from springtide.telemetry.metrics_exposition import CONTENT_TYPE, Exposition

log = logging.getLogger(__name__)
HEAD_S = 5.0
MOST_HEAD_BYTES = 8192
MOST_CONNECTIONS = 64  # a scraper and three probes need four
NEXT_PORTS = 100  # workers of one machine
_PLAIN = "text/plain; charset=utf-8"
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Listener:
    """A service: `start`, `stop`."""

    def __init__(
        self, exposition: Exposition, host: str, port: int, *, is_ready: Callable[[], str | None] = lambda: None
    ) -> None:
        """is_ready: why this process cannot do its work, for `/readyz`; None where it can."""
        self._exposition = exposition
        self._host = host
        self._first_port = port
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None
        self._open = 0
        self.port: int | None = None  # where it listens

    async def start(self) -> None:
        """Listen on the port or the next that is free. Raises ConfigError."""
        for port in range(self._first_port, min(self._first_port + NEXT_PORTS, 65536)):
            try:
                self._server = await asyncio.start_server(self._serve, self._host, port, limit=MOST_HEAD_BYTES)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise ConfigError(f"telemetry.metrics_port: cannot listen on {self._host}:{port}: {error}") from error
            self.port = int(self._server.sockets[0].getsockname()[1])
            log.info("metrics at http://%s:%d/metrics", self._host, self.port)
            return
        raise ConfigError(
            f"telemetry.metrics_port: {self._first_port} and the {NEXT_PORTS - 1} ports after it are taken"
        )

    async def stop(self, grace_s: float = 0.0) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                async with asyncio.timeout(HEAD_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                async with asyncio.timeout(HEAD_S):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks so is not answered
        except Exception:
            log.exception("a scrape failed")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if not head.partition(b"\r\n")[0].rpartition(b" ")[2].startswith(b"HTTP/1."):
            return _response(400, b"This is not HTTP.\n")
        if method not in (b"GET", b"HEAD"):
            return _response(405, b"Only GET is answered here.\n")
        has_body = method == b"GET"
        if path == b"/metrics":
            return _response(200, await self._exposition.text(), CONTENT_TYPE, has_body=has_body)
        if path == b"/healthz":
            return _response(200, b"ok\n", has_body=has_body)
        if path == b"/readyz":
            why = self._is_ready()
            return _response(503 if why else 200, f"{why or 'ok'}\n".encode(), has_body=has_body)
        return _response(404, b"There are /metrics, /healthz and /readyz.\n", has_body=has_body)


def _response(status: int, body: bytes, content_type: str = _PLAIN, *, has_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")

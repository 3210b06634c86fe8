"""uvicorn around the app, stopped by an event instead of by signals, so that the composition root owns the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from springtide.runtime.memory import settle


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
        http="httptools",
        ws="none",
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

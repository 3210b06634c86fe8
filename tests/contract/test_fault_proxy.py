"""The proxy that breaks the network for other tests does what a network does, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from springtide.testing.proxy import FaultProxy


async def test_the_server_hears_of_a_client_that_was_reset() -> None:
    """Else the server would keep what a killed client held: locks, for one."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with FaultProxy(server.sockets[0].getsockname()[:2]) as line:
        _, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await ended.wait()
    server.close()

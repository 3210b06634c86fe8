"""Connections that can only be made through the guard: httpcore's pool on a backend of our own.

Promises: what is connected to is an address that the guard has just judged; TLS is for the host that was named.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpcore

from springtide.domain.errors import ConfigError
from springtide.egress.guard import Guard

KEPT_S = 15.0  # an idle connection; a rush of webhooks to one place shakes hands once
KEPT = 64  # of them at most


class Wire:
    """A pool for each scheme, for the guard must know it."""

    def __init__(self, guard: Guard, ca_file: Path | None) -> None:
        trusted = _trusted(ca_file)
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                ssl_context=trusted,
                max_connections=None,  # callers bound themselves
                max_keepalive_connections=KEPT,
                keepalive_expiry=KEPT_S,
                network_backend=_Backend(guard, scheme),
            )
            for scheme in ("https", "http")
        }

    def pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        return self._pools[scheme]

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, guard: Guard, scheme: str) -> None:
        self._guard = guard
        self._scheme = scheme
        plain: Any = httpcore.AnyIOBackend  # httpcore hides its type: it can be had without anyio
        self._sockets: httpcore.AsyncNetworkBackend = plain()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.addresses(self._scheme, host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} is not resolved in time") from error
        share_s = None if timeout is None else timeout / len(addresses)  # one that is silent leaves time for the next
        failed: Exception | None = None
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(str(address), port, timeout=share_s, local_address=local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no URL leads to a socket file")

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """The certificates of the settings, else the system's, else those that come along. Raises ConfigError."""
    try:
        if ca_file is not None:
            return ssl.create_default_context(cafile=str(ca_file))
        context = ssl.create_default_context()
        places = ssl.get_default_verify_paths()
        if not context.get_ca_certs() and not places.capath:  # a small container image has none
            import certifi

            context.load_verify_locations(certifi.where())
        return context
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"egress.ca_file: {ca_file}: {error}") from error

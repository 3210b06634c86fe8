"""From a host to the addresses that may be connected to: resolved once, every one of them judged.

Promises: a name with one address that is refused is refused whole, so that no luck in the order of the answers helps.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from springtide.domain.errors import UrlFailed
from springtide.egress.addresses import Address, Allowed, refusal
from springtide.egress.urls import refused

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

PORTS = (80, 443, 8080, 8443)  # where the web is; a database's port is no place to send a request to
RESOLVERS = 16  # threads: a name server that does not answer holds one for some 30 s


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller's URL may lead to."""

    allow: tuple[str, ...] = ()  # networks and names that are not public; on any port, and by http, too
    ports: tuple[int, ...] = PORTS
    plain_http: bool = False  # http:// to public addresses
    ca_file: Path | None = None  # certificates to trust, PEM, in place of the system's


class Guard:
    """Judges hosts by the settings."""

    def __init__(self, settings: EgressSettings, resolve: Resolve | None) -> None:
        """resolve: the addresses of a name; the system's resolver if None. Raises ConfigError."""
        self._settings = settings
        self._allowed = Allowed.of(settings.allow)
        self._threads: ThreadPoolExecutor | None = None
        self._resolve = resolve or self._by_the_system

    def stop(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def addresses(self, scheme: str, host: str, port: int) -> list[Address]:
        """Where `host` is. Raises UrlFailed: url_refused, or url_unreachable for a name without an address."""
        by_name = self._allowed.has_name(host)
        found = await self._found(host, port)
        for address in found:
            why = refusal(address, self._allowed, by_name=by_name)
            if why is not None:
                raise refused(f"leads to {host}, which may not be reached from here: {why}")
        if by_name or all(self._allowed.has_address(address) for address in found):
            return found
        if scheme != "https" and not self._settings.plain_http:
            raise refused("must be https://: what goes over http:// can be read and changed on its way")
        if port not in self._settings.ports:
            raise refused(f"names port {port}; allowed are {', '.join(map(str, self._settings.ports))}")
        return found

    async def _found(self, host: str, port: int) -> list[Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass  # it is a name
        try:
            found = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError) as error:
            raise UrlFailed(f"the name {host} cannot be resolved: {error}", code="url_unreachable") from error
        if not found:
            raise UrlFailed(f"the name {host} has no address", code="url_unreachable")
        return found

    async def _by_the_system(self, host: str, port: int) -> list[str]:
        if self._threads is None:  # of its own: a slow name server must not hold up who reads files
            self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")
        entries = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

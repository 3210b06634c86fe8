"""A caller's URL taken apart so that nothing is left to another reader of it: one host, one port, one path.

Refuses what two programs could read in two ways (backslashes, control characters, credentials, zone ids, IPv4 addresses
that are not four plain decimal numbers), because a guard that reads another host than the connection is none.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

import msgspec

from springtide.domain.errors import UrlFailed
from springtide.egress.addresses import Address

MAX_CHARACTERS = 8192  # a signed URL of S3 with temporary keys has some 2,000
PORTS = {"https": 443, "http": 80}
_KEPT = "/%:@!$&'()*+,;=~-._?[]"  # what is percent-encoded already stays as it is: signatures are over it
_BAD = re.compile(r"[\x00-\x20\x7f\\]")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.%\w]+:[0-9a-fA-F:.%\w]*\]|[^\[\]:]+)(:\d*)?")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"\d+|0[xX][0-9a-fA-F]*")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a URL leads."""

    scheme: str  # https or http
    host: str  # lower case, ASCII; an address without brackets
    port: int
    path: str  # with the query, percent-encoded
    address: Address | None  # where the host is one

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if PORTS[self.scheme] == self.port else f"{host}:{self.port}"


def target(url: str) -> Target:
    """Read a URL. Raises UrlFailed (url_refused)."""
    if len(url) > MAX_CHARACTERS:
        raise refused(f"has {len(url)} characters, at most {MAX_CHARACTERS} are taken")
    if _BAD.search(url):
        raise refused("holds a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused(f"is no URL: {error}") from error
    scheme = parts.scheme.lower()
    if scheme not in PORTS or not parts.hostname:
        raise refused("must be https://host/path")
    if "@" in parts.netloc:
        raise refused("holds a user or a password: those do not belong into a URL")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise refused("names a host that cannot be one")
    if port == 0:
        raise refused("names port 0")
    host, address = _host(parts.hostname)
    path = quote(parts.path or "/", safe=_KEPT) + ("?" + quote(parts.query, safe=_KEPT) if parts.query else "")
    return Target(scheme=scheme, host=host, port=port or PORTS[scheme], path=path, address=address)


def redacted(url: str) -> str:
    """The URL as it may be logged and shown: without its query, where signatures are, and without credentials."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(no URL)"
    query = "?…" if parts.query else ""
    path = parts.path if len(parts.path) <= 200 else parts.path[:200] + "…"
    return f"{parts.scheme}://{host}{path}{query}" if parts.scheme and host else "(no URL)"


def refused(why: str) -> UrlFailed:
    return UrlFailed(f"the URL {why}", code="url_refused")


def _host(text: str) -> tuple[str, Address | None]:
    if ":" in text or "%" in text:
        if "%" in text:
            raise refused("names a host with '%': a zone, or a name that is written twice over")
        try:
            address = ipaddress.IPv6Address(text)
        except ValueError as error:
            raise refused("names a host that is no IPv6 address") from error
        return str(address), address
    name = _ascii(text).removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # such a host is an address to every resolver, whatever its form
        try:
            address = ipaddress.IPv4Address(name)
        except ValueError as error:
            raise refused("names an address that is not four decimal numbers") from error
        return str(address), address
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise refused("names a host that cannot be one")
    return name, None


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    import idna  # only for the names that need it

    try:
        return idna.encode(text, uts46=True, transitional=False).decode()
    except idna.IDNAError as error:
        raise refused("names a host that cannot be one") from error

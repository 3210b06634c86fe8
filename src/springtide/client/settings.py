"""Where the server is, with which key, how patiently: from arguments, else from the environment, else loopback."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

import msgspec

from springtide.client.errors import ClientError

DEFAULT_URL = "http://127.0.0.1:8321"
URL, KEY = "SPRINGTIDE_URL", "SPRINGTIDE_API_KEY"


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait and how often to try. Seconds."""

    connect_s: float = 5.0
    read_s: float = 60.0  # without a byte; live streams send a comment every 15 s
    retries: int = 5  # 0.5 + 1 + 2 + 4 + 8 s: a server that restarts is back within a few
    first_s: float = 0.5
    most_s: float = 8.0
    most_retry_after_s: float = 60.0  # a server that asks for more is told to the caller instead
    reconnect_s: float = 60.0  # a live stream or a download that gets nowhere for this long is given up


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One server and how to speak to it."""

    url: str
    api_key: str | None
    patience: Patience

    @property
    def is_local(self) -> bool:
        """Whether it is this machine: then a proxy of the environment is not asked."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def settings(url: str | None, api_key: str | None, patience: Patience | None) -> Settings:
    """Arguments before `SPRINGTIDE_URL` and `SPRINGTIDE_API_KEY`. Raises ClientError for what is no address or key."""
    address = (url or os.environ.get(URL) or DEFAULT_URL).strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClientError(f"{address!r} is not the address of a server; it looks like {DEFAULT_URL}", code="bad_url")
    key = (api_key or os.environ.get(KEY) or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ClientError("the API key holds characters that no key has", code="bad_api_key")
    return Settings(url=address, api_key=key or None, patience=patience or Patience())

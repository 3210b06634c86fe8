"""Reading and writing the HTTP headers that have a grammar: pure functions, no request object.

Refuses what the grammar does not allow with a CallerError; unknown preferences and several ranges are ignored, as RFC
7240 and RFC 9110 ask.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from springtide.domain.errors import CallerError

MAX_KEY_CHARACTERS = 255
_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@functools.lru_cache(maxsize=1024)  # events of one call have one time, and it is told more than once
def iso8601(at_s: float) -> str:
    """An instant as RFC 3339 in UTC, to the millisecond, as `datetime` writes it (which takes three times as long)."""
    whole_s = math.floor(at_s)
    micros = round((at_s - whole_s) * 1e6)
    if micros == 1_000_000:
        whole_s, micros = whole_s + 1, 0
    return f"{_second(whole_s)}.{micros // 1000:03}Z"


@functools.lru_cache(maxsize=64)  # thousands of instants fall into one
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().removesuffix("+00:00")


def instant(name: str, value: str | None) -> float | None:
    """Unix seconds from parameter `name`: RFC 3339 with a time zone, or Unix seconds. Raises CallerError."""
    if value is None:
        return None
    try:
        return _unix_s(value)
    except (ValueError, OverflowError) as error:
        raise CallerError(
            f"{name!r} must be an instant such as 2026-11-22T09:30:00Z, or Unix seconds, not {value[:64]!r}.",
            code="bad_instant",
        ) from error


def _unix_s(value: str) -> float:
    if value.replace(".", "", 1).isdecimal():
        return min(float(value), 1e12)  # far enough, and fit for every database
    at = datetime.fromisoformat(value.strip().replace(" ", "+"))  # a plus sign that was not escaped in the URL
    if at.tzinfo is None:
        raise ValueError("no time zone")
    return at.timestamp()


def idempotency_key(value: str | None) -> str | None:
    """The key from `Idempotency-Key`: a quoted string (structured field), or bare as most clients send it."""
    if value is None:
        return None
    text = value.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    return checked_key(text)


def checked_key(text: str) -> str:
    """An idempotency key that is one. Raises CallerError."""
    if not text or len(text) > MAX_KEY_CHARACTERS or not text.isascii() or not text.isprintable():
        raise CallerError(
            f"An idempotency key must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters.",
            code="bad_idempotency_key",
        )
    return text


@functools.lru_cache(maxsize=64)  # a client asks the same each time
def wait_preference(value: str | None, *, max_wait_s: float) -> float:
    """Seconds from `Prefer: wait=N` (RFC 7240), at most `max_wait_s`; 0 where none is asked for."""
    if not value:
        return 0.0
    for preference in value.split(","):
        match = _WAIT.fullmatch(preference.split(";")[0].strip())
        if match:
            return min(float(match[1]), max_wait_s)
    return 0.0


def traceparent(value: str | None) -> str | None:
    """A W3C trace context worth passing on; anything malformed is dropped, as its specification asks."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


@functools.lru_cache(maxsize=64)
def media_type(value: str | None) -> str | None:
    """The bare media type of a `Content-Type`, lower case; None where it is missing or no media type."""
    bare = (value or "").split(";", 1)[0].strip()
    return bare.lower() if _MEDIA_TYPE.fullmatch(bare) else None


@functools.lru_cache(maxsize=64)
def base_url(host: str | None, scheme: str) -> str:
    """What the client called us by, to build URLs it can use; empty (URLs become paths) where Host is not a host."""
    return f"{scheme}://{host}" if host and _HOST.fullmatch(host) else ""


def attachment(name: str) -> str:
    """`Content-Disposition` that saves under `name`: never inline, so uploaded HTML cannot run here (RFC 6266)."""
    name = safe_name(name) or "file"
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def safe_name(name: str | None) -> str | None:
    """A client's file name for show: its last component, printable, at most 255 bytes. Never used as a path."""
    if name is None:
        return None
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(c for c in last if c.isprintable()).strip(" .")
    return clean.encode("utf-8", "ignore")[:255].decode("utf-8", "ignore") or None


class Span(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive)."""

    start: int
    end: int


def byte_range(value: str | None, size: int) -> Span | None:
    """The one range asked for, cut to `size`; None: send everything. Raises CallerError (416) where it is empty."""
    match = _RANGE.fullmatch((value or "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = int(match[2])
        span = Span(max(size - length, 0), size)
    else:
        span = Span(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if span.start >= size or span.start >= span.end:
        raise CallerError(
            f"The file has {size} bytes; the range lies outside.", code="range_not_satisfiable", size=size
        )
    return span


def retry_after(seconds: float) -> str:
    """Whole seconds, at least one: what `Retry-After` can say."""
    return str(max(1, math.ceil(seconds)))

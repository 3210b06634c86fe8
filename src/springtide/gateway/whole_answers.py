"""An answer that is there as a whole, as the bytes that leave in one write (docs/decisions/0055)."""

from __future__ import annotations

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

_UNSOUND = bytes((*range(9), *range(10, 32), 127))  # in the value of a header (RFC 9110, 5.5)


def written(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes | None:
    """Head and body; None where a header holds what none may."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if len(lines) - len(lines.translate(None, _UNSOUND)) != 2 * len(headers):  # more line breaks than are ours
        return None
    return b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body)

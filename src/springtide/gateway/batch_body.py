"""What a batch's request holds, item by item: NDJSON, a job a line, or one JSON object with a list.

Promises: nothing is accepted before all of it has come and its size, its number of items and its fingerprint are known,
so a request that is broken off or too large leaves nothing behind; NDJSON is kept in constant memory meanwhile.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

import msgspec
from litestar import Request

from springtide.domain.errors import CallerError, InvalidInput, TooLarge
from springtide.gateway import body
from springtide.gateway import headers as http
from springtide.gateway.envelope import decode_body
from springtide.gateway.services import GatewaySettings

IN_MEMORY_BYTES = 1 << 20  # of a spool; what is longer goes to a temporary file
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})


class _Jobs(msgspec.Struct, forbid_unknown_fields=True):
    jobs: list[msgspec.Raw]


_decode_jobs = msgspec.json.Decoder(_Jobs).decode


class Sent(AbstractContextManager["Sent"]):
    """The items of one request. Leaving it deletes them."""

    def __init__(self) -> None:
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # closed by __exit__
        self._digest = hashlib.sha256()
        self.total = 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the items."""
        return self._digest.hexdigest()

    def add(self, item: bytes) -> None:
        line = item.replace(b"\n", b" ") + b"\n"  # JSON has raw line breaks only between its parts
        self._digest.update(line)
        self._spool.write(line)
        self.total += 1

    def slices(self, size: int, *, start: int) -> Iterator[list[bytes]]:
        """The items from place `start` on, `size` at a time."""
        self._spool.seek(0)
        for _ in range(start):
            self._spool.readline()
        while items := [line for _ in range(size) if (line := self._spool.readline())]:
            yield items

    def __exit__(self, *_: object) -> None:
        self._spool.close()


async def read(request: Request[Any, Any, Any], headers: dict[bytes, bytes], settings: GatewaySettings) -> Sent:
    """All of a request's items. Raises CallerError, and TooLarge past a limit."""
    kind = http.media_type(headers.get(b"content-type", b"").decode("latin-1"))
    is_json = kind is None or kind == "application/json" or kind.endswith("+json")
    if not is_json and kind not in NDJSON:
        raise CallerError(
            f"A batch is submitted as application/x-ndjson or application/json, not as {kind}.",
            code="unsupported_media_type",
        )
    limit = settings.max_batch_bytes if is_json else settings.max_ndjson_bytes
    body.refuse_announced(headers, limit)
    sent = Sent()
    try:
        if is_json:
            _take_list(sent, await body.read(request, limit), settings.max_batch_jobs)
        else:
            await _take_lines(sent, body.chunks(request), limit, settings)
        if not sent.total:
            raise InvalidInput("The batch is empty.", errors=[{"loc": "jobs", "message": "has no items"}])
    except BaseException:
        sent.__exit__()
        raise
    return sent


def _take_list(sent: Sent, raw: bytes, max_jobs: int) -> None:
    try:
        jobs = _decode_jobs(raw).jobs
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        decode_body(raw)  # says what is wrong where it is not even JSON
        raise CallerError(
            'A batch is {"jobs": [...]}, each as POST /v1/jobs takes it.', code="malformed_json"
        ) from error
    if len(jobs) > max_jobs:
        raise _too_many(max_jobs)
    for item in jobs:
        sent.add(bytes(item))


async def _take_lines(sent: Sent, chunks: AsyncIterator[bytes], max_bytes: int, settings: GatewaySettings) -> None:
    size, rest = 0, b""
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise body.too_large(max_bytes)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in [*lines, rest]:
            if len(line) > settings.max_json_bytes:
                raise body.too_large(settings.max_json_bytes, what=f"Line {sent.total + 1}")
        _add_lines(sent, lines, settings.max_batch_jobs)
    _add_lines(sent, [rest], settings.max_batch_jobs)


def _add_lines(sent: Sent, lines: list[bytes], max_jobs: int) -> None:
    for line in lines:
        item = line.strip()
        if item:
            if sent.total >= max_jobs:
                raise _too_many(max_jobs)
            sent.add(item)


def _too_many(max_jobs: int) -> TooLarge:
    return TooLarge(
        f"The batch has more than the {max_jobs} jobs that are taken at once; send several.",
        code="too_many_jobs",
        max_jobs=max_jobs,
    )

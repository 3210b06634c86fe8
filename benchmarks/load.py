"""A light HTTP client: N connections, each with one POST in flight for a while. A process of its own, JSON out.

    python -m benchmarks.load http://127.0.0.1:8321/v1/jobs --connections 32 --seconds 8
    python -m benchmarks.load http://127.0.0.1:8321/v1/jobs/batches --batch 100 --connections 4

Hand-written on asyncio protocols because the client shares the processor with what it measures: about 30 microseconds a
request against several hundred of a general HTTP client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import uvloop

from benchmarks.report import percentile

BODY = b'{"model":"synthetic","inputs":{}}'
BATCH = b'{"jobs":[%s]}'


class Lane(asyncio.Protocol):
    """One kept-alive connection: sends, reads the whole answer, sends again until `ends_at`."""

    def __init__(
        self, request: bytes, expected: tuple[bytes, bytes], ends_at: float, took_s: list[float], wrong: list[str]
    ) -> None:
        self._request = request
        self._expected = expected  # how the head of a good answer begins, and what its body says
        self._ends_at = ends_at
        self._took_s = took_s
        self._wrong = wrong
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark or not _is_whole(head, body):
            return
        self._buffer = b""
        if head.startswith(self._expected[0]) and self._expected[1] in body:
            self._took_s.append(time.perf_counter() - self._sent_at)
        else:
            self._wrong.append((head.split(b"\r\n")[0] + b" " + body[:200]).decode("utf-8", "replace"))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._ends_at:
            self._wrong.append(f"connection lost: {exc}")
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._ends_at or len(self._wrong) > 100:
            self._transport.close()
        else:
            self._transport.write(self._request)


def _is_whole(head: bytes, body: bytes) -> bool:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")  # chunked


async def load(
    url: str,
    *,
    connections: int,
    seconds: float,
    batch: int | None = None,
    headers: Sequence[str] = (),
    expect: int | None = None,
) -> dict[str, object]:
    """Counts and latencies. `began_at_s` is Unix time, so that the caller may add the time until all is done.

    batch: jobs in one POST; None posts a single job as it is. expect: the status that counts, else any of 20x.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    head += "".join(f"{header}\r\n" for header in headers)
    body = BODY if batch is None else BATCH % b",".join([BODY] * batch)
    status = b"HTTP/1.1 20" if expect is None else b"HTTP/1.1 %d " % expect
    expected = (status, b"" if batch is None else b'"refused":[]')  # some may have begun by then
    request = head.encode() + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    jobs = batch or 1
    took_s: list[float] = []
    wrong: list[str] = []
    began_at_s, began = time.time(), time.perf_counter()
    ends_at = began + seconds
    loop = asyncio.get_running_loop()
    made = [
        loop.create_connection(lambda: Lane(request, expected, ends_at, took_s, wrong), parts.hostname, parts.port)
        for _ in range(connections)
    ]
    lanes = [protocol for _, protocol in await asyncio.gather(*made)]
    await asyncio.gather(*(lane.closed for lane in lanes))
    return {
        "began_at_s": began_at_s,
        "accepted": len(took_s) * jobs,
        "accepted_per_s": len(took_s) * jobs / (time.perf_counter() - began),
        "accepted_p50_ms": percentile(took_s, 0.5) * 1e3 if took_s else None,
        "accepted_p99_ms": percentile(took_s, 0.99) * 1e3 if took_s else None,
        "client_cpu_s": time.process_time(),
        "wrong": len(wrong),
        "first_wrong": wrong[:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, help="jobs in one POST")
    parser.add_argument("--header", action="append", default=[], help="such as 'Prefer: wait=10' (repeatable)")
    parser.add_argument("--expect", type=int, help="the status that counts, else any of 20x")
    options = parser.parse_args()
    work = load(
        options.url,
        connections=options.connections,
        seconds=options.seconds,
        batch=options.batch,
        headers=options.header,
        expect=options.expect,
    )
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()

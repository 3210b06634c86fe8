"""Many WebSocket clients in one process: each follows one job and notes when what arrived. JSON out.

    python -m benchmarks.listen http://127.0.0.1:8321 --clients 1000 < job-ids.txt

Client n follows job n modulo the number of jobs. Prints `ready` once all have their snapshot; ends once each job has
told its end to each of its clients, or after --patience seconds. A client whose connection breaks comes again,
after the last event it saw, until the server is back. Hand-written on asyncio protocols because the clients share the
processor with what they measure; what arrives is only kept, and looked at in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.report import percentile

END = b'"kind":"completed"'
CONNECTING = 50  # at once
AGAIN_S = 0.2  # after a connection broke, or was refused


class Listener(asyncio.Protocol):
    """One client."""

    def __init__(self, host: str, job: str) -> None:
        self.job = job
        self._host = host
        self._buffer = bytearray()
        self._is_open = False
        self._last = ""  # the last event seen
        self._returning: asyncio.Task[None] | None = None
        self.messages: list[tuple[float, bytes]] = []
        self.breaks = 0
        loop = asyncio.get_running_loop()
        self.has_snapshot: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._buffer, self._is_open = bytearray(), False
        transport.write(  # type: ignore[attr-defined]
            f"GET /v1/live?jobs={self.job}{self._last} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._buffer += data
        if not self._is_open:
            head, mark, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not mark:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(RuntimeError(head.split(b"\r\n")[0].decode()))
                return
            self._is_open = True
            self._buffer = bytearray(rest)
        while (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == 1:
                self.messages.append((now, payload))
                if not self.has_snapshot.done():
                    self.has_snapshot.set_result(None)
                if END in payload and not self.ended.done():
                    self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.has_snapshot.done():
            self._fail(RuntimeError(f"connection lost: {exc}"))
        elif not self.ended.done():
            self.breaks += 1
            last = next((told[-1] for told in map(_ids, reversed([each for _, each in self.messages])) if told), None)
            self._last = "" if last is None else f":{last}"
            self._returning = asyncio.get_running_loop().create_task(self._return())

    async def _return(self) -> None:
        name, _, port = self._host.rpartition(":")
        while True:
            await asyncio.sleep(AGAIN_S * (1 + random.random()))
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().create_connection(lambda: self, name, int(port))
                return

    def _fail(self, error: Exception) -> None:
        for future in (self.has_snapshot, self.ended):
            if not future.done():
                future.set_exception(error)

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        opcode = buffer[0] & 0x0F
        del buffer[: start + size]
        return opcode, payload


def _ids(message: bytes) -> list[str]:
    """Of the events in a message; a snapshot tells of one that was seen before or never."""
    return [item["id"] for item in msgspec.json.decode(message) if item["kind"] != "snapshot" and item.get("id")]


async def listen(url: str, jobs: list[str], *, clients: int, patience_s: float) -> dict[str, Any]:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    for first in range(0, clients, CONNECTING):
        followed = [jobs[n % len(jobs)] for n in range(first, min(first + CONNECTING, clients))]
        made = [
            loop.create_connection(lambda job=job: Listener(parts.netloc, job), parts.hostname, parts.port)
            for job in followed
        ]
        listeners += [protocol for _, protocol in await asyncio.gather(*made)]
        await asyncio.gather(*(each.has_snapshot for each in listeners[first:]))
    print("ready", flush=True)
    cpu_s = time.process_time()
    await asyncio.wait([each.ended for each in listeners], timeout=patience_s)
    return _counted(listeners) | {"client_cpu_s": time.process_time() - cpu_s}


def _counted(listeners: list[Listener]) -> dict[str, Any]:
    """Each client must have heard every event that any client of its job heard, once."""
    heard: dict[str, set[str]] = {}
    own: list[Counter[str]] = []
    late_s: list[float] = []
    for each in listeners:
        seen: Counter[str] = Counter()
        for at, payload in each.messages:
            for item in msgspec.json.decode(payload):
                if item["kind"] not in {"snapshot", "waiting"}:
                    seen[item["id"]] += 1
                    if item["kind"] == "progress":
                        late_s.append(at - item["at_s"])
        own.append(seen)
        heard.setdefault(each.job, set()).update(seen)
    return {
        "events": sum(map(len, heard.values())),
        "deliveries": sum(sum(seen.values()) for seen in own),
        "messages": sum(len(each.messages) for each in listeners),
        "lost": sum(len(heard[each.job] - set(seen)) for each, seen in zip(listeners, own, strict=True)),
        "doubled": sum(count - 1 for seen in own for count in seen.values()),
        "breaks": sum(each.breaks for each in listeners),
        "without_end": sum(not each.ended.done() or each.ended.exception() is not None for each in listeners),
        "p50_ms": percentile(late_s, 0.5) * 1e3 if late_s else None,
        "p99_ms": percentile(late_s, 0.99) * 1e3 if late_s else None,
        "most_ms": max(late_s) * 1e3 if late_s else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--patience", type=float, default=60.0)
    options = parser.parse_args()
    jobs = sys.stdin.read().split()
    print(json.dumps(uvloop.run(listen(options.url, jobs, clients=options.clients, patience_s=options.patience))))


if __name__ == "__main__":
    main()

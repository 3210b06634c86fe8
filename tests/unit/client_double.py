"""A server in a dictionary, for the client's tests: it keeps the idempotency promise, and loses what it is told to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

from springtide.client import Patience, Springtide

JOB = "job_" + "0" * 31
Answer = Callable[[httpx.Request], httpx.Response]


def job(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A job as the server tells it."""
    name = f"{JOB}{number}"
    url = f"http://media.test/v1/jobs/{name}"
    told = {"id": name, "status": "queued", "model": "synthetic", "model_version": "1", "created_at": "now"}
    urls = {"status_url": url, "result_url": url, "events_url": url, "cancel_url": url}
    return {**told, "created_at_s": 1.0, **urls, **fields}


class Double:
    """Answers `script` in order, then `usual`; remembers every request, and the jobs by idempotency key."""

    def __init__(self, *script: Answer | httpx.Response | Exception, usual: Answer | None = None) -> None:
        self.script = list(script)
        self.usual = usual or self.accept
        self.seen: list[httpx.Request] = []
        self.bodies: list[bytes] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.bodies.append(request.read())
        step = self.script.pop(0) if self.script else self.usual
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)

    def accept(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["idempotency-key"]
        known = key in self.jobs
        self.jobs.setdefault(key, job(len(self.jobs) + 1))
        return httpx.Response(202, json=self.jobs[key], headers={"idempotency-replayed": "true"} if known else {})

    def lose(self, request: httpx.Request) -> httpx.Response:
        """Take it in, and let the answer be lost."""
        self.accept(request)
        raise httpx.ReadError("connection reset", request=request)

    def client(self, url: str = "http://media.test", **options: Any) -> Springtide:
        one = Springtide(url, http_client=httpx.Client(transport=httpx.MockTransport(self)), **options)
        one._http.sleep = self.slept.append
        return one

    def form(self, number: int) -> dict[str, bytes]:
        """The parts of a form that came, by name."""
        boundary = self.seen[number].headers["content-type"].partition("boundary=")[2].encode()
        parts = self.bodies[number].split(b"--" + boundary)[1:-1]
        found = [re.match(rb'\r\n.*?name="(\w+)".*?\r\n\r\n(.*)\r\n$', part, re.DOTALL) for part in parts]
        return {match[1].decode(): match[2] for match in found if match}


def problem(status: int, code: str = "x", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    """A problem document."""
    body = json.dumps({"type": f"urn:{code}", "title": "T", "status": status, "code": code, **fields})
    return httpx.Response(status, content=body, headers={"content-type": "application/problem+json", **(headers or {})})


def event(kind: str, id: str | None = None, **fields: Any) -> bytes:
    """An event of a stream."""
    data = json.dumps({"job": JOB + "1", "kind": kind, "at": "now", "at_s": 1.0, "attempt": 1, **fields})
    return (f"id: {id}\n" if id else "").encode() + f"event: {kind}\ndata: {data}\n\n".encode()


def stream(*events: bytes, breaks: bool = False) -> httpx.Response:
    """A stream of events, which may break off."""

    def chunks() -> Any:
        yield from events
        if breaks:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    return httpx.Response(200, content=chunks(), headers={"content-type": "text/event-stream"})


IMPATIENT = Patience(retries=0)

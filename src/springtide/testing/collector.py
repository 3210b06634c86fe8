"""A collector of traces on loopback, for tests: takes OTLP over HTTP as a real one does, and shows what came."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span as it arrived; instants in Unix nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    start_ns: int
    end_ns: int
    role: str
    attributes: dict[str, Any]
    error: str


class Collector:
    """Serves from entering to leaving the block."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._spans: dict[str, Span] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                collector._take(gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for(self, trace_id: str, names: set[str], *, timeout_s: float = 180.0) -> dict[str, Span]:
        """Spans of one trace by name, once all of `names` have come. Raises AssertionError."""
        with self._arrived:
            found: dict[str, Span] = {}

            def is_whole() -> bool:
                found.clear()
                found.update({span.name: span for span in self._spans.values() if span.trace_id == trace_id})
                return names <= found.keys()

            assert self._arrived.wait_for(is_whole, timeout_s), f"only {sorted(found)} of {sorted(names)} came"
            return found

    def wait_for_all(self, trace_id: str, counts: Mapping[str, int], *, timeout_s: float = 180.0) -> list[Span]:
        """All spans of one trace, once there are so many of each name. Raises AssertionError."""
        with self._arrived:
            found: list[Span] = []

            def is_whole() -> bool:
                found[:] = [span for span in self._spans.values() if span.trace_id == trace_id]
                there = Counter(span.name for span in found)
                return all(there[name] >= count for name, count in counts.items())

            assert self._arrived.wait_for(is_whole, timeout_s), f"only {Counter(span.name for span in found)} came"
            return found

    def _take(self, raw: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        message: Any = ExportTraceServiceRequest.FromString(raw)
        with self._arrived:
            for told in message.resource_spans:
                about = {one.key: one.value.string_value for one in told.resource.attributes}
                for span in (span for scope in told.scope_spans for span in scope.spans):
                    taken = _read(span, about.get("springtide.role", ""))
                    self._spans[taken.span_id] = taken
            self._arrived.notify_all()


def _read(span: Any, role: str) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        role=role,
        attributes={one.key: one.value.string_value or one.value.int_value for one in span.attributes},
        error=span.status.message,
    )

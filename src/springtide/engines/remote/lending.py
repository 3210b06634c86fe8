"""A few files lent to a service over HTTP while a job runs there, for one that shares no folder with this machine.

    lending = Lending({"voice.wav": path}, bind="0.0.0.0", port=8390)
    lending.start()
    url = f"http://this-host:8390{lending.path('voice.wav')}"
    ...
    lending.close()

Promises that only these files are given out, each under a name nobody can guess, and none after the end; ranges of
bytes are answered, as media libraries ask for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast

SILENCE_S = 60.0  # a reader that takes nothing for so long is left

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Lending:
    """A server of these files, by name, until the block ends."""

    def __init__(self, files: Mapping[str, Path], *, bind: str, port: int) -> None:
        secret = hashlib.sha256(os.urandom(32)).hexdigest()[:32]
        self._paths = {f"/{secret}/{name}": path for name, path in files.items()}
        self._of = {name: f"/{secret}/{name}" for name in files}
        self._server = _Server((bind, port), _Lender)
        self._server.lent = self._paths
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="lending", daemon=True)

    def path(self, name: str) -> str:
        """The path under which a file is given out."""
        return self._of[name]

    def start(self) -> None:
        """From now on files are given out."""
        self._thread.start()

    def close(self) -> None:
        """From now on none is."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    lent: Mapping[str, Path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no fault of ours."""


class _Lender(BaseHTTPRequestHandler):
    timeout = SILENCE_S

    def do_HEAD(self) -> None:
        """The size, without the file."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """The file, or the part of it that was asked for."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = cast("_Server", self.server).lent.get(self.path)
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            first = int(asked[1]) if asked else 0
            last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
            if asked and (first >= size or last < first):
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            if with_body:
                file.seek(first)
                self._copy(file, last - first + 1)

    def _copy(self, file: IO[bytes], count: int) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while count and (piece := file.read(min(count, 1 << 20))):
                self.wfile.write(piece)
                count -= len(piece)

    def log_message(self, format: str, *args: Any) -> None:
        """The secret in the path is not for logs."""

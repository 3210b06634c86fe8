"""Services that remote engines drive, as their documentation and sources say they answer, with the faults they have.

Real servers on a loopback port. `faults` are had one a request to the path they are for, then all is well.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, list[bytes]]:
        """Parts of a multipart body by name; the file's bytes, too."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts: dict[str, list[bytes]] = defaultdict(list)
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts():  # type: ignore[attr-defined]
            parts[part.get_param("name", header="content-disposition")].append(part.get_payload(decode=True))
        return parts


@dataclass
class Answer:
    """What goes out."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def of_json(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False).encode(), status, {"Content-Type": "application/json"})


class Double:
    """A server; subclasses answer."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.asked = threading.Event()  # set at every request
        self.go_on = threading.Event()  # what a slow answer waits for
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Request(handler.command, parts.path, query, handler.headers, body)
        self.requests.append(request)
        self.asked.set()
        fault = self.faults[parts.path].pop(0) if self.faults[parts.path] else ""
        if fault == "reset before":
            self._reset(handler)
            return
        answer = self._faulty(fault) or self.answer(request)
        if fault == "reset after":  # done, but the answer is lost
            self._reset(handler)
            return
        if fault == "slow":
            self.go_on.wait(30)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        length = len(answer.body) + (100 if fault == "cut" else 0)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(answer.body)
        if fault == "cut":
            handler.close_connection = True

    def _faulty(self, fault: str) -> Answer | None:
        match fault.split():
            case ["500"]:
                return Answer(b"<html>Internal Server Error</html>", 500)
            case ["malformed"]:
                return Answer(b'{"code": 10000, "da')
            case ["list"]:
                return of_json([])
            case ["redirect", where]:
                return Answer(b"", 307, {"Location": where})
            case ["429", seconds]:
                return Answer(b'{"error": {"message": "Rate limit reached"}}', 429, {"Retry-After": seconds})
            case ["401", *_]:
                key = self.requests[-1].headers.get("Authorization", "")
                return Answer(f"Incorrect API key provided: {key}".encode(), 401)
            case ["code", code]:
                return of_json({"code": int(code), "data": {}, "msg": "as asked", "success": False})
            case _:
                return None

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        handler.connection.close()
        handler.close_connection = True


class HeygemDouble(Double):
    """The container guiji2025/duix.avatar: one job at a time, files by name in its data folder or by URL, a table of
    jobs that forgets. `looks` queries of a job until it is done; its result is `film`."""

    def __init__(self, data: Path, film: Path, *, looks: int = 3) -> None:
        super().__init__()
        self.data = data
        self.film = film
        self.looks = looks
        self.forgets = False  # finished jobs vanish from the table at once (issue 560)
        self.loses = False  # the job and its file vanish
        self.failure = ""  # the message it fails with
        self.halves = 0  # so many looks at its file find half of it
        self.jobs: dict[str, int] = {}  # code -> looks so far
        self.submitted: list[dict[str, Any]] = []
        self.inputs: list[tuple[bytes, bytes]] = []  # voice and face as the service read them
        (data / "temp").mkdir(parents=True, exist_ok=True)

    def answer(self, request: Request) -> Answer:
        match request.method, request.path:
            case "POST", "/easy/submit":
                return of_json(self._submit(request.json))
            case "GET", "/easy/query":
                return of_json(self._query(request.query["code"]))
            case "GET", path if path.startswith("/data/"):  # a web server of the operator's over the data folder
                file = self.data / path.removeprefix("/data/")
                return Answer(file.read_bytes()) if file.is_file() else Answer(b"", 404)
            case _:
                return of_json({"detail": "Not Found"}, 404)

    def _submit(self, order: dict[str, Any]) -> dict[str, Any]:
        if set(order) < {"audio_url", "video_url", "code", "chaofen", "watermark_switch", "pn"}:
            return {"code": 10002, "data": {}, "msg": "参数错误", "success": False}
        if any(looks < self.looks for looks in self.jobs.values()):
            return {"code": 10001, "data": {}, "msg": "忙碌中", "success": False}
        self.inputs.append((self._read(order["audio_url"]), self._read(order["video_url"])))
        self.submitted.append(order)
        self.jobs[order["code"]] = 0
        return {"code": 10000, "data": {}, "msg": "", "success": True}

    def _read(self, url: str) -> bytes:
        if url.startswith("http"):
            with urllib.request.urlopen(url) as answer:
                return answer.read()
        return (self.data / "temp" / url).read_bytes()

    def _query(self, code: str) -> dict[str, Any]:
        if code not in self.jobs:
            self._write_on(code)
            return {"code": 10004, "data": {}, "msg": "任务不存在", "success": True}
        self.jobs[code] += 1
        at = self.jobs[code]
        if at < self.looks:
            return self._told(1, progress=int(100 * at / self.looks), result="")
        if self.failure:
            return self._told(3, progress=at, result="", msg=self.failure)
        if self.loses or self.forgets:
            del self.jobs[code]
            if self.forgets:
                self._write(code)
            return {"code": 10004, "data": {}, "msg": "任务不存在", "success": True}
        self._write(code)
        return self._told(2, progress=100, result=f"/{code}-r.mp4")

    def _told(self, status: int, *, progress: int, result: str, msg: str = "") -> dict[str, Any]:
        data = {"status": status, "progress": progress, "result": result, "msg": msg, "cost": 1, "video_duration": 400}
        return {"code": 10000, "success": True, "msg": "", "data": data | {"width": 64, "height": 48}}

    def _write(self, code: str) -> None:
        whole = self.film.read_bytes()
        target = self.data / "temp" / f"{code}-r.mp4"
        target.write_bytes(whole[: len(whole) // 2] if self.halves else whole)

    def _write_on(self, code: str) -> None:
        target = self.data / "temp" / f"{code}-r.mp4"
        if target.exists() and self.halves:
            self.halves -= 1

    def finish_file(self, code: str) -> None:
        """The rest of a file that was half there."""
        shutil.copyfile(self.film, self.data / "temp" / f"{code}-r.mp4")


class TranscriptionDouble(Double):
    """A server with OpenAI's transcription interface. `text` and `segments` are what it hears."""

    def __init__(self, *, language: str = "english", text: str = "Hello there.", key: str | None = None) -> None:
        super().__init__()
        self.language = language
        self.text = text
        self.key = key
        self.segments: list[dict[str, Any]] = [{"id": 0, "seek": 0, "start": 0.0, "end": 2.5, "text": f" {text}"}]
        self.words: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Answer:
        if request.method != "POST" or request.path != "/v1/audio/transcriptions":
            return of_json({"error": {"message": "Not Found"}}, 404)
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return of_json({"error": {"message": "Incorrect API key provided"}}, 401)
        form = request.form
        if not form.get("file") or not form.get("model"):
            return of_json({"error": {"message": "you must provide a model parameter"}}, 400)
        match form.get("response_format", [b"json"])[0]:
            case b"text":
                return Answer(f"{self.text}\n".encode(), headers={"Content-Type": "text/plain; charset=utf-8"})
            case b"verbose_json":
                told = {"task": "transcribe", "language": self.language, "duration": 9.7, "text": self.text}
                words = {"words": self.words} if b"word" in form["timestamp_granularities[]"] else {}
                return of_json({**told, "segments": self.segments, **words})
            case _:
                return of_json({"text": self.text})

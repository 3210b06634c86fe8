"""Uploads of 50 MB: through the gateway, beside FastAPI's `UploadFile`; past it, by signed URLs of a real S3 server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.environments import PEERS, python_of, versions_in
from benchmarks.memory import rss_mb
from benchmarks.plan import Plan
from benchmarks.product import SYNTHETIC, Installation, Running
from benchmarks.report import OURS, Goal, Report
from springtide.testing.proxy import FaultProxy
from springtide.testing.s3 import KEY, SECRET, s3_server
from springtide.testing.servers import free_port

PEER = "fastapi"
FORM = "springtide, as a form"
THROUGH = "springtide, S3 through the gateway"
PAST = "springtide, S3 past the gateway"
LARGE = "springtide, 2 GiB up and down"
SIZE = 50 << 20
LARGE_BYTES = 2 << 30
CHUNK = 1 << 20
UPLOADS = 8  # a round; the first warms up and does not count
ROUNDS = 5
GOALS = (
    Goal(metric="mb_per_s", bound=1.4, at_least=True, over=PEER, what="50 MB through the gateway, over UploadFile"),
    Goal(metric="rss_growth_mb", bound=10, at_least=False, what="peak memory of an upload over what there was before"),
    Goal(metric="rss_growth_mb", bound=16, at_least=False, system=LARGE, what="peak memory of 2 GiB up, over before"),
    Goal(
        metric="down_growth_mb", bound=16, at_least=False, system=LARGE, what="peak memory of 2 GiB down, over before"
    ),
    Goal(metric="gateway_mb", bound=1, at_least=False, system=PAST, what="MB between clients and the gateway"),
)
NOTES = (
    "One client, one connection, 50 MiB of bytes that do not compress, median of the uploads of a round. mb_per_s: "
    "10^6 bytes a second from the first byte sent to the answer.",
    "Springtide's upload is hashed (SHA-256), flushed to disk (fsync) with its name, sniffed, and on record in the "
    "ledger before the answer. FastAPI's is spooled by Starlette and copied to a file: not hashed, not flushed.",
    "rss_growth_mb: the peak of the server process's resident memory during an upload less what it was before it.",
    "2 GiB up and down: `POST /v1/blobs`, then the signed link; what came is hashed again and compared.",
    "S3 is JuiceFS's gateway (MinIO's server) on the same machine and the same processors; its own speed is most of "
    "what those rows show. cpu_ms is the processor time of the gateway for one upload, completion included.",
    "gateway_mb: what passed between clients and the gateway for one signed upload and one redirected download of it, "
    "counted by a proxy between them. On completion the gateway reads the object once from the store beside it.",
)
Send = Callable[[], None]


def measure(plan: Plan) -> Report:
    report = Report("upload", title="Uploads of 50 MB", goals=GOALS)
    report.compare = ("mb_per_s", "cpu_ms")
    report.notes = list(NOTES)
    described = {
        OURS: ("`POST /v1/blobs`, the body is the file, blobs in a folder", "fsync before the answer"),
        FORM: ("the same as multipart/form-data", "fsync before the answer"),
        LARGE: ("one `POST /v1/blobs` of 2 GiB and its download by the signed link", "fsync before the answer"),
        PEER: ("FastAPI, `UploadFile`, copied to a file, one uvicorn process", "nothing: in the page cache"),
        THROUGH: ("`POST /v1/blobs`, blobs in S3", "as the store does"),
        PAST: ("`POST /v1/blobs/uploads`, PUT to S3, complete", "as the store does"),
    }
    for name, (description, durable) in described.items():
        if plan.wants(name):
            report.describe(name, description, durable=durable)
    if plan.wants(PEER):
        report.versions = {f"{name} (with fastapi)": version for name, version in versions_in(python_of(PEER)).items()}
    for number in range(min(plan.rounds, ROUNDS)):
        for name in report.systems:
            folder = plan.folder / f"{number}-{name.replace(' ', '-')}"
            folder.mkdir()
            try:
                values = _MEASURES[name](plan, folder)
            except (RuntimeError, OSError, subprocess.SubprocessError, httpx.HTTPError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


def _ours(plan: Plan, folder: Path) -> dict[str, float]:
    with Installation(folder, SYNTHETIC).gateway() as server:
        return _timed(plan, server.pid, _raw(server.url))


def _form(plan: Plan, folder: Path) -> dict[str, float]:
    with Installation(folder, SYNTHETIC).gateway() as server:
        return _timed(plan, server.pid, _multipart(server.url))


def _large(plan: Plan, folder: Path) -> dict[str, float]:
    size = LARGE_BYTES // 16 if plan.quick else LARGE_BYTES
    chunk = os.urandom(CHUNK)
    sent = hashlib.sha256()
    for _ in range(size // CHUNK):
        sent.update(chunk)
    with Installation(folder, SYNTHETIC).gateway() as server, httpx.Client(timeout=600, trust_env=False) as client:
        client.post(f"{server.url}/v1/blobs", content=chunk).raise_for_status()  # warms up
        before_mb = rss_mb(server.pid) or 0.0
        _forget_peak(server.pid)
        began = time.perf_counter()
        body = (chunk for _ in range(size // CHUNK))
        headers = {"content-length": str(size)}
        blob = client.post(f"{server.url}/v1/blobs", content=body, headers=headers).raise_for_status().json()
        up_s, up_mb = time.perf_counter() - began, _peak_mb(server.pid) - before_mb
        before_mb = rss_mb(server.pid) or 0.0
        _forget_peak(server.pid)
        got, began = hashlib.sha256(), time.perf_counter()
        with client.stream("GET", blob["signed_url"]) as answer:
            for part in answer.iter_raw(CHUNK):
                got.update(part)
        down_s, down_mb = time.perf_counter() - began, _peak_mb(server.pid) - before_mb
    if not got.hexdigest() == sent.hexdigest() == blob["sha256"]:
        raise RuntimeError("what came back is not what was sent")
    return {
        "mb_per_s": size / 1e6 / up_s,
        "down_mb_per_s": size / 1e6 / down_s,
        "rss_growth_mb": up_mb,
        "down_growth_mb": down_mb,
    }


def _peer(plan: Plan, folder: Path) -> dict[str, float]:
    port = free_port()
    command = ["-m", "uvicorn", "upload_fastapi:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(
        [python_of(PEER), *command],
        cwd=PEERS,
        # Its spool on the same disk as what is kept: a temporary folder may be in memory.
        env={**os.environ, "BENCH_FOLDER": str(folder), "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.perf_counter() + 30
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                    break
            if time.perf_counter() > deadline:
                raise RuntimeError("FastAPI did not start")
            time.sleep(0.05)
        return _timed(plan, process.pid, _multipart(url))
    finally:
        process.kill()
        process.wait()


def _through(plan: Plan, folder: Path) -> dict[str, float]:
    with _on_s3(folder) as server:
        return _timed(plan, server.pid, _raw(server.url))


def _past(plan: Plan, folder: Path) -> dict[str, float]:
    with _on_s3(folder) as server:
        values = _timed(plan, server.pid, lambda: _discard(_direct(server.url)))
        with FaultProxy(("127.0.0.1", urlsplit(server.url).port or 0)) as line:  # counts what passes
            blob = json.loads(_direct(f"http://127.0.0.1:{line.port}"))
            got = httpx.get(blob["url"], params={"redirect": "1"}, follow_redirects=True, trust_env=False).content
            if got != _DATA:
                raise RuntimeError("what came back is not what was sent")
            return values | {"gateway_mb": line.passed / 1e6}


_MEASURES = {OURS: _ours, FORM: _form, LARGE: _large, PEER: _peer, THROUGH: _through, PAST: _past}


@contextlib.contextmanager
def _on_s3(folder: Path) -> Iterator[Running]:
    with s3_server(folder) as s3:
        keys = f'access_key_id = "{KEY}"\nsecret_access_key = "{SECRET}"\n'
        with Installation(folder, f'{SYNTHETIC}\n[blobs]\nurl = "{s3.url("bench")}"\n{keys}').gateway() as server:
            yield server


def _timed(plan: Plan, pid: int, send: Send) -> dict[str, float]:
    send()
    took_s: list[float] = []
    grown_mb: list[float] = []
    process = psutil.Process(pid)
    cpu_before_s = _cpu_s(process)
    count = 2 if plan.quick else UPLOADS
    for _ in range(count):
        before_mb = rss_mb(pid) or 0.0
        _forget_peak(pid)
        began = time.perf_counter()
        send()
        took_s.append(time.perf_counter() - began)
        grown_mb.append(_peak_mb(pid) - before_mb)
    took_s.sort()
    return {
        "mb_per_s": SIZE / 1e6 / took_s[count // 2],
        "cpu_ms": (_cpu_s(process) - cpu_before_s) * 1e3 / count,
        "rss_growth_mb": max(grown_mb),
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_mb(pid: int) -> float:
    """The most memory a process had resident since `_forget_peak` (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell the peak of a process's memory")


_DATA = os.urandom(SIZE)
_BOUNDARY = "springtide-benchmark"
_HEAD = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
)
_FORM = _HEAD.encode() + _DATA + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _raw(url: str) -> Send:
    return lambda: _discard(_request(url, "POST", "/v1/blobs", _DATA, "application/octet-stream"))


def _multipart(url: str) -> Send:
    return lambda: _discard(_request(url, "POST", "/v1/blobs", _FORM, f"multipart/form-data; boundary={_BOUNDARY}"))


def _direct(url: str) -> bytes:
    asked = json.dumps({"bytes": SIZE}).encode()
    upload = json.loads(_request(url, "POST", "/v1/blobs/uploads", asked, "application/json"))
    parts = urlsplit(upload["url"])
    _request(f"http://{parts.netloc}", "PUT", f"{parts.path}?{parts.query}", _DATA)
    return _request(url, "POST", urlsplit(upload["complete_url"]).path, b"")


def _discard(answer: bytes) -> None:
    if b'"id"' not in answer:
        raise RuntimeError(f"not an upload's answer: {answer[:200]!r}")


def _request(url: str, method: str, path: str, body: bytes, content_type: str | None = None) -> bytes:
    """One request by the standard library: the cheapest client there is, for everybody the same."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=120)
    try:
        connection.request(method, path, body, {"content-type": content_type} if content_type else {})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path.partition('?')[0]} was answered {answer.status}: {said[:300]!r}")
        return said
    finally:
        connection.close()

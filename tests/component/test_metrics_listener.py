"""The port on which a process is watched."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator

import httpx
import pytest

from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.runtime.clock import SystemClock
from springtide.telemetry.metrics import Metrics, Told
from springtide.telemetry.metrics_catalogue import CATALOGUE, HTTP_PROBLEMS, JOBS_ACCEPTED
from springtide.telemetry.metrics_exposition import Exposition
from springtide.telemetry.metrics_listener import Listener
from springtide.telemetry.metrics_relay import Board, Relay

HOST = "127.0.0.1"


class _Watched:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.problem: str | None = None
        self.listener = Listener(Exposition(self.metrics, SystemClock()), HOST, 19_300, is_ready=lambda: self.problem)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.listener.port}"


@pytest.fixture
async def watched() -> AsyncGenerator[_Watched]:
    made = _Watched()
    await made.listener.start()
    yield made
    await made.listener.stop()


async def test_it_tells_metrics_life_and_readiness(watched: _Watched) -> None:
    watched.metrics.add(JOBS_ACCEPTED, "matting", 'a "tenant"\n')
    async with httpx.AsyncClient(base_url=watched.url) as http:
        told = await http.get("/metrics?x=1")
        assert told.status_code == 200 and told.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert r'springtide_jobs_accepted_total{model="matting",tenant="a \"tenant\"\n"} 1.0' in told.text
        assert "process_resident_memory_bytes" in told.text
        assert (await http.get("/healthz")).text == "ok\n"
        assert (await http.get("/readyz")).status_code == 200
        watched.problem = "starting"
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "starting\n")
        assert (await http.get("/healthz")).status_code == 200, "who only starts is not restarted"
        assert (await http.post("/metrics")).status_code == 405
        assert (await http.get("/v1/jobs")).status_code == 404
        head = await http.head("/metrics")
        assert head.status_code == 200 and head.content == b"" and int(head.headers["content-length"]) > 100


@pytest.mark.parametrize("sent", [b"x" * 20_000, b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b""])
async def test_what_is_no_request_hurts_nobody(watched: _Watched, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, watched.listener.port)
    writer.write(sent)
    if not sent:
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    async with httpx.AsyncClient(base_url=watched.url) as http:
        assert (await http.get("/healthz")).status_code == 200


async def test_several_of_one_machine_take_ports_one_after_the_other(watched: _Watched) -> None:
    other = _Watched()
    await other.listener.start()
    try:
        assert watched.listener.port is not None and other.listener.port is not None
        assert other.listener.port > watched.listener.port
    finally:
        await other.listener.stop()


class _Line:
    """A board at the other end of a line that may fail."""

    def __init__(self, board: Board) -> None:
        self.fails: Exception | None = None
        self._board = board

    async def report_metrics(self, told: Told) -> None:
        if isinstance(self.fails, Unavailable):
            raise self.fails
        await self._board.report_metrics(told)
        if self.fails is not None:
            raise self.fails


async def test_what_is_relayed_is_counted_once_whatever_the_line_does() -> None:
    clock, gateway, worker = SystemClock(), Metrics(), Metrics()
    line = _Line(Board(gateway, clock))
    relay = Relay(worker, line, "worker 1", clock)
    for fails in (None, Unavailable("down"), OutcomeUnknown("the answer was lost"), None):
        worker.add(HTTP_PROBLEMS, "x")
        line.fails = fails
        try:
            await relay.tell()
        except (Unavailable, OutcomeUnknown) as error:
            assert error is fails
    assert gateway.sums(HTTP_PROBLEMS) == {("x",): 4.0}


async def test_promtool_has_nothing_to_object_to(watched: _Watched) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH (Debian: the package prometheus)")
    for series in CATALOGUE.values():
        labels = ["x" for _ in series.labels]
        match series.kind.value:
            case "counter":
                watched.metrics.add(series, *labels)
            case "gauge":
                watched.metrics.set(series, *labels, value=1)
            case _:
                watched.metrics.observe(series, *labels, value=1)
    text = await Exposition(watched.metrics, SystemClock()).text()
    pipe = asyncio.subprocess.PIPE
    checking = await asyncio.create_subprocess_exec(promtool, "check", "metrics", stdin=pipe, stdout=pipe, stderr=pipe)
    assert (await checking.communicate(text), checking.returncode) == ((b"", b""), 0)

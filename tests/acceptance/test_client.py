"""The Python client and its commands against a running server: a new user's first hour, and what breaks in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from springtide.client import (
    AsyncSpringtide,
    Conflict,
    From,
    InvalidInput,
    JobFailed,
    JobRequest,
    NotFound,
    Springtide,
    Step,
    Unreachable,
)
from springtide.testing.proxy import FaultProxy

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.fixture
def client(server: Server) -> Iterator[Springtide]:
    with Springtide(server.url) as one:
        yield one


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose gateway may be killed."""
    one = Server(tmp_path_factory.mktemp("killed"))
    yield one
    one.close()


def _gateway(server: Server) -> psutil.Process:
    [found] = [one for one in psutil.Process(server.process.pid).children() if "gateway" in one.cmdline()]
    return found


def test_a_picture_is_sent_run_and_saved(client: Springtide, tmp_path: Path) -> None:
    kinds: list[str] = []
    job = client.run("matting", {"image": DATA / "portrait.jpg"}, on_event=lambda event: kinds.append(event.kind))
    assert kinds[-1] == "completed"
    saved = client.download(job, tmp_path / "cut.png")
    assert saved.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert client.read(job.file("mask"))[:4] == b"\x89PNG"
    assert client.run("matting", {"image": (DATA / "portrait.jpg").read_bytes()}).is_completed


async def test_the_asynchronous_client_runs_streams_and_watches(server: Server) -> None:
    async with AsyncSpringtide(server.url) as client:
        first = await client.submit("synthetic", {"seconds": 0.2}, then=[Step("synthetic", {"steps": From("steps")})])
        assert [event.kind async for event in client.stream(first)][-1] == "completed"
        jobs = [await client.submit("synthetic", {"seconds": 0.1}) for _ in range(3)]
        ends = [event.job async for event in client.watch(jobs) if event.is_end or event.status == "completed"]
        assert sorted(ends) == sorted(job.id for job in jobs)
        assert [job.id async for job in client.jobs.list(limit=1)] == [jobs[-1].id]


def test_what_is_wrong_is_a_typed_error(client: Springtide) -> None:
    with pytest.raises(InvalidInput) as wrong:
        client.submit("synthetic", {"secs": 1})
    assert [problem.loc for problem in wrong.value.errors] == ["secs"]
    with pytest.raises(NotFound, match="Served here"):
        client.submit("nope")
    with pytest.raises(JobFailed) as failed:
        client.run("synthetic", {"outcome": "fail"})
    assert failed.value.code == "engine_failed"
    again = client.jobs.retry(failed.value.job)
    assert client.jobs.retry(failed.value.job).id == again.id
    assert client.jobs.explain(failed.value.job).reasons[0].code == "engine_failed"
    with pytest.raises(Conflict):
        client.jobs.cancel(failed.value.job)
    client.jobs.delete(failed.value.job)
    with pytest.raises(NotFound):
        client.jobs.delete(failed.value.job)


def test_a_batch_is_followed_as_one(client: Springtide) -> None:
    jobs = [JobRequest(model="synthetic", inputs={"seconds": 0.05}) for _ in range(5)]
    batch = client.batches.submit([*jobs, JobRequest(model="nope")], idempotency_key=f"batch-{time.time()}")
    done = client.batches.wait(batch)
    assert (done.counts.completed, done.counts.refused, done.progress) == (5, 1, 1.0)
    assert [item.place for item in client.batches.items(batch, status="refused")] == [5]


def test_a_server_killed_between_accept_and_reply_makes_one_job(own: Server) -> None:
    """The gateway takes the job in, and dies before its answer arrives; the next one knows the key."""
    port = int(own.url.rpartition(":")[2])
    with FaultProxy(("127.0.0.1", port)) as line, Springtide(f"http://127.0.0.1:{line.port}") as client:
        assert client.is_alive()
        before = _jobs(own)
        line.lose_replies()
        accepted: list[str] = []
        asking = threading.Thread(target=lambda: accepted.append(client.submit("synthetic", {"seconds": 0.1}).id))
        asking.start()
        _until(lambda: bool(_jobs(own) - before))
        _gateway(own).send_signal(signal.SIGKILL)
        line.cut()
        _until(lambda: _is_up(own))
        line.mend()
        asking.join()
        assert set(accepted) == _jobs(own) - before
        assert len(accepted) == 1
        assert client.wait(accepted[0]).is_completed


def test_streams_and_watches_go_on_over_a_restarted_gateway(own: Server) -> None:
    with Springtide(own.url) as client:
        job = client.submit("synthetic", {"seconds": 4, "steps": 40})
        seen: list[str] = []
        watched: list[str] = []
        threads = [
            threading.Thread(target=lambda: seen.extend(event.id or "" for event in client.stream(job))),
            threading.Thread(target=lambda: watched.extend(event.kind for event in client.watch([job]))),
        ]
        for thread in threads:
            thread.start()
        _until(lambda: len(seen) > 5 and len(watched) > 3)
        _gateway(own).send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert client.jobs.get(job).is_completed
    assert len(seen) == len(set(seen)), "none twice"
    assert watched[-1] == "completed"


def test_nobody_there_is_one_clear_error(tmp_path: Path) -> None:
    with Springtide("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match="Is `springtide up` running"):
        client._http.sleep = lambda _: None
        client.submit("synthetic")


# --- commands ---------------------------------------------------------------------------------------------------------


def test_exit_codes_tell_scripts_what_happened(server: Server) -> None:
    job = server.cli("submit", "synthetic", "-i", "seconds=60").stdout.strip()
    waited = server.cli("wait", job, "--timeout", "0.2")
    assert waited.returncode == 4, waited.stderr
    assert server.cli("cancel", job).returncode == 0
    ended = server.cli("wait", job, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["status"]) == (1, "cancelled")
    assert server.cli("get", "job_" + "0" * 32).returncode == 2
    assert server.cli("list", "--url", "http://127.0.0.1:9").returncode == 3


def test_watch_writes_lines_where_there_is_no_terminal(server: Server) -> None:
    jobs = [server.cli("submit", "synthetic", "-i", f"seconds={one}").stdout.strip() for one in (1, 2)]
    watched = server.cli("watch", *jobs)
    assert watched.returncode == 0, watched.stderr
    assert all(f"{job} completed" in watched.stdout for job in jobs)
    events = [json.loads(line) for line in server.cli("watch", *jobs, "--json").stdout.splitlines()]
    assert {event["job"] for event in events} == set(jobs)


def test_an_interrupt_says_how_to_come_back_and_cancels_nothing(server: Server) -> None:
    job = server.cli("submit", "synthetic", "-i", "seconds=600").stdout.strip()
    words = [sys.executable, "-m", "springtide", "wait", job]
    process = subprocess.Popen(words, env=server.env, cwd=server.folder, stderr=subprocess.PIPE, text=True)
    _until(lambda: bool(psutil.Process(process.pid).net_connections()))  # its first is made to wait for the job
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert f"springtide wait {job}" in said
    assert server.http.get(f"/v1/jobs/{job}").json()["status"] in ("queued", "in_progress")
    server.cli("cancel", job)


def test_a_folder_becomes_a_folder_and_again_costs_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes((DATA / "portrait.jpg").read_bytes())
    words = ("batch", "matting", "in", "-o", "out")
    done = server.cli(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.ndjson").read_text().splitlines()]
    assert [(line["name"], line["status"]) for line in lines] == [("one", "completed"), ("two", "completed")]
    assert all((tmp_path / "out" / file).is_file() for line in lines for file in line["files"])
    again = server.cli(*words, cwd=tmp_path)
    assert again.stdout == done.stdout
    (tmp_path / "n.csv").write_text("seconds,outcome\n0.1,\n,fail\n-1,\n")
    mixed = server.cli("batch", "synthetic", "n.csv", "-o", "rows", cwd=tmp_path)
    assert mixed.returncode == 1
    assert "1 completed, 1 failed, 1 refused" in mixed.stdout
    assert "00003: refused: seconds" in mixed.stderr
    wrong = server.cli("batch", "synthetic", "n.csv", "-o", "out", cwd=tmp_path)
    assert (wrong.returncode, "holds the batch of matting" in wrong.stderr) == (2, True)


def _jobs(server: Server) -> set[str]:
    return {job["id"] for job in server.http.get("/v1/jobs").json()["data"]}


def _is_up(server: Server) -> bool:
    try:
        return server.http.get("/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _until(happened: object, seconds: float = 240.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.02)

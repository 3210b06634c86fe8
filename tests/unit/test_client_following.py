"""Streams that go on where they broke, downloads likewise, lists page by page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_double import JOB, Double, event, job, problem, stream
from hypothesis import given
from hypothesis import strategies as st

from springtide.client import (
    BrokenTransfer,
    File,
    JobCancelled,
    JobFailed,
    NotFound,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from springtide.client import requests as client_requests
from springtide.client.events import EventReader

FIRST = JOB + "1"


def test_a_broken_stream_goes_on_after_the_last_event_seen() -> None:
    double = Double(
        stream(event("queued", "1-0"), event("waiting", code="no_worker", message="m"), breaks=True),
        httpx.ConnectError("connection refused"),
        problem(503),
        stream(event("started", "2-0")),  # a server that stops ends its streams
        stream(event("progress", "3-0", progress=0.5), event("completed", "4-0"), event("never", "5-0")),
    )
    events = list(double.client().stream(FIRST))
    assert [one.kind for one in events] == ["queued", "waiting", "started", "progress", "completed"]
    assert [request.headers.get("last-event-id") for request in double.seen] == [None, "1-0", "1-0", "1-0", "2-0"]
    assert (events[1].id, events[1].code, events[3].progress, events[4].is_end) == (None, "no_worker", 0.5, True)


def test_a_stream_that_is_over_ends() -> None:
    assert list(Double(httpx.Response(204)).client().stream(FIRST, after="9-0")) == []


def test_a_stream_of_a_job_that_is_not_there_says_so_at_once() -> None:
    double = Double(problem(404, "unknown_job"))
    with pytest.raises(NotFound):
        list(double.client().stream(FIRST))
    assert double.slept == []


def test_a_server_that_stays_away_is_given_up_after_a_minute_of_waiting() -> None:
    double = Double(usual=lambda _: stream())
    with pytest.raises(Unreachable):
        list(double.client().stream(FIRST))
    assert 52 < sum(double.slept) <= 60


def test_each_event_starts_the_patience_anew() -> None:
    steps = [stream(event("progress", f"{number}-0"), breaks=True) for number in range(1, 200)]
    double = Double(*steps, stream(event("failed", "900-0")))
    assert len(list(double.client().stream(FIRST))) == 200


@given(st.lists(st.integers(1, 40), max_size=60), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int], end: str) -> None:
    whole = b": keep-alive\n\nretry: 2000\n\n" + event("progress", "1-0", stage="a\u2028b") + event("completed", "2-0")
    whole = whole.replace(b"\n", end.encode()) + b" "  # a byte behind the last line: its end is certain
    reader, found, at = EventReader(), [], 0
    for cut in [*cuts, len(whole)]:
        found += reader.feed(whole[at : at + cut])
        at += cut
    assert [(one.kind, one.id, one.stage) for one in found] == [
        ("progress", "1-0", "a\u2028b"),
        ("completed", "2-0", None),
    ]


def test_a_wait_ends_with_the_job_however_it_ended() -> None:
    double = Double(stream(event("cancelled", "1-0")), httpx.Response(200, json=job(status="cancelled")))
    seen: list[str] = []
    assert double.client().wait(FIRST, on_event=lambda one: seen.append(one.kind)).status == "cancelled"
    assert seen == ["cancelled"]


def test_run_raises_how_the_job_ended() -> None:
    error = {"code": "engine_failed", "message": "no luck", "retryable": True, "details": {}}
    double = Double(httpx.Response(200, json=job(status="failed", error=error)))
    with pytest.raises(JobFailed, match="no luck") as raised:
        double.client().run("synthetic")
    assert (raised.value.code, raised.value.retryable, raised.value.job.id) == ("engine_failed", True, FIRST)
    double = Double(httpx.Response(200, json=job(status="cancelled")))
    with pytest.raises(JobCancelled):
        double.client().run("synthetic")


def test_a_wait_that_takes_too_long_says_how_the_job_stands() -> None:
    double = Double(usual=lambda _: httpx.Response(200, json=job(status="queued")))
    with pytest.raises(WaitTimeout, match="still queued") as raised:
        double.client().wait(FIRST, timeout_s=0.0)
    assert raised.value.waited_for.id == FIRST
    assert isinstance(raised.value, TimeoutError)


def test_a_list_fetches_pages_as_they_are_consumed() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("after", "0"))
        data = [job(number) for number in range(after, after + 2)]
        return httpx.Response(200, json={"data": data, "has_more": after < 4, "next_after": str(after + 2)})

    double = Double(usual=page)
    jobs = double.client().jobs.list(status=["failed", "expired"], model="m")
    assert next(jobs).id == JOB + "0"
    assert len(double.seen) == 1
    assert len(list(jobs)) == 5
    assert len(double.seen) == 3
    assert double.seen[2].url.query == b"model=m&status=failed&status=expired&limit=100&after=4"
    assert len(list(double.client().jobs.list(limit=3))) == 3


# --- files ------------------------------------------------------------------------------------------------------------

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()
FILE = File(id="blob_1", url=f"http://other.test/v1/jobs/{FIRST}/files/cut", media_type="image/png", bytes=len(DATA), sha256=SHA, name="cut.png")  # fmt: skip  # noqa: E501


class Shelf:
    """Serves DATA, by ranges, and breaks off after `most` bytes a time."""

    def __init__(self, data: bytes = DATA, most: int | None = None) -> None:
        self.data, self.most = data, most
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        headers = {"etag": f'"{hashlib.sha256(self.data).hexdigest()}"', "content-disposition": 'attachment; filename="../x/cut.png"'}  # fmt: skip  # noqa: E501
        if request.headers.get("if-range") not in (None, headers["etag"]):
            start = 0
        if start:
            headers["content-range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        return httpx.Response(206 if start else 200, headers=headers, content=self._chunks(start))

    def _chunks(self, start: int) -> Any:
        end = len(self.data) if self.most is None else min(len(self.data), start + self.most)
        yield self.data[start:end]
        if end < len(self.data):
            raise httpx.ReadError("connection reset")


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    shelf, counted = Shelf(most=300_000), []
    path = Double(usual=shelf).client().download(FILE, tmp_path / "mine.png", on_bytes=counted.append)
    assert path.read_bytes() == DATA
    assert shelf.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert [one.name for one in tmp_path.iterdir()] == ["mine.png"]


def test_a_download_that_was_given_up_goes_on_in_the_next_call(tmp_path: Path) -> None:
    double = Double(Shelf(most=400_000), usual=lambda _: problem(503))
    with pytest.raises(Unavailable):
        double.client().download(FILE, tmp_path)
    assert not (tmp_path / "cut.png").exists()
    shelf = Shelf()
    assert Double(usual=shelf).client().download(FILE, tmp_path) == tmp_path / "cut.png"
    assert shelf.ranges == ["bytes=400000-"]
    assert (tmp_path / "cut.png").read_bytes() == DATA


def test_wrong_bytes_are_never_saved_under_the_name(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"old")
    with pytest.raises(BrokenTransfer):
        Double(usual=Shelf(b"other")).client().download(FILE, tmp_path)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("cut.png", b"old")]
    with pytest.raises(BrokenTransfer):
        Double(usual=Shelf(b"other")).client().read(FILE)


def test_a_servers_file_name_never_leaves_the_folder(tmp_path: Path) -> None:
    client = Double(usual=Shelf()).client()
    assert client.download("blob_1", tmp_path) == tmp_path / "cut.png"
    assert client.read("blob_1") == DATA


def test_files_are_fetched_from_the_server_that_was_asked_whatever_it_calls_itself() -> None:
    double = Double(usual=Shelf())
    double.client(api_key="st_k").read(FILE)
    assert str(double.seen[0].url) == f"http://media.test/v1/jobs/{FIRST}/files/cut"


def test_a_large_file_goes_by_an_upload_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_requests, "ONE_FORM_BYTES", 1000)
    (tmp_path / "film.mp4").write_bytes(b"f" * 5000)
    upload = {"id": "blob_9", "url": "http://store.test/put?sig=1", "method": "PUT", "headers": {"x-a": "b"}}
    more = {"bytes": 5000, "expires_at": "", "expires_at_s": 1.0, "complete_url": "http://media.test/v1/x"}
    blob = {"id": "blob_9", "media_type": "video/mp4", "bytes": 5000, "sha256": "0" * 64, "url": "/", "created_at": ""}
    double = Double(
        httpx.Response(201, json={**upload, **more}),
        httpx.ConnectError("reset"),
        httpx.Response(200),
        httpx.Response(201, json={**blob, "created_at_s": 1.0}),
    )
    counted: list[int] = []
    client = double.client(api_key="st_k")
    client.upload(tmp_path / "film.mp4", on_bytes=counted.append)
    assert [(one.method, one.url.path) for one in double.seen] == [
        ("POST", "/v1/blobs/uploads"),
        ("PUT", "/put"),
        ("PUT", "/put"),
        ("POST", "/v1/blobs/blob_9/complete"),
    ]
    assert double.bodies[1] == double.bodies[2] == b"f" * 5000
    assert double.seen[2].headers["content-length"] == "5000"
    assert "authorization" not in double.seen[2].headers
    assert "authorization" in double.seen[3].headers
    double.script = [httpx.Response(201, json={**upload, **more}), httpx.Response(200), httpx.Response(201, json={**blob, "created_at_s": 1.0})]  # fmt: skip  # noqa: E501
    client.submit("transcode", {"video": tmp_path / "film.mp4"})
    assert b'"video":"blob_9"' in double.bodies[-1]

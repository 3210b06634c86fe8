"""The client on a network that loses, delays and refuses: nothing is done twice, nothing is tried in vain."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_double import IMPATIENT, JOB, Double, job, problem

from springtide.client import (
    ApiError,
    AsyncSpringtide,
    Batch,
    ClientError,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    InvalidRequest,
    JobRequest,
    NotFound,
    Patience,
    Refused,
    ServerError,
    Step,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from springtide.client.errors import api_error
from springtide.client.settings import settings

DOWN = httpx.ConnectError("connection refused")


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_answer_makes_no_second_job(lost: int) -> None:
    double = Double()
    double.script = [double.lose] * lost
    accepted = double.client().submit("synthetic", {"seconds": 1})
    assert accepted.id == JOB + "1"
    assert len(double.jobs) == 1
    assert len({request.headers["idempotency-key"] for request in double.seen}) == 1
    assert len(double.seen) == lost + 1


async def test_the_asynchronous_client_keeps_its_key_too() -> None:
    double = Double()
    double.script = [double.lose, problem(503)]
    transport = httpx.MockTransport(double)
    async with AsyncSpringtide("http://media.test", http_client=httpx.AsyncClient(transport=transport)) as client:

        async def sleep(seconds: float) -> None:
            double.slept.append(seconds)

        client._http.sleep = sleep
        accepted = await client.submit("synthetic", {"picture": b"x"})
    assert accepted.id == JOB + "1"
    assert (len(double.jobs), len(double.seen), len(double.slept)) == (1, 3, 2)


def test_a_delete_whose_answer_was_lost_has_succeeded() -> None:
    gone = problem(404, "unknown_job")
    Double(httpx.ReadError("connection reset"), gone).client().jobs.delete(JOB + "1")
    with pytest.raises(NotFound):
        Double(gone).client().jobs.delete(JOB + "1")


def test_two_calls_have_two_keys_and_a_key_of_ones_own_is_used() -> None:
    double = Double()
    client = double.client()
    for key in (None, None, "mine"):
        client.submit("synthetic", idempotency_key=key)
    keys = [request.headers["idempotency-key"] for request in double.seen]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 500, 501])
def test_what_a_repeat_cannot_mend_is_asked_once(status: int) -> None:
    double = Double(problem(status))
    with pytest.raises(ApiError) as raised:
        double.client().submit("synthetic")
    assert raised.value.status == status
    assert len(double.seen) == 1


@pytest.mark.parametrize(
    "failure", [problem(408), problem(502), problem(503), problem(504), DOWN, httpx.ReadTimeout("x")]
)
def test_what_a_repeat_may_mend_is_asked_again(failure: Any) -> None:
    double = Double(failure)
    assert double.client().submit("synthetic").id == JOB + "1"
    assert len(double.slept) == 1


def test_a_conflict_with_an_earlier_try_of_the_same_request_is_waited_out() -> None:
    double = Double(problem(409, "upload_busy"), usual=lambda _: httpx.Response(200, json=job()))
    double.client().jobs.get(JOB + "1")
    assert len(double.seen) == 2


def test_the_servers_own_word_on_repeating_goes_first() -> None:
    double = Double(problem(503, headers={"x-should-retry": "false"}))
    with pytest.raises(Unavailable):
        double.client().submit("synthetic")
    double = Double(problem(409, headers={"x-should-retry": "true"}))
    assert double.client().submit("synthetic").id


def test_retry_after_is_waited_for_and_a_long_one_is_told() -> None:
    double = Double(problem(429, "queue_full", headers={"retry-after": "7"}))
    double.client().submit("synthetic")
    assert 7 <= double.slept[0] < 8
    double = Double(problem(429, "queue_full", retry_after_s=3600.5))
    with pytest.raises(Refused) as raised:
        double.client().submit("synthetic")
    assert (raised.value.retry_after_s, raised.value.code, double.slept) == (3600.5, "queue_full", [])


def test_tries_are_bounded_and_ever_further_apart() -> None:
    double = Double(*[DOWN] * 20)
    with pytest.raises(Unreachable, match=r"cannot reach http://127\.0\.0\.1:1: connection refused.*springtide up"):
        double.client("http://127.0.0.1:1").submit("synthetic")
    assert len(double.seen) == Patience().retries + 1
    assert double.slept == sorted(double.slept)
    assert 8 < sum(double.slept) < 16


def test_where_no_retries_are_wished_there_are_none() -> None:
    double = Double(DOWN)
    with pytest.raises(Unreachable):
        double.client(patience=IMPATIENT).submit("synthetic")
    assert len(double.seen) == 1


class Pipe(io.RawIOBase):
    """What cannot be read twice."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pipe"])
def test_a_file_is_sent_whole_on_every_try(kind: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as opened:
        opened.seek(3)
        given, sent = {
            "path": (tmp_path / "a.png", data),
            "bytes": (data, data),
            "file": (opened, data[3:]),
            "pipe": (Pipe(data), data),
        }[kind]
        double = Double()
        double.script = [double.lose, DOWN]
        double.client().submit("sketch", {"picture": given, "strength": 0.5})
        assert not opened.closed
    assert [double.form(number)["picture"] == sent for number in range(3)] == [True] * 3
    assert (double.form(2)["model"], double.form(2)["inputs"]) == (b"sketch", b'{"strength":0.5}')
    assert len(double.jobs) == 1


def test_files_of_later_steps_are_uploaded_once_and_named_by_their_ids(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"film")
    blob = {"id": "blob_1", "media_type": "video/mp4", "bytes": 4, "sha256": "0" * 64, "url": "/", "created_at": "now"}
    double = Double(httpx.Response(201, json={**blob, "created_at_s": 1.0}))
    double.script.append(double.lose)
    double.client().submit("speech", {"audio": "blob_0"}, then=[Step("subtitles", {"video": tmp_path / "talk.mp4"})])
    assert [request.url.path for request in double.seen] == ["/v1/blobs", "/v1/jobs", "/v1/jobs"]
    assert b'"video":"blob_1"' in double.bodies[2]
    assert double.bodies[1] == double.bodies[2]


def test_text_folders_and_what_is_not_there_are_refused_with_the_reason(tmp_path: Path) -> None:
    client = Double().client()
    (tmp_path / "a.txt").write_text("x")
    with (tmp_path / "a.txt").open() as text, pytest.raises(ClientError, match="open it in binary"):
        client.submit("sketch", {"picture": text})
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ClientError, match="cannot be read"):
            client.submit("sketch", {"picture": path})
    with pytest.raises(ClientError, match="cannot be sent as JSON"):
        client.submit("sketch", {"picture": object()})


def test_the_key_goes_to_the_server_and_not_to_where_it_redirects() -> None:
    elsewhere = httpx.Response(307, headers={"location": "http://store.test/object?signature=x"})
    double = Double(elsewhere, httpx.Response(200, content=b"bytes"))
    assert double.client(api_key="st_abc_secret").read("blob_1") == b"bytes"
    assert double.seen[0].headers["authorization"] == "Bearer st_abc_secret"
    assert "authorization" not in double.seen[1].headers
    assert double.seen[1].url.host == "store.test"


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_URL", "https://media.test/")
    monkeypatch.setenv("SPRINGTIDE_API_KEY", "st_env")
    found = settings(None, None, None)
    assert (found.url, found.api_key, found.is_local) == ("https://media.test", "st_env", False)
    assert settings("http://[::1]:8321", "st_arg", None).api_key == "st_arg"
    assert settings("http://localhost:1", None, None).is_local
    for wrong in ("media.test", "ftp://media.test", "http://"):
        with pytest.raises(ClientError, match="not the address"):
            settings(wrong, None, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (413, TooLarge),
        (415, InvalidRequest),
        (422, InvalidInput),
        (429, Refused),
        (500, ServerError),
        (501, InvalidRequest),
        (503, Unavailable),
        (418, InvalidRequest),
    ],
)
def test_each_status_is_an_error_of_its_own(status: int, kind: type[ApiError]) -> None:
    answer = problem(status, "why", detail="This is wrong.", request_id="req_1", message="extra", limit=5)
    error = api_error(status, answer.headers, answer.content, what="GET /")
    assert type(error) is kind
    assert (error.message, error.code, error.request_id) == ("This is wrong.", "why", "req_1")
    assert error.details == {"message": "extra", "limit": 5}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"detail": "seconds: too low; steps: missing", "errors": [
                {"loc": "seconds", "message": "too low"}, {"loc": "steps", "message": "missing"}]},
            "seconds: too low; steps: missing",
        ),
        (
            {"detail": "Two things are wrong.", "errors": [{"loc": "a", "message": "x"}, {"loc": "b", "message": "y"}]},
            "Two things are wrong.\n  a: x\n  b: y",
        ),
        ({"title": "Not Found"}, "Not Found"),
        ({"title": None}, "GET / was answered with 422"),
        ({"detail": "d", "errors": "nonsense"}, "d"),
    ],
)  # fmt: skip
def test_a_refusal_says_each_thing_once(fields: dict[str, Any], told: str) -> None:
    answer = problem(422, **fields)
    assert api_error(422, answer.headers, answer.content, what="GET /").message == told


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b"\xff"])
def test_an_answer_that_is_no_problem_document_is_an_error_too(body: bytes) -> None:
    error = api_error(502, {}, body, what="GET /v1/jobs")
    assert (type(error), error.code, error.message) == (Unavailable, "http_502", "GET /v1/jobs was answered with 502")


def test_an_answer_of_another_server_is_told_as_such() -> None:
    double = Double(httpx.Response(200, content=b"<html>"))
    with pytest.raises(ClientError, match="does not understand"):
        double.client().submit("synthetic")


def _batch(number: int, total: int, **fields: Any) -> dict[str, Any]:
    urls = {f"{name}_url": "/" for name in ("status", "items", "jobs", "cancel", "retry")}
    told = {"id": f"batch_{number}", "status": "in_progress", "created_at": "", "created_at_s": 1.0, "total": total}
    return {**told, "counts": {"queued": total}, "progress": 0.0, "refused": [], **urls, **fields}


def test_a_batch_too_large_is_sent_in_halves_each_with_its_key() -> None:
    sent: list[tuple[str, list[int]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        numbers = [json.loads(line)["inputs"]["n"] for line in request.content.splitlines()]
        if len(numbers) > 2:
            return problem(413, "too_many_jobs")
        sent.append((request.headers["idempotency-key"], numbers))
        return httpx.Response(202, json=_batch(len(sent), len(numbers)))

    jobs = (JobRequest(model="synthetic", inputs={"n": number}) for number in range(5))
    batches = list(Double(usual=answer).client().batches.submit_all(jobs, idempotency_key="k", at_once=4))
    assert [batch.total for batch in batches] == [2, 2, 1]
    assert [numbers for _, numbers in sent] == [[0, 1], [2, 3], [4]]
    assert len({key for key, _ in sent}) == 3


def test_a_lost_answer_makes_no_second_batch() -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("connection reset", request=request)

    double = Double(lose, lose, usual=lambda _: httpx.Response(202, json=_batch(1, 2)))
    double.client().batches.submit([JobRequest(model="m"), JobRequest(model="m", idempotency_key="own")])
    assert len({request.headers["idempotency-key"] for request in double.seen}) == 1
    assert len(set(double.bodies)) == 1
    assert [json.loads(line).get("idempotency_key") for line in double.bodies[0].splitlines()] == [None, "own"]


def test_a_batch_is_looked_at_until_each_item_has_ended() -> None:
    done = _batch(1, 2, status="completed", counts={"completed": 1, "refused": 1}, progress=1.0)
    double = Double(usual=lambda _: httpx.Response(200, json=_batch(1, 2, eta_s=20.0)))
    looks: list[float] = []

    def on_look(batch: Batch) -> None:
        looks.append(batch.progress)
        if len(looks) == 3:
            double.usual = lambda _: httpx.Response(200, json=done)

    found = double.client().batches.wait("batch_1", on_look=on_look)
    assert (found.has_ended, found.is_completed, double.slept) == (True, False, [2.0] * 3)
    double.usual = lambda _: httpx.Response(200, json=_batch(1, 2))
    with pytest.raises(WaitTimeout, match="batch_1 is still in_progress"):
        double.client().batches.wait("batch_1", timeout_s=0.0)

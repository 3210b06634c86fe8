"""POST /v1/jobs: what is accepted, how it is answered, and that the same key never makes two jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world, soon

from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId
from springtide.domain.lease import Payload
from springtide.gateway.admission import Admission
from springtide.gateway.outlook import Outlook
from springtide.gateway.submission import Submission, SubmitRequest
from springtide.testing.media import picture


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    picture((64, 48)).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


async def test_a_job_is_accepted_with_every_url_and_is_on_record_and_queued(world: World) -> None:
    answer = await world.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 2}})
    body = answer.json()
    url = f"http://media.test/v1/jobs/{body['id']}"
    assert answer.status_code == 202
    assert answer.headers["location"] == body["status_url"] == url
    assert (body["result_url"], body["events_url"], body["cancel_url"]) == (
        f"{url}/result",
        f"{url}/events",
        f"{url}/cancel",
    )
    assert body["status"] == "queued" and body["model"] == "synthetic" and body["eta_s"] is None
    assert body["created_at"].endswith("Z") and body["created_at_s"] > 0
    [job] = await world.services.ledger.get([JobId(body["id"])])
    assert job is not None and job.inputs["seconds"] == 2.0 and job.inputs["steps"] == 1
    assert (await world.lease()).id == body["id"]


async def test_eta_counts_what_waits_once_a_worker_is_there(world: World) -> None:
    await world.ready()
    await world.submit(seconds=3)
    body = await world.submit(seconds=2)
    assert body["eta_s"] >= 5.0


async def test_priority_deadline_and_trace_reach_the_job(world: World) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    answer = await world.http.post(
        "/v1/jobs",
        json={"model": "synthetic", "priority": "interactive", "start_deadline_s": 60},
        headers={"traceparent": trace},
    )
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None and job.priority == "interactive"
    assert job.start_deadline_at_s == pytest.approx(job.created_at_s + 60)
    lease = await world.lease()
    assert msgspec.msgpack.decode(lease.payload, type=Payload).traceparent == trace


async def test_a_form_with_a_picture_stores_probes_and_estimates(world: World, photo: bytes) -> None:
    answer = await world.http.post(
        "/v1/jobs",
        data={"model": "sketch", "strength": "0.25", "tags": ["a", "b"]},
        files={"picture": ("../../photo.jpg", photo, "image/jpeg")},
    )
    assert answer.status_code == 202, answer.text
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None
    [ref] = job.input_files
    assert (ref.media_type, ref.name, ref.bytes) == ("image/png", "photo.jpg", len(photo))
    assert job.inputs == {"picture": ref.id, "mask": None, "strength": 0.25, "tags": ["a", "b"]}
    assert job.predicted_s == pytest.approx(64 * 48 / 1000)
    assert (await world.http.get(f"/v1/blobs/{ref.id}")).content == photo


async def test_files_may_come_before_the_model_is_named(world: World, photo: bytes) -> None:
    files = [("picture", ("p.png", photo)), ("model", (None, "sketch"))]
    answer = await world.http.post("/v1/jobs", files=files)
    assert answer.status_code == 202, answer.text
    assert len(world.stored()) == 1


async def test_several_files_reach_a_field_that_takes_many(world: World, photo: bytes) -> None:
    files = [("model", (None, "album")), ("pictures[]", ("1.png", photo)), ("pictures[]", ("2.png", photo))]
    answer = await world.http.post("/v1/jobs", files=files)
    assert answer.status_code == 202, answer.text
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None and len(job.inputs["pictures"]) == 2


async def test_inputs_may_come_as_json_beside_files_and_an_empty_file_input_counts_as_absent(
    world: World, photo: bytes
) -> None:
    files = [
        ("model", (None, "sketch")),
        ("inputs", (None, '{"strength": 1}')),
        ("picture", ("p.png", photo)),
    ]
    request = world.http.build_request("POST", "/v1/jobs", files=files)
    boundary = request.headers["content-type"].split("boundary=")[1].encode()
    empty = b'\r\nContent-Disposition: form-data; name="mask"; filename=""\r\n\r\n\r\n--' + boundary + b"--\r\n"
    body = (await request.aread()).removesuffix(b"--\r\n") + empty
    answer = await world.http.post("/v1/jobs", content=body, headers={"content-type": request.headers["content-type"]})
    assert answer.status_code == 202, answer.text
    [job] = await world.services.ledger.get([JobId(answer.json()["id"])])
    assert job is not None and job.inputs["strength"] == 1.0 and job.inputs["mask"] is None
    assert len(world.stored()) == 1


async def test_a_blob_uploaded_before_is_named_by_its_id(world: World, photo: bytes) -> None:
    blob = (await world.http.post("/v1/blobs", content=photo)).json()["id"]
    by_json = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": blob}})
    by_form = await world.http.post("/v1/jobs", files=[("model", (None, "sketch")), ("picture", (None, blob))])
    assert by_json.status_code == by_form.status_code == 202


async def test_the_same_key_answers_with_the_stored_job_and_removes_the_second_upload(
    world: World, photo: bytes
) -> None:
    async def post(key: str) -> Any:
        return await world.http.post(
            "/v1/jobs", data={"model": "sketch"}, files={"picture": photo}, headers={"Idempotency-Key": key}
        )

    first, second = await post('"k-1"'), await post("k-1")
    assert first.status_code == second.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    assert "idempotency-replayed" not in first.headers and second.headers["idempotency-replayed"] == "true"
    assert len(world.stored()) == 1


async def test_the_same_key_with_another_request_is_refused(world: World, photo: bytes) -> None:
    headers = {"Idempotency-Key": "k-2"}
    await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=headers)
    other = await world.http.post("/v1/jobs", json={"model": "synthetic", "inputs": {"steps": 2}}, headers=headers)
    upload = await world.http.post("/v1/jobs", data={"model": "sketch"}, files={"picture": photo}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (upload.status_code, upload.json()["code"]) == (422, "idempotency_key_reused")
    assert world.stored() == []


async def test_two_equal_posts_at_once_make_one_job(world: World) -> None:
    headers = {"Idempotency-Key": "k-3"}
    posts = [world.http.post("/v1/jobs", json={"model": "synthetic"}, headers=headers) for _ in range(8)]
    answers = await asyncio.gather(*posts)
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7


async def test_a_wait_that_is_met_answers_with_the_finished_job(world: World) -> None:
    post = await soon(
        world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"Prefer": "respond-async, wait=30"})
    )
    await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
    answer = await post
    assert answer.status_code == 200 and answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["status"] == "completed" and answer.json()["outputs"] == {"seconds": 0.0, "steps": 1}


async def test_a_wait_that_is_not_met_answers_202_and_the_job_goes_on(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, max_wait_s=0.01) as world:
        answer = await world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"Prefer": "wait=60"})
        assert answer.status_code == 202 and answer.json()["status"] == "queued"
        assert (await world.lease()).id == answer.json()["id"]


async def test_a_job_is_accepted_while_the_broker_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("the broker is down")

    for verb in ("enqueue", "queues", "peek"):
        monkeypatch.setattr(world.services.broker, verb, down)
    body = await world.submit()
    assert "wait for the sweep" in caplog.text
    seen = await world.http.get(f"/v1/jobs/{body['id']}")
    assert seen.status_code == 200 and seen.json()["status"] == "queued"


async def test_nothing_is_accepted_while_the_ledger_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("the ledger is down")

    monkeypatch.setattr(world.services.ledger, "insert", down)
    answer = await world.http.post("/v1/jobs", data={"model": "sketch"}, files={"picture": photo})
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert len(world.stored()) == 1  # the insert may have happened: its file must not be gone


async def test_submitting_without_http_gives_the_job(world: World) -> None:
    outlook = Outlook(world.services)
    submission = Submission(world.services, Admission(world.services.models, outlook), outlook)
    job = await submission.submit(SubmitRequest(model="synthetic", inputs={"steps": 3}))
    assert job.inputs["steps"] == 3
    assert (await world.lease()).id == job.id

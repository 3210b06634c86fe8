"""Status, list, cancel, result, output files and attempts of jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import WORKER, World, gateway_world, soon

from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId
from springtide.domain.job import JobError, JobStatus
from springtide.domain.tickets import ticket_of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def get(world: World, job: dict[str, Any], path: str = "") -> Any:
    return await world.http.get(f"/v1/jobs/{job['id']}{path}")


async def test_a_live_job_shows_place_stage_and_progress(world: World) -> None:
    first, second = await world.submit(seconds=10), await world.submit(seconds=10)
    await world.ready()
    waiting = (await get(world, second)).json()
    assert (waiting["status"], waiting["ahead"]) == ("queued", 1) and waiting["eta_s"] >= 20
    await world.progress(await world.lease(), 0.5, "work")
    running = (await get(world, first)).json()
    assert (running["status"], running["attempt"], running["progress"], running["stage"]) == (
        "in_progress",
        1,
        0.5,
        "work",
    )
    assert running["started_at_s"] is not None and running["eta_s"] is not None and running["outputs"] is None


async def test_a_completed_job_shows_its_outputs_and_files(world: World) -> None:
    job = await world.submit()
    drawing = await world.output(b"PNG bytes", media_type="image/png", name="drawing.png")
    layers = [await world.output(b"one", media_type="image/png"), await world.output(b"two", media_type="image/png")]
    outputs = {"drawing": drawing.id, "layers": [ref.id for ref in layers], "note": "fine"}
    await world.complete(await world.lease(), outputs, files=(drawing, *layers))
    seen = (await get(world, job)).json()
    assert seen["status"] == "completed" and seen["progress"] == 1.0 and seen["finished_at"].endswith("Z")
    result = await get(world, job, "/result")
    assert result.status_code == 200 and result.json() == seen["outputs"]
    file = result.json()["drawing"]
    signed = {name: file.pop(name) for name in ("signed_url", "expires_at", "expires_at_s")}
    assert signed["signed_url"].startswith(f"http://media.test/v1/links/{drawing.id}?expires=")
    assert file == {
        "id": drawing.id,
        "url": f"http://media.test/v1/jobs/{job['id']}/files/drawing",
        "media_type": "image/png",
        "bytes": 9,
        "sha256": drawing.sha256,
        "name": "drawing.png",
    }
    answer = await world.http.get(file["url"])
    assert answer.content == b"PNG bytes" and answer.headers["content-type"] == "image/png"
    assert 'filename="drawing.png"' in answer.headers["content-disposition"]
    assert [(await world.http.get(layer["url"])).content for layer in result.json()["layers"]] == [b"one", b"two"]
    for name in ("note", "layers", "nothing", "blob_" + "0" * 32):
        assert (await get(world, job, f"/files/{name}")).status_code == 404


async def test_a_result_asked_for_too_early_says_so_and_when_to_come_again(world: World) -> None:
    job = await world.submit()
    for path in ("/result", "/files/drawing"):
        answer = await get(world, job, path)
        assert answer.status_code == 409 and int(answer.headers["retry-after"]) >= 1
        assert (answer.json()["code"], answer.json()["job_status"]) == ("not_finished", "queued")


@pytest.mark.parametrize(("code", "status"), [("crashed", 409), ("bad_media", 422)])
async def test_a_failed_jobs_result_is_its_error(world: World, code: str, status: int) -> None:
    job = await world.submit()
    await world.fail(await world.lease(), JobError(code=code, message="It fell over."))
    assert (await get(world, job)).json()["error"]["code"] == code
    answer = await get(world, job, "/result")
    assert answer.status_code == status and "retry-after" not in answer.headers
    body = answer.json()
    assert (body["code"], body["detail"], body["job_status"]) == (code, "It fell over.", "failed")
    attempts = (await get(world, job, "/attempts")).json()["data"]
    assert [(item["attempt"], item["error"]["code"]) for item in attempts] == [(1, code)]


async def test_an_end_that_is_not_on_record_is_not_shown(world: World) -> None:
    job = await world.submit()
    lease = await world.lease()
    world.recorder.record_once = _nothing  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        await world.complete(lease, {})
    assert (await get(world, job)).json()["status"] == "in_progress"


async def _nothing(*, wait_s: float = 0.0) -> int:
    return 0


async def test_a_queued_job_is_cancelled_at_once(world: World) -> None:
    job = await world.submit()
    recording = await soon(world.record())
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    await recording
    again = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert again.status_code == 200 and again.json()["status"] == "cancelled"
    assert answer.status_code in (200, 202)
    assert (await get(world, job, "/result")).json()["code"] == "job_cancelled"


async def test_a_running_job_is_cancelling_until_its_worker_says_so(world: World) -> None:
    job = await world.submit()
    lease = await world.lease()
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202 and answer.json()["status"] == "cancelling"
    assert (await get(world, job)).json()["status"] == "cancelling"
    await world.fail(lease, JobError(code="cancelled", message="Stopped."), cancelled=True)
    assert (await world.http.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200


async def test_a_job_that_ended_cannot_be_cancelled(world: World) -> None:
    job = await world.submit()
    await world.complete(await world.lease(), {})
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["job_status"]) == ("already_ended", "completed")


async def test_a_job_whose_enqueue_was_lost_can_be_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("the broker is down")

    with monkeypatch.context() as patch:
        patch.setattr(world.services.broker, "enqueue", down)
        job = await world.submit()
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    await world.record()
    assert (await get(world, job)).json()["status"] == "cancelled"


async def test_a_queued_job_says_why_it_waits_and_a_running_one_does_not(world: World) -> None:
    job = await world.submit()
    assert (await get(world, job)).json()["waiting"]["code"] == "no_worker"
    await world.does_not_load()
    waiting = (await get(world, job)).json()["waiting"]
    assert waiting["code"] == "engine_not_loading"
    assert "OSError: no device: 'x'" in waiting["message"]
    assert (await world.http.get("/v1/jobs")).json()["data"][0]["waiting"] == waiting
    await world.ready()
    assert (await get(world, job)).json()["waiting"]["code"] == "queued_behind"
    await world.lease()
    assert (await get(world, job)).json()["waiting"] is None


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.IN_PROGRESS])
async def test_a_job_of_a_removed_model_is_readable_says_so_and_is_cancelled_at_once(
    world: World, status: JobStatus
) -> None:
    job = {"id": (await world.leftover("gone", status)).id}
    seen = (await get(world, job)).json()
    assert (seen["model"], seen["waiting"]["code"]) == ("gone", "model_removed")
    assert (await get(world, job, "/result")).json()["code"] == "not_finished"
    assert (await world.http.get("/v1/jobs", params={"model": "gone"})).json()["data"][0]["id"] == job["id"]
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await get(world, job)).json()["waiting"] is None


async def test_a_removed_models_job_that_still_runs_is_stopped_by_its_worker(world: World) -> None:
    """In a rolling change: the worker is of the old configuration, this gateway of the new one."""
    job, broker, now_s = await world.leftover("gone"), world.services.broker, world.services.clock.now_s
    await broker.enqueue([ticket_of(job)], now_s())
    [lease] = await broker.lease(job.model, WORKER, 1, now_s())
    answer = await world.http.post(f"/v1/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    await world.fail(lease, JobError(code="cancelled", message="stopped as asked"), cancelled=True)
    assert (await get(world, {"id": job.id})).json()["status"] == "cancelled"


async def test_a_cancel_while_the_broker_is_down_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("the broker is down")

    job = await world.submit()
    monkeypatch.setattr(world.services.broker, "cancel", down)
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 503 and "retry-after" in answer.headers


async def test_jobs_are_listed_newest_first_page_by_page(world: World) -> None:
    made = [(await world.submit())["id"] for _ in range(5)]
    first = (await world.http.get("/v1/jobs", params={"limit": 3})).json()
    assert [item["id"] for item in first["data"]] == made[:1:-1] and first["has_more"]
    rest = (await world.http.get("/v1/jobs", params={"limit": 3, "after": first["next_after"]})).json()
    assert [item["id"] for item in rest["data"]] == made[1::-1]
    assert not rest["has_more"] and rest["next_after"] is None


async def test_jobs_are_filtered_by_model_and_state(world: World) -> None:
    ended, waiting = await world.submit(), await world.submit()
    await world.complete(await world.lease(), {})

    async def ids(**params: Any) -> list[str]:
        return [item["id"] for item in (await world.http.get("/v1/jobs", params=params)).json()["data"]]

    assert await ids(status="completed") == [ended["id"]]
    assert await ids(status=["queued", "failed"]) == [waiting["id"]]
    assert await ids(model="sketch") == [] and len(await ids(model="synthetic")) == 2
    assert (await world.http.get("/v1/jobs?after=x")).json()["code"] == "bad_cursor"


async def test_jobs_are_filtered_by_when_they_were_created(world: World) -> None:
    made = [await world.submit() for _ in range(3)]
    middle = made[1]["created_at_s"]

    async def found(**parameters: str) -> list[str]:
        answer = await world.http.get("/v1/jobs", params=parameters)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["data"]]

    assert await found(created_after=str(middle)) == [made[2]["id"]]
    assert await found(created_before=str(middle)) == [made[0]["id"]]
    assert await found(created_after="2001-01-01T00:00:00+02:00") == [job["id"] for job in reversed(made)]
    assert await found(created_before="2001-01-01T00:00:00Z") == []
    for wrong in ("yesterday", "2026-11-22T09:30:00", "", "-1", "9" * 40 + "Z"):
        answer = await world.http.get("/v1/jobs", params={"created_after": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_instant")


async def test_a_crash_tells_its_client_how_and_its_operator_where(world: World) -> None:
    job = await world.submit()
    lease = await world.lease()
    last_words = 'Fatal error: File "/opt/secret/engine.py", line 7 in run'
    details = {"signal": "SIGSEGV", "stderr": last_words}
    message = "the engine's process was ended by SIGSEGV while it read '/opt/secret/in 1/a.png'"
    await world.fail(lease, JobError(code="crashed", message=message, details=details))
    for path in ("", "/result", "/attempts", "/events"):
        text = (await get(world, job, path)).text
        assert "SIGSEGV" in text and "a.png" in text, path
        assert "secret" not in text and "line 7" not in text, path
    assert (await get(world, job)).json()["error"]["details"] == {"signal": "SIGSEGV"}
    [record] = await world.services.ledger.get([JobId(job["id"])])
    assert record is not None and record.error is not None and record.error.details["stderr"] == last_words

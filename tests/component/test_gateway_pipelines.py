"""Pipelines through the HTTP API: accepted whole or refused whole, led on, shown as one job, cancelled and ended."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, events_of, gateway_world, soon

from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, step_id
from springtide.domain.job import BlobRef, JobError, JobStatus
from springtide.domain.lease import Lease, Payload
from springtide.testing import media

PNG = "image/png"
THEN_ALBUM = {"model": "album", "inputs": {"pictures": [{"$from": "drawing"}]}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        await made.conductor.start()
        yield made
        await made.conductor.stop()


def png() -> bytes:
    buffer = io.BytesIO()
    media.picture().save(buffer, "PNG")
    return buffer.getvalue()


async def picture(world: World) -> str:
    stored = await world.http.post("/v1/blobs", content=png(), headers={"content-type": PNG})
    return stored.json()["id"]


async def submit(world: World, *then: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> Any:
    given = {"picture": await picture(world)} if inputs is None else inputs
    body = {"model": "sketch", "inputs": given, "then": list(then), **more}
    return await world.http.post("/v1/jobs", json=body)


async def accepted(world: World, *then: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await submit(world, *(then or (THEN_ALBUM,)), **more)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def shown(world: World, job: dict[str, Any]) -> dict[str, Any]:
    return (await world.http.get(f"/v1/jobs/{job['id']}")).json()


async def draw(world: World, lease: Lease, media_type: str = PNG) -> BlobRef:
    """The sketch is done."""
    ref = await world.output(b"drawn", media_type=media_type, name="drawing.png")
    await world.complete(lease, {"drawing": ref.id, "layers": [], "note": "n"}, (ref,))
    return ref


def payload(lease: Lease) -> Payload:
    return msgspec.msgpack.decode(lease.payload, type=Payload)


async def test_each_step_runs_as_a_job_of_its_own_and_feeds_the_next(world: World) -> None:
    job = await accepted(world, priority="batch")
    assert job["model"] == "sketch > album" and job["status"] == "queued"
    first = await world.lease("sketch")
    drawn = await draw(world, first)
    second = await world.lease("album")
    assert payload(second).inputs == {"pictures": [drawn.id]} and payload(second).files == (drawn,)
    final = await draw(world, second)
    following = await world.http.get(f"/v1/jobs/{job['id']}/events")
    assert events_of(following.text)[-1][1] == "completed"
    ended = await shown(world, job)
    assert (ended["status"], ended["progress"], ended["outputs"]["drawing"]["id"]) == ("completed", 1.0, final.id)
    assert [step["status"] for step in ended["steps"]] == ["completed", "completed"]
    assert [step["job"] for step in ended["steps"]] == [first.id, second.id]
    assert ended["steps"][1]["inputs"] == {"pictures": [{"$from": "0.drawing"}]}
    steps = (await world.http.get(f"/v1/jobs?parent={job['id']}")).json()["data"]
    assert [(step["step"], step["parent"], step["priority"]) for step in steps] == [
        (1, job["id"], "batch"),
        (0, job["id"], "batch"),
    ]
    whole = (await world.http.get("/v1/jobs")).json()["data"]
    assert [each["id"] for each in whole] == [job["id"]]
    result = (await world.http.get(f"/v1/jobs/{job['id']}/result")).json()
    assert (await world.http.get(result["drawing"]["url"])).content == b"drawn"


async def test_a_pipeline_shows_one_figure_of_progress_over_its_steps(world: World) -> None:
    job = await accepted(world, THEN_ALBUM, inputs={"picture": await picture(world)})
    first = await world.lease("sketch")
    await world.progress(first, 0.5, "lines")
    now = await shown(world, job)
    first_s, second_s = (max(step["predicted_s"], 0.05) for step in now["steps"])
    assert now["status"] == "in_progress" and now["stage"] == "sketch: lines"
    assert now["progress"] == pytest.approx(0.5 * first_s / (first_s + second_s), abs=1e-3)
    assert [step["status"] for step in now["steps"]] == ["in_progress", "waiting"]
    await draw(world, first)
    second = await world.lease("album")
    await world.progress(second, 0.5, "pages")
    later = await shown(world, job)
    assert now["progress"] < later["progress"] < 1 and later["stage"] == "album: pages"
    [listed] = (await world.http.get("/v1/jobs?status=in_progress")).json()["data"]
    assert (listed["id"], listed["progress"]) == (job["id"], later["progress"])


async def test_the_event_stream_tells_the_steps_as_one_story_and_resumes_anywhere(world: World) -> None:
    job = await accepted(world)
    following = await soon(world.http.get(f"/v1/jobs/{job['id']}/events"))
    first = await world.lease("sketch")
    await world.progress(first, 0.5, "lines")
    await draw(world, first)
    second = await world.lease("album")
    await world.progress(second, 0.25)
    await draw(world, second)
    events = events_of((await following).text)
    assert [(kind, data.get("stage")) for _, kind, data in events] == [
        ("queued", "sketch: queued"),
        ("started", "sketch: started"),
        ("progress", "sketch: lines"),
        ("progress", "sketch: completed"),
        ("progress", "album: queued"),
        ("progress", "album: started"),
        ("progress", "album: progress"),
        ("completed", None),
    ]
    fractions = [data["progress"] for _, kind, data in events if kind == "progress"]
    assert fractions == sorted(fractions)
    assert {data["job"] for _, _, data in events} == {job["id"]}
    for seen in range(len(events) - 1):
        rest = await world.http.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": events[seen][0] or ""})
        assert events_of(rest.text) == events[seen + 1 :]
    over = await world.http.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": events[-1][0] or ""})
    assert over.status_code == 204


async def test_a_failed_step_fails_the_pipeline_with_its_reason(world: World) -> None:
    job = await accepted(world)
    await draw(world, await world.lease("sketch"))
    second = await world.lease("album")
    await world.fail(second, JobError(code="crashed", message="SIGSEGV", details={"signal": 11}))
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    ended = await shown(world, job)
    assert ended["status"] == "failed" and ended["steps"][1]["status"] == "failed"
    assert (ended["error"]["code"], ended["error"]["message"]) == ("crashed", "step 1 (album): SIGSEGV")
    assert ended["error"]["details"] == {
        "signal": 11,
        "step": {"step": 1, "name": "album", "model": "album", "job": second.id},
    }
    assert (await world.http.get(f"/v1/jobs/{job['id']}/result")).json()["code"] == "crashed"


async def test_an_output_that_the_next_step_cannot_take_fails_the_pipeline_and_submits_nothing(world: World) -> None:
    job = await accepted(world)
    await draw(world, await world.lease("sketch"), media_type="video/mp4")
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    ended = await shown(world, job)
    assert ended["status"] == "failed" and ended["error"]["code"] == "invalid_input"
    assert ended["error"]["message"] == (
        "step 1 (album): pictures takes image/*, and drawing of step 0 (sketch) is video/mp4"
    )
    assert ended["steps"][1]["job"] is None


async def test_a_submit_may_wait_for_the_end_of_the_whole(world: World) -> None:
    body = {"model": "sketch", "inputs": {"picture": await picture(world)}, "then": [THEN_ALBUM]}
    waiting = await soon(world.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=20"}))
    await draw(world, await world.lease("sketch"))
    await draw(world, await world.lease("album"))
    answer = await waiting
    assert answer.status_code == 200 and answer.json()["status"] == "completed"
    assert len(answer.json()["steps"]) == 2


async def test_a_form_may_carry_the_steps_as_json(world: World) -> None:
    form = {"model": (None, "sketch"), "then": (None, json.dumps([THEN_ALBUM])), "picture": ("a.png", png(), PNG)}
    answer = await world.http.post("/v1/jobs", files=form)
    assert answer.status_code == 202 and answer.json()["model"] == "sketch > album"
    form["then"] = (None, "[{")
    broken = await world.http.post("/v1/jobs", files=form)
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")


async def test_outputs_are_named_by_step_number_name_or_model(world: World) -> None:
    blob = await picture(world)
    job = await accepted(
        world,
        {
            "model": "sketch",
            "name": "again",
            "inputs": {"picture": {"$from": "sketch.drawing"}, "tags": [{"$from": "note"}]},
        },
        {"model": "album", "inputs": {"pictures": [{"$from": "again.drawing"}, blob, {"$from": "0.layers"}]}},
        {"model": "synthetic", "inputs": {"steps": 3}},
        inputs={"picture": blob},
    )
    steps = (await shown(world, job))["steps"]
    assert [step["name"] for step in steps] == ["sketch", "again", "album", "synthetic"]
    assert steps[1]["inputs"]["picture"] == {"$from": "0.drawing"} and steps[1]["inputs"]["tags"] == [
        {"$from": "0.note"}
    ]
    assert steps[2]["inputs"]["pictures"] == [{"$from": "1.drawing"}, blob, {"$from": "0.layers"}]
    assert steps[3]["inputs"]["steps"] == 3 and steps[3]["inputs"]["outcome"] == "ok"  # defaults filled in
    first = await world.lease("sketch")
    drawn = await world.output(b"drawn", media_type=PNG)
    layers = [await world.output(b"layer", media_type=PNG) for _ in range(2)]
    outputs = {"drawing": drawn.id, "layers": [ref.id for ref in layers], "note": "red"}
    await world.complete(first, outputs, (drawn, *layers))
    second = await world.lease("sketch")
    assert payload(second).inputs["picture"] == drawn.id and payload(second).inputs["tags"] == ["red"]
    redrawn = await draw(world, second)
    third = await world.lease("album")
    assert payload(third).inputs["pictures"] == [redrawn.id, blob, *(ref.id for ref in layers)]
    assert {ref.id for ref in payload(third).files} == {redrawn.id, blob, *(ref.id for ref in layers)}


async def test_everything_wrong_with_any_step_is_told_at_once_with_its_place(world: World) -> None:
    answer = await submit(
        world,
        {"model": "nope", "inputs": {}},
        {"model": "album", "inputs": {"pictures": {"$from": "0.drawn"}}},
        {"model": "sketch", "name": "s", "inputs": {"picture": {"$from": "0.note"}, "strength": 7, "colour": "red"}},
        {
            "model": "sketch",
            "name": "s",
            "inputs": {"picture": {"$from": "later.drawing"}, "tags": {"$from": "0.drawing"}},
        },
        {"model": "listen", "inputs": {}},
        {"model": "synthetic", "inputs": {"steps": {"$from": "0.layers"}, "bogus": {"$from": "0.note"}}, "nmae": "x"},
        {"inputs": {"a": 1}, "name": "not a name"},
        {"model": "sketch", "inputs": {"picture": "blob_" + "0" * 32, "mask": {"$from": "0.drawing", "x": 1}}},
        inputs={"picture": await picture(world), "strength": 2},
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_input"
    found = {item["loc"]: item["message"] for item in answer.json()["errors"]}
    assert found.keys() == {
        "strength",
        "then.0.model",
        "then.1.inputs.pictures",
        "then.2.inputs.picture",
        "then.2.inputs.strength",
        "then.2.inputs.colour",
        "then.3.name",
        "then.3.inputs.picture",
        "then.3.inputs.tags",
        "then.4.inputs.audio",
        "then.5.nmae",
        "then.5.inputs.steps",
        "then.5.inputs.bogus",
        "then.6.model",
        "then.6.name",
        "then.7.inputs.picture",
        "then.7.inputs.mask",
    }
    assert found["then.0.model"] == "there is no such model; served here: album, listen, sketch, synthetic"
    assert (
        found["then.1.inputs.pictures"]
        == "step 0 (sketch) has no output 'drawn'; it has drawing, preview, layers, note"
    )
    assert found["then.2.inputs.picture"] == "takes a file, and note of step 0 (sketch) is none"
    assert found["then.3.inputs.picture"].startswith("there is no earlier step 'later'; there are 0 (sketch), 1 (")
    assert found["then.3.inputs.tags"] == "takes a value, and drawing of step 0 (sketch) is a file"
    assert found["then.4.inputs.audio"] == "a file is required"
    assert (await world.http.get("/v1/jobs")).json()["data"] == []


async def test_a_media_type_that_can_never_fit_is_refused_at_once(world: World) -> None:
    answer = await submit(world, {"model": "listen", "inputs": {"audio": {"$from": "preview"}}})
    [error] = answer.json()["errors"]
    assert error["loc"] == "then.0.inputs.audio"
    assert error["message"] == "takes audio/*, video/*, and preview of step 0 (sketch) is image/png"


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ({"model": "album"}, "must be a list of steps"),
        (["album"], "must be a list of steps"),
        ([{"model": "synthetic"}] * 16, "a pipeline has at most 16 steps, this one 17"),
    ],
)
async def test_what_is_no_list_of_steps_is_refused(world: World, then: Any, message: str) -> None:
    body = {"model": "synthetic", "then": then}
    [error] = (await world.http.post("/v1/jobs", json=body)).json()["errors"]
    assert error["loc"] == "then" and error["message"].startswith(message)


async def test_an_idempotency_key_makes_one_pipeline_and_one_first_step(world: World) -> None:
    body = {"model": "synthetic", "then": [{"model": "synthetic", "inputs": {"steps": {"$from": "steps"}}}]}
    sent = [await world.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert len({answer.json()["id"] for answer in sent}) == 1
    assert sent[1].headers["idempotency-replayed"] == "true"
    assert len((await world.http.get(f"/v1/jobs?parent={sent[0].json()['id']}")).json()["data"]) == 1
    live = await world.services.ledger.live(after=None, limit=9, created_before_s=1e12)
    assert len(live) == 1
    body["then"] = [{"model": "synthetic", "inputs": {"steps": 2}}]
    other = await world.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_cancelling_a_pipeline_cancels_the_queued_step_and_the_rest(world: World) -> None:
    job = await accepted(world)
    answer = await soon(world.http.post(f"/v1/jobs/{job['id']}/cancel"))
    await world.record()
    assert (await answer).status_code in (200, 202)
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    ended = await shown(world, job)
    assert ended["status"] == "cancelled"
    assert [step["status"] for step in ended["steps"]] == ["cancelled", "waiting"]
    again = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert again.status_code == 200


async def test_a_running_step_is_asked_to_stop_and_the_pipeline_says_cancelling_meanwhile(world: World) -> None:
    job = await accepted(world)
    lease = await world.lease("sketch")
    answer = await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert (await shown(world, job))["status"] == "cancelling"
    await world.fail(lease, JobError(code="cancelled", message="stopped"), cancelled=True)
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    assert (await shown(world, job))["status"] == "cancelled"


async def test_a_step_that_completes_before_the_cancel_reaches_it_is_the_last_one(world: World) -> None:
    job = await accepted(world)
    lease = await world.lease("sketch")
    await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    await draw(world, lease)
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    ended = await shown(world, job)
    assert ended["status"] == "cancelled" and [step["status"] for step in ended["steps"]] == ["completed", "waiting"]


async def test_a_pipeline_whose_first_step_expires_has_expired(world: World) -> None:
    job = await accepted(world, start_deadline_s=0.001)
    [step] = (await world.http.get(f"/v1/jobs?parent={job['id']}")).json()["data"]
    assert step["start_deadline_at_s"] == pytest.approx(step["created_at_s"] + 0.001)
    now_s = world.services.clock.now_s()
    assert await world.services.broker.lease(step["model"], "w", 1, now_s + 1) == []  # type: ignore[arg-type]
    await world.record()
    await world.http.get(f"/v1/jobs/{job['id']}/events")
    assert (await shown(world, job))["status"] == "expired"


async def test_the_trace_context_reaches_every_step(world: World) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    body = {"model": "synthetic", "then": [{"model": "synthetic"}]}
    await world.http.post("/v1/jobs", json=body, headers={"traceparent": trace})
    first = await world.lease()
    await world.complete(first, {"seconds": 0.0, "steps": 1})
    second = await world.lease()
    assert [payload(each).traceparent for each in (first, second)] == [trace, trace]
    [pipeline] = (await world.http.get("/v1/jobs")).json()["data"]
    assert [first.id, second.id] == [step_id(pipeline["id"], number) for number in range(2)]


async def test_a_first_step_that_could_not_be_recorded_is_left_to_the_conductor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.conductor.stop()
    insert = world.services.ledger.insert

    async def only_pipelines(jobs: Any) -> Any:
        if any(job.parent for job in jobs):
            raise Unavailable("the disk is full")
        return await insert(jobs)

    monkeypatch.setattr(world.services.ledger, "insert", only_pipelines)
    body = {"model": "synthetic", "then": [{"model": "synthetic"}]}
    answer = await world.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202
    monkeypatch.undo()
    await world.conductor.conduct_all()
    assert (await world.lease()).id == step_id(answer.json()["id"], 0)


async def test_the_stream_of_a_pipeline_does_not_hang_where_the_end_is_told_before_it_looks(world: World) -> None:
    """Recorded and announced between two looks: the story of the last step is over, the pipeline's own is to come."""
    body = {"model": "synthetic", "then": [{"model": "synthetic"}]}
    job = (await world.http.post("/v1/jobs", json=body)).json()
    for _ in range(2):
        await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
    [found] = await world.services.ledger.get([JobId(job["id"])])
    assert found is not None
    live = world.app.state["gateway"].live
    ended = await asyncio.wait_for(live.wait(found, 30.0), 20)
    assert ended.status is JobStatus.COMPLETED


async def test_a_batch_may_hold_pipelines_and_a_wrong_one_takes_no_other_along(world: World) -> None:
    def item(steps: int) -> dict[str, Any]:
        return {"model": "synthetic", "then": [{"model": "synthetic", "inputs": {"steps": steps}}]}

    jobs = [item(2), item(0), item(3), {"model": "synthetic"}]
    body = (await world.http.post("/v1/jobs/batches", json={"jobs": jobs})).json()
    assert body["refused"][0]["problem"]["errors"][0]["loc"] == "then.0.inputs.steps"
    items = (await world.http.get(body["items_url"])).json()["data"]
    assert [each["status"] for each in items] == ["queued", "refused", "queued", "queued"]
    assert items[0]["job"]["model"] == "synthetic > synthetic"
    whole = (await world.http.get(items[0]["job"]["status_url"])).json()
    step = (await world.http.get(whole["steps"][0]["status_url"])).json()
    assert whole["batch"] == step["batch"] == body["id"] and step["parent"] == whole["id"]
    assert len({(await world.lease()).id for _ in range(3)}) == 3

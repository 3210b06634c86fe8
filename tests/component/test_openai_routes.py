"""OpenAI's routes on a gateway whose jobs are done by hand: shapes, errors, waits, and what a retry may not do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import DEFAULT_TENANT, ModelName
from springtide.domain.job import JobError
from springtide.domain.lease import Lease
from springtide.domain.tenant import Tenant
from springtide.engines.human.engine import DigitalHuman
from springtide.engines.matting.isnet import IsnetMatting
from springtide.engines.speech.whisper import WhisperSpeech
from springtide.engines.synthetic.engine import Synthetic
from springtide.engines.video.parallax import ParallaxPreview

ENGINES = {
    "digital-human": DigitalHuman,
    "matting": IsnetMatting,
    "speech": WhisperSpeech,
    "synthetic": Synthetic,
    "video": ParallaxPreview,
}
DATA = Path(__file__).parents[1] / "data"
PORTRAIT = ("portrait.jpg", (DATA / "portrait.jpg").read_bytes())
TALK = ("en.wav", (DATA / "en.wav").read_bytes())
SEGMENTS = [
    {"id": 0, "start_s": 0.1, "end_s": 1.0, "text": "Hello there.", "language": "en", "words": None},
    {"id": 1, "start_s": 1.2, "end_s": 2.0, "text": "Good bye.", "language": "en", "words": None},
]
TRANSCRIPT = {"text": "Hello there. Good bye.", "language": "en", "duration_s": 2.5, "segments": SEGMENTS}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, engines=ENGINES, keep_alive_s=0.05, openai_wait_s=5.0) as world:
        yield world


async def heard(world: World, lease: Lease) -> None:
    words = [{"start_s": 0.1, "end_s": 0.5, "word": " Hello", "probability": 0.9}]
    files = {
        "srt": await world.output(
            b"1\n00:00:00,100 --> 00:00:01,000\nHello there.\n", media_type="application/x-subrip"
        ),
        "vtt": await world.output(b"WEBVTT\n", media_type="text/vtt"),
        "transcript": await world.output(
            json.dumps({"segments": [{**SEGMENTS[0], "words": words}]}).encode(), media_type="application/json"
        ),
    }
    outputs = {**TRANSCRIPT, **{name: ref.id for name, ref in files.items()}}
    await world.complete(lease, outputs, tuple(files.values()))


async def transcribed(world: World, **fields: Any) -> tuple[httpx.Response, Lease]:
    files = [("file", TALK), *((name, (None, value)) for name, value in {"model": "whisper-1", **fields}.items())]
    asking = asyncio.ensure_future(world.http.post("/v1/audio/transcriptions", files=files))
    lease = await world.lease("speech")
    await heard(world, lease)
    return await asking, lease


async def made(world: World, answer: httpx.Response, model: str = "video") -> None:
    """Do the job of a video that was asked for."""
    lease = await world.lease(model)
    assert lease.id == answer.json()["id"]
    film = await world.output(b"film", media_type="video/mp4")
    poster = await world.output(PORTRAIT[1], media_type="image/jpeg")
    outputs = {"video": film.id, "poster": poster.id, "width": 320, "height": 240, "duration_s": 2.0}
    await world.complete(lease, outputs, (film, poster))


async def inputs_of(world: World, lease: Lease) -> dict[str, Any]:
    return dict((await world.http.get(f"/v1/jobs/{lease.id}")).json()["inputs"])


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return dict(body["error"])


async def test_a_transcript_has_each_of_openais_forms(world: World) -> None:
    answer, _ = await transcribed(world)
    assert answer.json() == {"text": TRANSCRIPT["text"], "usage": {"type": "duration", "seconds": 2.5}}
    answer, lease = await transcribed(world, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
    verbose = answer.json()
    assert (await inputs_of(world, lease))["word_times"] is True
    assert verbose["words"] == [{"word": "Hello", "start": 0.1, "end": 0.5}], "of the file, where the result has none"
    assert "segments" not in verbose
    assert (verbose["task"], verbose["language"], verbose["duration"]) == ("transcribe", "english", 2.5)
    answer, _ = await transcribed(world, response_format="verbose_json")
    assert [each["text"] for each in answer.json()["segments"]] == ["Hello there.", "Good bye."]
    assert {"id", "seek", "tokens", "avg_logprob", "no_speech_prob"} <= answer.json()["segments"][0].keys()
    for form, begins in (("text", "Hello there."), ("srt", "1\n00:00"), ("vtt", "WEBVTT")):
        answer, _ = await transcribed(world, response_format=form)
        assert answer.text.startswith(begins)


async def test_a_streamed_transcript_is_its_deltas_and_comes_while_the_connection_is_kept(world: World) -> None:
    answer, _ = await transcribed(world, stream="true", temperature="0")
    assert answer.headers["x-springtide-ignored"] == "temperature"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(each["delta"] for each in events[:-1]) == TRANSCRIPT["text"] == events[-1]["text"]
    assert [each["type"] for each in events] == [*2 * ["transcript.text.delta"], "transcript.text.done"]
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_a_picture_comes_as_base64_and_url_unless_one_of_them_is_asked_for(world: World) -> None:
    for form, keys in (("", {"url", "b64_json"}), ("url", {"url"}), ("b64_json", {"b64_json"})):
        data = {"model": "gpt-image-1", "prompt": "x", "background": "transparent", "response_format": form}
        asking = asyncio.ensure_future(world.http.post("/v1/images/edits", data=data, files={"image[]": PORTRAIT}))
        lease = await world.lease("matting")
        cut = await world.output(b"\x89PNG and more", media_type="image/png")
        mask = await world.output(b"mask", media_type="image/png")
        await world.complete(lease, {"cutout": cut.id, "mask": mask.id, "width": 3, "height": 2}, (mask, cut))
        answer = (await asking).json()
        assert answer["data"][0].keys() == keys
        assert (answer["size"], answer["background"], answer["output_format"]) == ("3x2", "transparent", "png")
        if "b64_json" in keys:
            assert base64.b64decode(answer["data"][0]["b64_json"]) == b"\x89PNG and more", "the cut-out, not the mask"
        if "url" in keys:
            assert (await world.http.get(answer["data"][0]["url"])).content == b"\x89PNG and more"


async def test_a_video_has_all_keys_in_every_state_and_no_other_states(world: World) -> None:
    body = {"prompt": "snow", "seconds": 4, "size": "320x240", "num_inference_steps": 50}
    answer = await world.http.post("/v1/videos", json=body)
    assert answer.status_code == 200
    video = answer.json()
    assert len(video) == 13
    assert (video["status"], video["progress"], video["seconds"], video["size"]) == ("queued", 0, "4", "320x240")
    assert int(answer.headers["openai-poll-after-ms"]) >= 250
    lease = await world.lease("video")
    await world.progress(lease, 0.42)
    running = (await world.http.get(f"/v1/videos/{video['id']}")).json()
    assert (running["status"], running["progress"]) == ("in_progress", 42)
    early = await world.http.get(f"/v1/videos/{video['id']}/content")
    assert (early.status_code, error_of(early)["code"]) == (409, "not_finished")
    assert early.headers["x-should-retry"] == "false"
    await world.fail(lease, JobError(code="timed_out", message="It took longer than 60 s."))
    failed = (await world.http.get(f"/v1/videos/{video['id']}")).json()
    assert (failed["status"], failed["error"]["code"], len(failed)) == ("failed", "timed_out", 13)
    await world.http.post("/v1/videos", json=body)
    [newest, _] = (await world.http.get("/v1/videos")).json()["data"]
    await world.http.post(f"/v1/jobs/{newest['id']}/cancel")
    await world.record()
    gone = (await world.http.get(f"/v1/videos/{newest['id']}")).json()
    assert (gone["status"], gone["error"]["code"]) == ("failed", "cancelled")


async def test_a_videos_content_is_the_film_and_its_poster_as_webp(world: World) -> None:
    answer = await world.http.post("/v1/videos", files={"input_reference": PORTRAIT, "prompt": (None, "pan left")})
    await made(world, answer)
    url = f"/v1/videos/{answer.json()['id']}/content"
    film = await world.http.get(url)
    assert (film.content, film.headers["content-type"]) == (b"film", "video/mp4")
    assert (await world.http.get(url, headers={"range": "bytes=1-2"})).content == b"il"
    poster = await world.http.get(url, params={"variant": "thumbnail"})
    assert poster.headers["content-type"] == "image/webp"
    assert poster.content[8:12] == b"WEBP"
    sheet = await world.http.get(url, params={"variant": "spritesheet"})
    assert (sheet.status_code, error_of(sheet)["code"]) == (404, "not_served"), "no model makes sheets here"
    wrong = await world.http.get(url, params={"variant": "poster"})
    assert (wrong.status_code, error_of(wrong)["param"]) == (400, "variant")


async def test_videos_are_listed_both_ways_page_by_page_and_other_jobs_are_none(world: World) -> None:
    ids = [(await world.http.post("/v1/videos", json={"prompt": "sea"})).json()["id"] for _ in range(3)]
    other = await world.submit(seconds=1)
    page = (await world.http.get("/v1/videos", params={"limit": 2})).json()
    assert [each["id"] for each in page["data"]] == [ids[2], ids[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    rest = (await world.http.get("/v1/videos", params={"limit": 2, "after": ids[1]})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    oldest = (await world.http.get("/v1/videos", params={"order": "asc", "after": ids[0]})).json()
    assert [each["id"] for each in oldest["data"]] == ids[1:]
    assert (await world.http.get("/v1/videos", params={"limit": 0})).json()["data"] == []
    assert (await world.http.get(f"/v1/videos/{other['id']}")).status_code == 404


async def test_deleting_a_video_stops_it_first_and_takes_its_files_along(world: World) -> None:
    answer = await world.http.post("/v1/videos", json={"prompt": "sea"})
    deleting = asyncio.ensure_future(world.http.delete(f"/v1/videos/{answer.json()['id']}"))
    await world.record()
    gone = await deleting
    assert gone.json() == {"id": answer.json()["id"], "object": "video.deleted", "deleted": True}
    missing = await world.http.get(f"/v1/videos/{answer.json()['id']}")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "unknown_video")
    assert (await world.http.get("/v1/videos")).json()["data"] == []


async def test_a_voice_makes_a_face_speak_and_consent_is_asked_for_by_name(world: World) -> None:
    files = {"input_reference": PORTRAIT, "audio_reference": TALK, "prompt": (None, "hello")}
    refused = await world.http.post("/v1/videos", files=files)
    assert (refused.status_code, error_of(refused)["param"]) == (400, "consent")
    assert world.stored() == []
    answer = await world.http.post("/v1/videos", files={**files, "consent": (None, "I am the person shown.")})
    assert answer.json()["model"] == "digital-human"
    lease = await world.lease("digital-human")
    assert (await inputs_of(world, lease))["consent"] == "I am the person shown."


async def test_pictures_come_inline_or_by_id_too(world: World) -> None:
    inline = f"data:image/jpeg;base64,{base64.b64encode(PORTRAIT[1]).decode()}"
    blob = (await world.http.post("/v1/blobs", content=PORTRAIT[1])).json()["id"]
    for reference in ({"image_url": inline}, {"file_id": blob}, blob, inline):
        answer = await world.http.post("/v1/videos", json={"prompt": "pan", "input_reference": reference})
        assert answer.status_code == 200, answer.text
        lease = await world.lease("video")
        [job] = await world.services.ledger.get([lease.id])
        assert job is not None
        [file] = job.input_files
        assert file.bytes == len(PORTRAIT[1])
    form = {"prompt": (None, "pan"), "input_reference[file_id]": (None, blob)}
    assert (await world.http.post("/v1/videos", files=form)).status_code == 200
    for bad in ("data:image/png;base64,****", "blob_" + 32 * "0", {"file_id": "file-abc"}, 7, "data:x"):
        answer = await world.http.post("/v1/videos", json={"prompt": "pan", "input_reference": bad})
        assert (answer.status_code, error_of(answer)["param"]) == (400, "input_reference"), answer.text


SPEECH, EDITS, VIDEOS = "/v1/audio/transcriptions", "/v1/images/edits", "/v1/videos"
JSON = {"content-type": "application/json"}


def form(model: str | None = None, fields: dict[str, str] | None = None, **files: Any) -> dict[str, Any]:
    return {"files": files, "data": {**({"model": model} if model else {}), **(fields or {})}}


@pytest.mark.parametrize(
    ("path", "sent", "status", "code", "param"),
    [
        (SPEECH, form("whisper-1", file=PORTRAIT), 400, "wrong_media_type", "file"),
        (SPEECH, form("whisper-1", file=("a.mp3", b"")), 400, "empty_file", "file"),
        (SPEECH, form("whisper-1", {"voice": "x"}, file=TALK), 400, "unknown_parameter", "voice"),
        (SPEECH, {"json": {"model": "whisper-1"}}, 400, "invalid_input", "file"),
        (SPEECH, form(file=TALK), 400, "invalid_input", "model"),
        (SPEECH, form("whisper-1", {"response_format": "x"}, file=TALK), 400, "invalid_input", "response_format"),
        (SPEECH, form("whisper-1", {"include[]": "logprobs"}, file=TALK), 400, "invalid_input", "include"),
        (SPEECH, form("whisper-1", {"stream": "maybe"}, file=TALK), 400, "invalid_input", "stream"),
        (SPEECH, form("matting", file=TALK), 404, "model_not_found", "model"),
        ("/v1/audio/translations", form("whisper-1", file=TALK), 404, "not_served", None),
        ("/v1/images/generations", {"json": {"prompt": "a cat"}}, 404, "model_not_found", "model"),
        (EDITS, form("matting", {"n": "2"}, image=PORTRAIT), 400, "invalid_input", "n"),
        (EDITS, form("matting", image=PORTRAIT, mask=PORTRAIT), 400, "unknown_parameter", "mask"),
        (EDITS, form("matting", image=("a.png", b"no picture")), 400, "wrong_media_type", "image"),
        (EDITS, form("matting", {"output_format": "jpeg"}, image=PORTRAIT), 400, "invalid_input", "output_format"),
        (VIDEOS, {"json": {"prompt": "x", "seconds": "900"}}, 400, "invalid_input", "seconds"),
        (VIDEOS, {"content": b"{", "headers": JSON}, 400, "malformed_json", None),
        (VIDEOS, {"json": ["x"]}, 400, "malformed_json", None),
        (VIDEOS, {"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type", None),
        (f"{VIDEOS}/remix", {"json": {}}, 405, "method_not_allowed", None),
        (f"{VIDEOS}/a/b/c", {"json": {}}, 404, "not_found", None),
    ],
)
async def test_what_is_wrong_is_told_in_openais_envelope_and_leaves_nothing(
    world: World, path: str, sent: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    answer = await world.http.post(path, **sent)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    assert error["type"] == "invalid_request_error"
    assert world.stored() == []
    assert (await world.http.get("/v1/jobs")).json()["data"] == []


async def test_native_routes_keep_their_problems_and_broken_parts_are_told_to_both(world: World) -> None:
    assert (await world.http.get("/v1/jobs/nothing")).headers["content-type"] == "application/problem+json"

    async def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    world.services.ledger.get = broken  # type: ignore[method-assign]  # a bug, planted
    answer = await world.http.get(f"/v1/videos/job_{32 * '0'}")
    assert (answer.status_code, error_of(answer)["type"]) == (500, "server_error")
    assert "bug" not in answer.text


async def test_a_job_that_fails_says_whose_fault_it_was_and_is_not_repeated(world: World) -> None:
    for code, status in (("no_face", 400), ("crashed", 500)):
        asking = asyncio.ensure_future(
            world.http.post("/v1/images/edits", files={"image": PORTRAIT}, data={"model": "matting"})
        )
        await world.fail(await world.lease("matting"), JobError(code=code, message="Why."))
        answer = await asking
        assert (answer.status_code, error_of(answer)["code"]) == (status, code)
        assert answer.headers["x-should-retry"] == "false"


async def test_a_full_queue_is_429_with_a_time_to_come_back(tmp_path: Path) -> None:
    tenant = Tenant(id=DEFAULT_TENANT, max_queued=1)
    async with gateway_world(tmp_path, engines=ENGINES, tenants=[tenant]) as world:
        assert (await world.http.post("/v1/videos", json={"prompt": "sea"})).status_code == 200
        refused = await world.http.post("/v1/videos", json={"prompt": "sea"})
        assert (refused.status_code, error_of(refused)["type"]) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1


async def test_a_call_that_takes_too_long_is_408_and_its_retry_waits_for_the_same_job(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, engines=ENGINES, openai_wait_s=0.05) as world:
        sent: dict[str, Any] = {"files": {"file": TALK}, "data": {"model": "whisper-1"}}
        late = await world.http.post("/v1/audio/transcriptions", **sent)
        assert (late.status_code, error_of(late)["code"], late.headers["retry-after"]) == (408, "still_running", "1")
        lease = await world.lease("speech")
        retried = {**sent, "headers": {"x-stainless-retry-count": "1"}}
        assert (await world.http.post("/v1/audio/transcriptions", **retried)).status_code == 408
        await heard(world, lease)
        answer = await world.http.post("/v1/audio/transcriptions", **retried)
        assert answer.json()["text"] == TRANSCRIPT["text"]
        jobs = (await world.http.get("/v1/jobs")).json()["data"]
        assert [job["id"] for job in jobs] == [lease.id], "one job for three requests"
        await world.http.post("/v1/audio/transcriptions", **sent)
        assert len((await world.http.get("/v1/jobs")).json()["data"]) == 2, "a new call is a new job"


async def test_a_key_makes_one_job_of_several_requests_and_another_request_with_it_is_422(world: World) -> None:
    headers = {"idempotency-key": "film-1"}
    first = await world.http.post("/v1/videos", json={"prompt": "sea"}, headers=headers)
    again = await world.http.post("/v1/videos", json={"prompt": "sea"}, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = await world.http.post("/v1/videos", json={"prompt": "forest"}, headers=headers)
    assert (other.status_code, error_of(other)["code"]) == (422, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"


async def test_a_client_that_leaves_cancels_nothing(world: World) -> None:
    asking = asyncio.ensure_future(
        world.http.post("/v1/audio/transcriptions", files={"file": TALK}, data={"model": "whisper-1"})
    )
    lease = await world.lease("speech")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await heard(world, lease)
    assert (await world.http.get(f"/v1/jobs/{lease.id}")).json()["status"] == "completed"


async def test_models_are_listed_with_openais_keys_and_what_each_can_do_there(world: World) -> None:
    listed = (await world.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    found = {model["id"]: model for model in listed["data"]}
    assert found["speech"]["capabilities"] == [{"route": "audio.transcriptions", "note": "Speech recognition"}]
    assert "background=transparent" in found["matting"]["capabilities"][0]["note"]
    assert found["synthetic"]["capabilities"] == []
    assert found["video"].keys() >= {"id", "object", "created", "owned_by", "name", "input_schema"}
    assert ModelName("video") == found["video"]["id"]

"""The `openai` package, unmodified, against a running server with real engines and real media."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import openai
import pytest
from PIL import Image

from .conftest import DATA, Server

pytestmark = [
    pytest.mark.xdist_group("acceptance"),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]
PORTRAIT, TALK = DATA / "portrait.jpg", DATA / "en.wav"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300) as one:
        yield one


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that waits for a result for a second only, and keeps no more than one job of a model waiting."""
    variables = {"SPRINGTIDE_OPENAI__WAIT_S": "1", "SPRINGTIDE_TENANTS__DEFAULT__MAX_QUEUED": "1"}
    one = Server(tmp_path_factory.mktemp("narrow"), variables)
    yield one
    one.close()


def picture(b64: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64 or "")))


def test_models_list_tells_what_each_is_for(client: openai.OpenAI) -> None:
    found = {model.id: [use["route"] for use in model.capabilities] for model in client.models.list()}  # type: ignore[attr-defined]  # our own key
    assert found["speech"] == ["audio.transcriptions"]
    assert found["matting"] == found["restore"] == found["upscale"] == ["images.edits"]
    assert found["video"] == found["digital-human"] == ["videos"]
    assert client.models.retrieve("speech").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_speech_is_written_down_by_the_name_that_programs_already_have(client: openai.OpenAI) -> None:
    with TALK.open("rb") as file:
        said = client.audio.transcriptions.create(model="whisper-1", file=file)
    assert said.text.startswith("It was the best of times")
    verbose = client.audio.transcriptions.create(
        model="whisper-1",
        file=TALK,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"quality": "fast"},
    )
    assert verbose.words is not None
    assert verbose.segments is not None
    assert [word.word for word in verbose.words[:4]] == ["It", "was", "the", "best"]
    assert 0 <= verbose.words[0].start < verbose.words[-1].end <= verbose.duration
    assert verbose.language == "english"
    stream = client.audio.transcriptions.create(
        model="speech", file=TALK, stream=True, language="en", keywords=["epoch"], extra_body={"quality": "fast"}
    )
    events = list(stream)
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text


def test_a_background_goes_by_the_words_for_it(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        model="gpt-image-1",
        image=PORTRAIT,
        prompt="Cut her out.",
        background="transparent",
        extra_body={"quality": "fast"},
    )
    assert answer.data is not None
    cut = picture(answer.data[0].b64_json)
    assert (cut.mode, cut.format) == ("RGBA", "PNG")
    alpha = np.asarray(cut)[..., 3]
    assert alpha[5, 5] < 20 < 235 < alpha[alpha.shape[0] // 2, alpha.shape[1] // 2], "the corner has gone, she has not"
    assert httpx2.get(str(answer.data[0].url)).content == base64.b64decode(answer.data[0].b64_json or "")
    with pytest.raises(openai.NotFoundError, match="Served there: matting"):
        client.images.edit(model="gpt-image-1", image=PORTRAIT, prompt="Make the sky purple.")


def test_a_video_is_made_polled_watched_and_deleted(client: openai.OpenAI, tmp_path: Path) -> None:
    film = client.videos.create_and_poll(
        model="sora-2", prompt="slow push in, snow", seconds="1", size="160x120", input_reference=PORTRAIT,  # type: ignore[arg-type]  # smaller than theirs
        extra_body={"fps": 8},
    )  # fmt: skip
    assert (film.status, film.size, film.seconds, film.progress) == ("completed", "160x120", "1", 100)
    client.videos.download_content(film.id).write_to_file(tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as opened:
        assert opened.streams.video[0].frames == 8
    for variant in ("thumbnail", "spritesheet"):
        data = client.videos.download_content(film.id, variant=variant).read()
        assert Image.open(io.BytesIO(data)).format == "WEBP"
    assert film.id in [each.id for each in client.videos.list(limit=1)], "the package turns the pages"
    assert client.videos.delete(film.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(film.id)


def test_a_face_is_given_a_voice(client: openai.OpenAI) -> None:
    word = io.BytesIO()
    with wave.open(str(TALK), "rb") as given, wave.open(word, "wb") as cut:
        cut.setparams(given.getparams())
        cut.writeframes(given.readframes(given.getframerate()))
    voice = f"data:audio/wav;base64,{base64.b64encode(word.getvalue()).decode()}"
    with pytest.raises(openai.BadRequestError, match="consent"):
        client.videos.create(prompt="", input_reference=PORTRAIT, extra_body={"audio_reference": voice})
    asked = {"audio_reference": voice, "consent": "The portrait is in the public domain."}
    film = client.videos.create_and_poll(
        model="digital-human", prompt="", input_reference=PORTRAIT, size="256x256", extra_body=asked  # type: ignore[arg-type]  # smaller than theirs
    )  # fmt: skip
    assert (film.status, film.seconds, film.size) == ("completed", "1", "256x256"), film.error


def test_a_batch_of_pictures_comes_back_as_files(client: openai.OpenAI) -> None:
    picture_file = client.files.create(file=PORTRAIT, purpose="vision")
    assert client.files.wait_for_processing(picture_file.id).bytes == PORTRAIT.stat().st_size
    asked = {
        "model": "matting",
        "images": [{"file_id": picture_file.id}],
        "quality": "fast",
        "background": "transparent",
    }
    rows = [
        {"custom_id": name, "method": "POST", "url": "/v1/images/edits", "body": body}
        for name, body in (("good", asked), ("bad", {**asked, "output_format": "tiff"}))
    ]
    requests = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, rows)).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=requests.id, endpoint="/v1/images/edits", completion_window="24h")
    until_s = time.monotonic() + 100
    while batch.status not in ("completed", "failed") and time.monotonic() < until_s:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    counts = batch.request_counts
    assert counts is not None
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 2, 1, 1)
    row = json.loads(client.files.content(str(batch.output_file_id)).text)
    assert row["custom_id"] == "good"
    cut = httpx2.get(row["response"]["body"]["data"][0]["url"]).content
    assert Image.open(io.BytesIO(cut)).mode == "RGBA"
    wrong = json.loads(client.files.content(str(batch.error_file_id)).text)
    assert wrong["response"]["body"]["error"]["param"] == "output_format"
    assert batch.id in [each.id for each in client.batches.list()]
    assert client.files.delete(requests.id).deleted


def test_bad_requests_are_not_repeated_and_say_which_parameter(server: Server) -> None:
    answers: list[int] = []
    http = httpx2.Client(event_hooks={"response": [lambda answer: answers.append(answer.status_code)]}, timeout=300)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model="whisper-1", file=PORTRAIT)
        assert (caught.value.param, caught.value.code) == ("file", "wrong_media_type")
        film = client.videos.create(prompt="sea", seconds="30")  # type: ignore[arg-type]  # longer than theirs
        with pytest.raises(openai.ConflictError):
            client.videos.download_content(film.id)
        # Half a minute of film is minutes of work: nobody after this waits for it, nor counts it among its own.
        server.http.post(f"/v1/jobs/{film.id}/cancel").raise_for_status()
    assert answers == [400, 200, 409], "a conflict for good is not asked again"


def test_the_packages_own_retries_wait_for_the_same_job(narrow: Server) -> None:
    """Starting the model takes longer than a call waits: 408 until it is there, and one job in all."""
    answers: list[int] = []
    http = httpx2.Client(event_hooks={"response": [lambda answer: answers.append(answer.status_code)]})
    with openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="none", max_retries=60, http_client=http) as client:
        said = client.audio.transcriptions.create(model="whisper-1", file=TALK)
    assert said.text.startswith("It was the best of times")
    assert 408 in answers and answers[-1] == 200
    assert len(narrow.http.get("/v1/jobs", params={"model": "speech"}).json()["data"]) == 1


def test_the_packages_own_retries_outlast_a_full_queue(narrow: Server) -> None:
    """Four at once where one may wait: who is told 429 comes again when it is told to, and each is served once."""
    answers: list[int] = []
    http = httpx2.Client(event_hooks={"response": [lambda answer: answers.append(answer.status_code)]})
    with openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="none", max_retries=60, http_client=http) as client:

        def film(number: int) -> str:
            made = client.videos.create(prompt=f"sea {number}", seconds="1", size="160x120")  # type: ignore[arg-type]  # smaller than theirs
            return client.videos.poll(made.id).status

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(film, range(4))) == ["completed"] * 4
    assert 429 in answers
    assert len(narrow.http.get("/v1/jobs", params={"model": "video"}).json()["data"]) == 4


def words_of(text: str) -> list[str]:
    """Where sentences end a network in whole numbers hears differently on one processor and another."""
    return re.findall(r"\w+", text.lower())


def test_the_page_about_it_runs_as_it_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python, with a smaller film; and its curl lines, each answered by what stands below it."""
    page = (Path(__file__).parents[2] / "docs" / "openai.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for old, new in (
        ("http://127.0.0.1:8321", server.url),
        ('seconds="4", size="720x1280"', 'seconds="1", size="160x120"'),
    ):
        assert old in code
        code = code.replace(old, new)
    for name in ("en.wav", "portrait.jpg"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "openai.md", "exec"), names)
    assert names["said"].text.startswith("It was the best of times")
    assert picture(names["cut"].data[0].b64_json).mode == "RGBA"
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].frames > 0
    [console] = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    asked = re.findall(r"^\$ (.*)\n(.*)$", console, re.MULTILINE)
    assert len(asked) == 3
    for command, told in asked:
        words = shlex.split(command.replace("$URL", server.url).replace("tests/data/", f"{DATA}/"))
        answer = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=300).stdout)
        shown = json.loads(told)
        if shown.get("error"):
            assert answer == shown
        else:
            assert answer.keys() == shown.keys()
            assert {key: words_of(answer[key]) for key in ("text", "object", "model") if key in shown} == {
                key: words_of(shown[key]) for key in ("text", "object", "model") if key in shown
            }

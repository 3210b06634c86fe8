"""The main jobs on real media: picture in, cut-out out; speech in, transcript out. Through HTTP and by command."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from springtide.engines import samples
from springtide.media.film import opened_film

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


def _alpha_checks(picture: Image.Image) -> None:
    """The astronaut stays, the flag and the shuttle go."""
    assert (picture.size, picture.mode) == ((512, 512), "RGBA")
    alpha = picture.getchannel("A")
    for x, y in ((225, 110), (130, 300), (320, 420)):  # face, suit, helmet
        assert alpha.getpixel((x, y)) > 240, (x, y)
    for x, y in ((20, 60), (420, 120), (300, 20), (500, 20)):  # flag, shuttle, wall
        assert alpha.getpixel((x, y)) < 15, (x, y)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _error_rate(heard: str, said: str) -> float:
    """Character error rate: edit distance over the length of what was said."""
    a, b = _letters(said), _letters(heard)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1] / len(a)


def test_a_picture_goes_in_and_a_cut_out_comes_out(server: Server) -> None:
    accepted = server.submit("matting", {"image": DATA / "portrait.jpg"})
    assert accepted.status_code == 200, accepted.text
    outputs = accepted.json()["outputs"]
    assert outputs["license"]
    cutout = server.http.get(outputs["cutout"]["url"])
    assert cutout.headers["content-type"] == "image/png"
    _alpha_checks(Image.open(io.BytesIO(cutout.content)))
    mask = Image.open(io.BytesIO(server.http.get(outputs["mask"]["url"]).content))
    assert (mask.mode, mask.size) == ("L", (512, 512))


@pytest.mark.parametrize(("name", "language", "most"), [("zh", "zh", 0.25), ("en", "en", 0.05)])
def test_speech_becomes_text_segments_and_subtitles(server: Server, name: str, language: str, most: float) -> None:
    accepted = server.submit("speech", {"audio": DATA / f"{name}.wav"})
    assert accepted.status_code == 200, accepted.text
    outputs = accepted.json()["outputs"]
    assert outputs["language"] == language
    assert _error_rate(outputs["text"], (DATA / f"{name}.txt").read_text()) <= most
    ends = [segment["end_s"] for segment in outputs["segments"]]
    assert ends == sorted(ends)
    assert ends[-1] <= outputs["duration_s"] + 0.5
    srt = server.http.get(outputs["srt"]["url"]).text
    assert re.match(r"1\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\n\S", srt)
    assert server.http.get(outputs["vtt"]["url"]).text.startswith("WEBVTT")


def test_the_run_command_saves_the_cut_out(server: Server, tmp_path: Path) -> None:
    done = server.cli("run", "matting", str(DATA / "portrait.jpg"), "-o", "cut.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _alpha_checks(Image.open(tmp_path / "cut.png"))


def test_a_video_is_cut_out_with_transparency_and_sound(server: Server, tmp_path: Path) -> None:
    clip = str(samples.FOLDER / samples.CLIP)
    done = server.cli("run", "matting", clip, "-i", "quality=fast", "-o", "cut.webm", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with opened_film(tmp_path / "cut.webm") as film:
        assert (film.width, film.height, film.has_alpha, film.has_audio) == (256, 256, True, True)
        frames = list(film.frames(alpha=True))
    assert len(frames) == 50
    assert all(frame[100, 110, 3] > 240 and frame[10, 4, 3] < 15 for frame in frames), "her face, and the wall"


def test_the_run_command_prints_the_transcript(server: Server, tmp_path: Path) -> None:
    done = server.cli("run", "speech", str(DATA / "en.wav"), "-o", "talk.srt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best of times" in done.stdout
    assert " --> " in (tmp_path / "talk.srt").read_text()


def test_submit_list_get_cancel_and_models_speak_json(server: Server) -> None:
    models = json.loads(server.cli("models", "--json").stdout)
    assert {model["name"] for model in models} == {
        "concat",
        "digital-human",
        "loudness",
        "matting",
        "restore",
        "speech",
        "subtitles",
        "synthetic",
        "thumbnail",
        "transcode",
        "upscale",
        "video",
        "watermark",
        "what-if",
    }
    job = json.loads(server.cli("submit", "synthetic", "-i", "seconds=600", "--json").stdout)
    listed = json.loads(server.cli("list", "--json").stdout)
    assert job["id"] in {one["id"] for one in listed}
    server.cli("cancel", job["id"])
    assert server.finished(job["id"])["status"] == "cancelled"
    shown = json.loads(server.cli("get", job["id"], "--json").stdout)
    assert shown["status"] == "cancelled"


def test_a_failed_job_fails_the_command_with_its_reason(server: Server) -> None:
    done = server.cli("run", "synthetic", "-i", "outcome=fail")
    assert done.returncode == 1
    assert "failed" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "nonsense"), "nonsense"),
        (("run", "matting", "nowhere.jpg"), "no such file: nowhere.jpg"),
        (("run", "matting"), "image"),
        (("run", "synthetic", "-i", "seconds"), "name=value"),
        (("run", "synthetic", "-i", "secs=1"), "secs"),
        (("run", "synthetic", "-i", "seconds=-1"), "seconds"),
        (("run", "matting", str(DATA / "portrait.jpg"), "-o", "nowhere/cut.png"), "there is no folder"),
        (("run", "matting", str(DATA / "portrait.jpg"), "-o", "."), "is a folder"),
        (("get", "../../healthz"), "is not a job's id"),
        (("cancel", "../../healthz"), "is not a job's id"),
        (("get", "job_00000000000000000000000000000000"), "job_0000"),
    ],
)
def test_wrong_commands_say_what_is_wrong(server: Server, words: tuple[str, ...], told: str) -> None:
    done = server.cli(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_made_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = server.cli("gateway", variables={"SPRINGTIDE_SERVER__DATA_DIR": str(tmp_path / "file")})
    assert done.returncode == 2
    assert "server.data_dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_and_the_documents_are_there(server: Server) -> None:
    page = server.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "Springtide" in page.text
    assert server.http.get("/docs").is_success
    document = server.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/jobs" in document["paths"]
    assert server.http.get("/readyz").json()["status"] == "ok"

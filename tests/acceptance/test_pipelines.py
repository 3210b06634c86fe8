"""Pipelines on real media, through HTTP and by command: one job in, the last step's result out; a retry goes on."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from springtide.engines.provenance import Kind, origin_of
from springtide.media.film import opened_film

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")

MARK = {"model": "watermark", "inputs": {"image": {"$from": "cutout"}, "text": "Springtide", "size": 0.6}}


def _is_marked_cut_out(made: Image.Image) -> None:
    """The astronaut, cut out, with writing at the lower right and nothing else where the wall was."""
    assert (made.size, made.mode) == ((512, 512), "RGBA")
    alpha = made.getchannel("A")
    for x, y in ((225, 110), (130, 300)):  # face, suit
        assert alpha.getpixel((x, y)) > 240, (x, y)
    for x, y in ((20, 60), (420, 120), (300, 20)):  # flag, shuttle, wall
        assert alpha.getpixel((x, y)) < 15, (x, y)
    written = alpha.crop((500 - 307, 440, 500, 500))
    low, high = written.getextrema()
    assert isinstance(high, int) and low < 15 and high > 150


def test_a_picture_is_cut_out_and_marked_in_one_job(server: Server) -> None:
    answer = server.submit("matting", {"image": DATA / "portrait.jpg"}, then=json.dumps([MARK]))
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["status"], job["progress"], job["model"]) == ("completed", 1.0, "matting > watermark")
    assert [step["status"] for step in job["steps"]] == ["completed", "completed"]
    made = Image.open(io.BytesIO(server.http.get(job["outputs"]["result"]["url"]).content))
    _is_marked_cut_out(made)
    cut = server.http.get(job["steps"][0]["status_url"]).json()["outputs"]["cutout"]["url"]
    before = Image.open(io.BytesIO(server.http.get(cut).content))
    box = ImageChops.difference(made, before).getbbox()
    assert box is not None and box[0] > 180 and box[1] > 400, "only the mark was laid over the cut-out"


def test_a_film_is_generated_enlarged_marked_and_transcoded_in_one_request(server: Server, tmp_path: Path) -> None:
    """Four engines on real frames; the last file still says that a program made it up, and its letters can be seen."""
    then = [
        {"model": "upscale", "inputs": {"video": {"$from": "video"}, "scale": 2}},
        {"model": "watermark", "inputs": {"video": {"$from": "result"}, "text": "潮 Tide", "size": 0.5, "opacity": 1}},
        {"model": "transcode", "inputs": {"video": {"$from": "result"}, "codec": "h264", "width": 256, "fps": 6}},
    ]
    inputs = {"prompt": "日落时的海边，镜头缓缓推近", "width": "192", "height": "128", "seconds": "0.5", "fps": "12"}
    answer = server.submit("video", {}, wait_s=120, then=json.dumps(then), **inputs)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["status"] == "completed", job
    assert [step["status"] for step in job["steps"]] == ["completed"] * 4
    path = tmp_path / "film.mp4"
    path.write_bytes(server.http.get(job["outputs"]["video"]["url"]).content)
    with opened_film(path) as film:
        frames = list(film.frames())
        assert (film.width, film.height, len(frames)) == (256, 170, 3)
    written = frames[1][120:, 128:].astype(int)
    assert written.max() > 235 and written.min() < 70, "light letters with a dark rim at the lower right"
    origin = origin_of(path)
    assert origin is not None and origin.kind is Kind.ALGORITHMIC
    assert origin.facts["changed_by"]["engine"] == "transcode"


def test_the_run_command_takes_steps_and_saves_the_last_result(server: Server, tmp_path: Path) -> None:
    words = ["run", "matting", str(DATA / "portrait.jpg"), "--then", "watermark text=Springtide size=0.6"]
    done = server.cli(*words, "-o", "marked.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "marked.png") as made:
        _is_marked_cut_out(made)


def test_what_is_heard_can_be_written_on_a_picture(server: Server) -> None:
    """A text feeds a text, and a step takes a file of its own."""
    portrait = server.http.post("/v1/blobs", files={"file": (DATA / "portrait.jpg").read_bytes()}).json()["id"]
    write = {"model": "watermark", "inputs": {"image": portrait, "text": {"$from": "text"}, "size": 1}}
    answer = server.submit("speech", {"audio": DATA / "en.wav"}, then=json.dumps([write]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"
    assert answer.json()["outputs"]["result"]["media_type"] == "image/png"


def test_a_mistake_in_a_later_step_is_told_before_anything_runs(server: Server) -> None:
    wrong = {"model": "watermark", "inputs": {"image": {"$from": "vtt"}, "opacity": 2, "text": "x"}}
    answer = server.submit("speech", {"audio": DATA / "en.wav"}, then=json.dumps([wrong]))
    assert answer.status_code == 422
    assert {item["loc"] for item in answer.json()["errors"]} == {"then.0.inputs.image", "then.0.inputs.opacity"}
    done = server.cli("submit", "speech", str(DATA / "en.wav"), "--then", "watermark image=from:vtt text=x")
    assert done.returncode == 2
    assert "takes image/*, and vtt of step 0 (speech) is text/vtt" in done.stderr


def test_failed_jobs_are_retried_by_command_and_once(server: Server) -> None:
    words = ["submit", "synthetic", "--then", "synthetic outcome=fail", "--then", "synthetic"]
    job = server.cli(*words).stdout.strip()
    assert server.finished(job)["status"] == "failed"
    table = server.cli("get", job, variables={"COLUMNS": "110"}).stdout
    assert [line.split("│")[3].strip() for line in table.splitlines() if "job_" in line or "waiting" in line] == [
        "failed",
        "completed",
        "failed",
        "waiting",
    ], table
    taken = server.cli("jobs", "reproduce", job, "-o", "taken")
    assert taken.returncode == 0, taken.stderr
    assert json.loads((server.folder / "taken" / "inputs.json").read_text())["inputs"]["outcome"] == "fail"
    dry = server.cli("jobs", "retry", "--failed", "--since", "1h", "--model", "synthetic", "--dry-run")
    assert job in dry.stdout and "would be retried" in dry.stderr
    done = server.cli("jobs", "retry", job)
    assert done.returncode == 0, done.stderr
    assert re.search(r"retried 1 job$", done.stderr.strip())
    again = re.search(rf"{job} -> (job_\w+)", done.stdout)
    assert again
    shown = server.finished(again[1])
    assert (shown["retry_of"], [step["reused"] for step in shown["steps"]]) == (job, [True, False, False])
    once_more = server.cli("jobs", "retry", job)
    assert again[1] in once_more.stdout
    assert "retried 0 jobs, 1 had been before" in once_more.stderr
    wrong = server.cli("jobs", "retry", "--failed", "--since", "yesterday")
    assert wrong.returncode == 2
    assert "90s, 30m, 1h or 2d" in wrong.stderr

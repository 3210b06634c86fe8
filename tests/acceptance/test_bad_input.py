"""Everything people really send. Each file gets a clear 4xx or the right result; never a 500, never a dead worker."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from springtide.testing.media_makers import BAD_PICTURES, BAD_SOUNDS, ODD_PICTURES, ODD_SOUNDS

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_refused_with_its_reason(server: Server, tmp_path: Path, name: str) -> None:
    make, code = BAD_PICTURES[name]
    response = server.submit("matting", {"image": make(tmp_path)}, wait_s=0)
    assert response.status_code in {413, 422}, response.text
    problem = response.json()
    assert response.headers["content-type"].startswith("application/problem+json")
    assert problem["code"] == code
    assert "image" in problem["detail"]


@pytest.mark.parametrize("name", BAD_SOUNDS)
def test_a_bad_sound_is_refused_with_its_reason(server: Server, tmp_path: Path, name: str) -> None:
    make, code = BAD_SOUNDS[name]
    response = server.submit("speech", {"audio": make(tmp_path)}, wait_s=0)
    assert response.status_code in {413, 422}, response.text
    assert response.json()["code"] == code


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_an_odd_picture_gives_a_cut_out_of_its_upright_size(server: Server, tmp_path: Path, name: str) -> None:
    path = ODD_PICTURES[name](tmp_path)
    accepted = server.submit("matting", {"image": path})
    assert accepted.status_code in {200, 202}, accepted.text
    job = server.finished(accepted.json()["id"])
    assert job["status"] == "completed", job["error"]
    with Image.open(path) as sent:
        size = sent.size[::-1] if sent.getexif().get(0x0112) in {5, 6, 7, 8} else sent.size
    assert (job["outputs"]["width"], job["outputs"]["height"]) == size
    made = Image.open(io.BytesIO(server.http.get(job["outputs"]["cutout"]["url"]).content))
    assert (made.mode, made.size) == ("RGBA", size)


@pytest.mark.parametrize("name", ODD_SOUNDS)
def test_a_sound_without_words_gives_an_empty_transcript(server: Server, tmp_path: Path, name: str) -> None:
    accepted = server.submit("speech", {"audio": ODD_SOUNDS[name](tmp_path)})
    assert accepted.status_code in {200, 202}, accepted.text
    job = server.finished(accepted.json()["id"])
    assert job["status"] == "completed", job["error"]
    assert (job["outputs"]["text"], job["outputs"]["speech_found"]) == ("", False)


@pytest.mark.parametrize(
    ("model", "fields", "status", "told"),
    [
        ("nonsense", {}, 404, "matting"),
        ("matting", {}, 422, "image"),
        ("matting", {"image": "blob_00000000000000000000000000000000"}, 422, "blob"),
        ("synthetic", {"seconds": "soon"}, 422, "seconds"),
        ("synthetic", {"colour": "red"}, 422, "colour"),
        ("synthetic", {"outcome": "win"}, 422, "outcome"),
    ],
)
def test_wrong_fields_are_named(server: Server, model: str, fields: Mapping[str, str], status: int, told: str) -> None:
    response = server.submit(model, {}, wait_s=0, **fields)
    assert response.status_code == status, response.text
    assert told in response.text


def test_two_files_where_one_is_meant(server: Server) -> None:
    picture = (DATA / "portrait.jpg").read_bytes()
    parts = [("model", (None, "matting")), ("image", ("a.jpg", picture)), ("image", ("b.jpg", picture))]
    response = server.http.post("/v1/jobs", files=parts)
    assert response.status_code == 422, response.text
    assert "image" in response.json()["detail"]


def test_after_all_that_the_same_workers_still_work(server: Server, tmp_path: Path) -> None:
    assert server.submit("matting", {"image": DATA / "portrait.jpg"}).status_code == 200
    before, told = server.workers("matting"), server.log.stat().st_size
    for make, _ in BAD_PICTURES.values():
        assert server.submit("matting", {"image": make(tmp_path)}, wait_s=0).status_code < 500
    assert server.submit("matting", {"image": DATA / "portrait.jpg"}).status_code == 200
    assert server.workers("matting") >= before
    assert b"died" not in server.log.read_bytes()[told:]

"""A damaged face through the whole platform, then made larger and marked in one request; what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from springtide.testing import media

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "damaged.jpg"
    with Image.open(DATA / "portrait.jpg") as portrait:
        portrait.crop((130, 5, 320, 195)).resize((64, 64), Image.Resampling.LANCZOS).save(path, quality=60)
    return path


def test_one_line_of_the_command_restores_a_face(server: Server, damaged: Path, tmp_path: Path) -> None:
    done = server.cli("run", "restore", str(damaged), "-o", "restored.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "restored.png") as picture:
        assert picture.size == (128, 128)


def test_a_picture_without_a_face_goes_on_through_a_pipeline(server: Server, tmp_path: Path) -> None:
    media.picture((48, 32)).save(tmp_path / "none.png")
    steps = [
        {"model": "upscale", "inputs": {"image": {"$from": "picture"}, "quality": "fast"}},
        {"model": "watermark", "inputs": {"image": {"$from": "result"}, "text": "Springtide"}},
    ]
    done = server.submit("restore", {"image": tmp_path / "none.png"}, then=json.dumps(steps), scale="1").json()
    assert "id" in done, done
    job = server.finished(done["id"])
    assert job["status"] == "completed", job
    assert (job["outputs"]["width"], job["outputs"]["height"]) == (96, 64)


def test_what_cannot_be_enlarged_is_refused_and_the_worker_goes_on(server: Server, damaged: Path) -> None:
    for fields, told in (({"scale": "3"}, "scale"), ({"format": "mp4"}, "format"), ({"crf": "20"}, "crf")):
        refused = server.submit("upscale", {"image": damaged}, **fields)
        assert refused.status_code == 422
        assert told in refused.text
    assert server.submit("upscale", {"image": damaged}, quality="fast").status_code == 200

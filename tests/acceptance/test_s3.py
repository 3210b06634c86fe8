"""The whole installation on an S3 bucket: media go in and come out, and none are on the machine's own disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from springtide.testing.s3 import KEY, SECRET, S3Server, s3_server
from springtide.testing.servers import NoServer

from .conftest import DATA, Server

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    try:
        with s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def on_s3(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    variables = {
        "SPRINGTIDE_BLOBS__URL": s3.url("media"),
        "SPRINGTIDE_BLOBS__ACCESS_KEY_ID": KEY,
        "SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY": SECRET,
    }
    one = Server(tmp_path_factory.mktemp("springtide"), variables)
    yield one
    one.close()


def test_a_picture_goes_in_and_its_cut_out_comes_out_of_the_bucket(on_s3: Server, s3: S3Server) -> None:
    accepted = on_s3.submit("matting", {"image": DATA / "portrait.jpg"})
    assert accepted.status_code == 200, accepted.text
    outputs = accepted.json()["outputs"]
    picture = on_s3.http.get(outputs["cutout"]["url"])
    assert Image.open(io.BytesIO(picture.content)).mode == "RGBA"
    stored = {key.rpartition("/")[2] for key in s3.objects()}
    assert {outputs["cutout"]["id"], outputs["mask"]["id"]} <= stored
    assert not list(Path(on_s3.folder).rglob("blob_*"))


def test_keys_are_in_no_log_and_no_command_line(on_s3: Server) -> None:
    assert on_s3.http.get("/healthz").is_success
    assert SECRET not in on_s3.log.read_text()

"""The engine that the page shows, run against a small service: what an author of a third one gets from the base."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_world import DATA, Line, probed
from remote_doubles import Answer, Double, Request, of_json

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.engines.catalog import load_engine
from springtide.engines.remote.lending import Lending

PAGE = Path(__file__).parents[2] / "docs" / "engines" / "remote.md"


class Upscaling(Double):
    """Jobs by id: done at the third look."""

    looks = 0

    def answer(self, request: Request) -> Answer:
        match request.method, request.path:
            case "POST", "/jobs":
                return of_json({"id": request.form["name"][0].decode()}, 201)
            case "GET", path if path.endswith("/picture"):
                return Answer(b"a picture")
            case _:
                self.looks += 1
                return of_json({"done": self.looks == 3, "progress": self.looks / 3})


@pytest.fixture
def service() -> Iterator[Upscaling]:
    with Upscaling() as double:
        yield double


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class on the page."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "page_upscaler.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return load_engine("page_upscaler:Upscaler")


def test_the_engine_on_the_page_works(shown: Any, service: Upscaling, tmp_path: Path) -> None:
    engine = shown({"url": service.url, "poll_s": 0.01}, tmp_path)
    engine.load()
    line = Line(tmp_path / "job")
    output = engine.run(shown.Input(image=probed(DATA / "portrait.jpg", "image/*")), line)
    assert output.picture.path.read_bytes() == b"a picture"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bytes(line.checkpoints[0]).decode())  # type: ignore[arg-type]
    assert line.stages == ("send", "wait", "fetch")
    assert line.fractions == sorted(line.fractions)


def test_one_that_is_not_there_is_told_with_its_address(shown: Any, tmp_path: Path) -> None:
    engine = shown({"url": "http://127.0.0.1:9", "poll_s": 0.01, "outage_s": 0.05}, tmp_path)
    engine.load()
    with pytest.raises(AttemptFailed, match=r"http://127\.0\.0\.1:9/jobs cannot be reached") as caught:
        engine.run(shown.Input(image=probed(DATA / "portrait.jpg", "image/*")), Line(tmp_path / "job"))
    assert (caught.value.code, caught.value.retryable) == ("remote_unavailable", True)


def test_a_certificate_file_that_is_not_there_is_a_setting_to_change(shown: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be set up"):
        shown({"url": "https://x", "ca_file": str(tmp_path / "none.pem")}, tmp_path).load()


def test_lent_files_are_given_out_whole_in_part_and_under_their_secret_name_only(tmp_path: Path) -> None:
    import httpx

    path = tmp_path / "voice.wav"
    path.write_bytes(bytes(range(200)))
    lending = Lending({"voice.wav": path}, bind="127.0.0.1", port=0)
    lending.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{lending.port}", trust_env=False) as client:
            where = lending.path("voice.wav")
            assert client.get(where).content == path.read_bytes()
            assert client.head(where).headers["content-length"] == "200"
            part = client.get(where, headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, path.read_bytes()[10:20])
            assert part.headers["content-range"] == "bytes 10-19/200"
            assert client.get(where, headers={"Range": "bytes=150-"}).content == path.read_bytes()[150:]
            assert client.get(where, headers={"Range": "bytes=200-"}).status_code == 416
            assert client.get("/voice.wav").status_code == 404
            assert client.get(f"/{'0' * 32}/voice.wav").status_code == 404
    finally:
        lending.close()

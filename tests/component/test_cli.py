"""The command line where no server runs: what is wrong is told before one is started."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from springtide.cli import connecting, listening, results
from springtide.cli.main import main
from springtide.client import File
from springtide.domain.errors import ConfigError


@pytest.fixture(autouse=True)
def no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SPRINGTIDE_SERVER__PORT", "1")
    monkeypatch.delenv("SPRINGTIDE_URL", raising=False)

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr(connecting.subprocess, "Popen", started)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `springtide WORDS` says on its way to a failure."""
    monkeypatch.setattr("sys.argv", ["springtide", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_an_unknown_model_starts_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(monkeypatch, capsys, "run", "nope")
    assert "'nope'" in said and "matting" in said and "speech" in said and "starting" not in said


def test_of_an_unknown_model_and_a_missing_file_the_model_is_told_with_one_of_a_near_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(monkeypatch, capsys, "run", "mating", "nowhere.jpg")
    assert "no model 'mating' (did you mean matting?)" in said and "nowhere.jpg" not in said
    assert "no such file: nowhere.jpg" in run(monkeypatch, capsys, "run", "matting", "nowhere.jpg")


def test_more_files_than_the_model_takes_start_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file in files:
        file.write_bytes(b"x")
    said = run(monkeypatch, capsys, "run", "matting", *map(str, files))
    assert (
        "matting takes image, video, background_image; too many" in said and "c.png" in said and "starting" not in said
    )


def test_an_input_without_a_value_starts_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(monkeypatch, capsys, "run", "synthetic", "-i", "seconds")
    assert "name=value" in said and "starting" not in said


@pytest.mark.parametrize(
    ("host", "told"), [("nohost.invalid", "'nohost.invalid' cannot be resolved"), ("192.0.2.1", "not an address of")]
)
def test_a_host_that_cannot_be_listened_on_is_named_with_the_reason(host: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.host") as raised:
        listening.listen(host, 0)
    assert told in raised.value.message and "127.0.0.1" in raised.value.message


@pytest.mark.parametrize(
    ("output", "file", "told"),
    [
        ("cut.jpg", {"media_type": "image/png", "name": "cutout.png"}, "the right name is cut.png"),
        ("cut.jpg", {"media_type": "image/png"}, "holds image/png"),
        ("talk.mp4", {"media_type": "application/x-subrip", "name": "t.srt"}, "the right name is talk.srt"),
        ("cut.PNG", {"media_type": "image/png", "name": "cutout.png"}, ""),
        ("cut.jpeg", {"media_type": "image/jpeg", "name": "a.jpg"}, ""),
        ("cut", {"media_type": "image/png", "name": "cutout.png"}, ""),
    ],
)
def test_a_file_saved_under_a_wrong_ending_is_told_with_the_right_one(
    output: str, file: dict[str, str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(results, "say", said.append)
    fields = {"id": "blob_1", "url": "/", "bytes": 1, "sha256": "0", **file}
    results._warn_of_ending(Path(output), msgspec.convert(fields, File))
    assert (told in "".join(said)) and bool(said) == bool(told)

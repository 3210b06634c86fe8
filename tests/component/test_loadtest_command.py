"""`springtide loadtest`, as one types it: what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from springtide.cli.main import app
from springtide.domain.errors import ConfigError


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object, **more: object) -> httpx.Response:
        raise AssertionError("a request was sent")

    monkeypatch.setattr(httpx.Client, "send", refuse)
    monkeypatch.setattr(httpx.AsyncClient, "send", refuse)
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("storm", "--up"), "burst, ramp, sustained"),
        (("burst", "--server", "http://192.0.2.7:8321"), "--remote-i-mean-it"),
        (("burst", "--server", "https://media.example.com"), "--remote-i-mean-it"),
        (("burst", "--up", "--server", "http://127.0.0.1:1"), "not both"),
        (("burst", "--up", "--rate", "5000"), "200 jobs a second"),
        (("burst", "--up", "--for", "2h"), "3600s"),
        (("burst", "--up", "--for", "soon"), "90s, 30m"),
        (("burst", "--up", "--job", "1s~wide"), "--job is written"),
        (("burst", "--up", "--expect", "p95"), "p95=10s"),
        (("failover", "--server", "http://127.0.0.1:1"), "--kill-workers"),
        (("contention", "--server", "http://127.0.0.1:1"), "two models"),
        (
            ("contention", "--server", "http://127.0.0.1:1", "--model", "a", "--model", "b", "--key-env", "NO_KEY"),
            "NO_KEY",
        ),
    ],
)
def test_what_makes_no_sense_or_is_not_allowed_is_refused_before_anything_is_sent(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["loadtest", *words])
    assert isinstance(result.exception, ConfigError), result.output
    assert says in result.exception.message
    assert not list(tmp_path.glob("*.html"))

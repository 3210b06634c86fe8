"""`springtide keys` on a ledger that no server holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from springtide.cli.main import main
from springtide.client import Springtide

Said = Callable[..., tuple[str, str]]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `springtide keys WORDS`; gives standard output and standard error."""
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path / "data"))

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["springtide", "keys", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        said = capsys.readouterr()
        return said.out, said.err

    return run


def test_a_key_is_printed_alone_and_once(keys: Said) -> None:
    out, err = keys("create", "acme", "--name", "ci [red]")
    key = out.removesuffix("\n")
    assert len(key) == 76 and key.startswith("st_") and key not in err and "acme" in err
    shown, _ = keys("list", "--json")
    assert key not in shown and key.rpartition("_")[2] not in shown
    [one] = json.loads(shown)["data"]
    assert (one["id"], one["tenant"], one["name"], one["state"]) == (key[:11], "acme", "ci [red]", "valid")
    assert one["scopes"] == ["read", "submit"] and one["expires_at"] is None
    assert key[:11] in keys("list")[0]


def test_a_key_is_revoked_by_its_id_and_stays_in_the_list(keys: Said) -> None:
    made = json.loads(keys("create", "acme", "--scope", "admin", "--expires", "90d", "--json")[0])
    assert made["scopes"] == ["admin"] and made["expires_at"] is not None and made["key"].startswith(made["id"])
    assert "is revoked" in keys("revoke", made["id"])[0]
    [one] = json.loads(keys("list", "acme", "--json")[0])["data"]
    assert one["state"] == "revoked" and one["revoked_at"] is not None
    assert json.loads(keys("list", "globex", "--json")[0])["data"] == []


def test_what_is_wrong_is_said_and_no_secret_is_repeated(keys: Said) -> None:
    for words, hint in (
        (("create", "a b"), "letters, digits"),
        (("create", "acme", "--scope", "root"), "submit, read, admin"),
        (("create", "acme", "--expires", "soon"), "90s, 30m"),
        (("revoke", "st_aaaaaaaa"), "there is no key st_aaaaaaaa"),
        (("revoke", "st_aaaaaaaa_" + "5" * 64), "by its id"),
    ):
        _, err = keys(*words, code=2)
        assert hint in err and "5555" not in err
    assert json.loads(keys("list", "--json")[0])["data"] == []


def test_clients_send_the_key_of_the_environment_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_API_KEY", "st_aaaaaaaa_" + "5" * 64)
    with Springtide("http://127.0.0.1:1") as client:
        assert client._http.authorization["authorization"] == "Bearer st_aaaaaaaa_" + "5" * 64
    monkeypatch.delenv("SPRINGTIDE_API_KEY")
    with Springtide("http://127.0.0.1:1") as client:
        assert client._http.authorization == {}

"""`springtide models check`: what it finds, what it says of engines that fail, and what is kept and shown of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from springtide.cli import check as subject
from springtide.cli.served import served_models
from springtide.cli.worker_specs import worker_spec
from springtide.config import load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.orders import Orders
from springtide.engines import samples
from springtide.engines.matting.isnet import IsnetMatting
from springtide.engines.trial import Trial, fingerprint, keep_trials, kept_trials, trial_of, try_engine
from springtide.gateway.views import model_view

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def engines_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=":")


def tried(name: str, *, timeout_s: float = 60, **settings: Any) -> Trial:
    reference = f"engine_trials:{name}"
    return try_engine(reference, settings, Path("unused"), runs_within_s=0.0, timeout_s=timeout_s)


def test_an_engine_is_loaded_and_run_on_what_its_schema_asks_for() -> None:
    """Samples for its files, text, a field's own example; what it prints is not taken for the answer."""
    found = tried("Careful")
    assert found.problem is None
    assert found.version == "7"
    assert found.estimated_s == 0.25
    assert found.load_s is not None and found.first_run_s is not None and found.run_s is not None
    assert found.loaded_memory_mb and found.peak_memory_mb
    assert found.peak_memory_mb >= 0.9 * found.loaded_memory_mb
    assert found.processors >= 1


def test_an_engines_own_example_comes_first() -> None:
    assert tried("Chooses").problem is None


@pytest.mark.parametrize(
    ("name", "told", "loads"),
    [
        ("Unloadable", "springtide models pull", False),
        ("Failing", "ZeroDivisionError: one by none", True),
        ("Lost", "nowhere.jpg, which is neither beside it nor a sample", True),
        ("Killed", "killed, as the system does where memory runs out", False),
        ("Absent", "cannot be imported", False),
    ],
)
def test_an_engine_that_fails_is_told_with_what_was_found_before(name: str, told: str, loads: bool) -> None:
    found = tried(name)
    assert found.problem is not None and told in found.problem
    assert (found.load_s is not None) == loads
    assert found.run_s is None


def test_an_engine_that_hangs_is_given_up() -> None:
    assert tried("Hanging", timeout_s=3).problem == "did not load and run within 3 s"


@pytest.mark.parametrize(
    ("first", "later", "slow"), [(3.0, 1.0, True), (1.5, 1.0, False), (0.1, 0.01, False), (1.0, None, False)]
)
def test_a_first_run_that_load_should_have_made_is_noticed(first: float, later: float | None, slow: bool) -> None:
    assert Trial(engine="x", first_run_s=first, run_s=later).starts_slowly is slow


def test_what_is_kept_counts_for_the_same_engine_version_and_settings(tmp_path: Path) -> None:
    one = Trial(engine="a", version="1", settings="44136fa355b3678a", load_s=1.0)  # of no settings
    keep_trials(tmp_path, {"m": one})
    keep_trials(tmp_path, {"n": one})
    kept = kept_trials(tmp_path)
    assert set(kept) == {"m", "n"}
    assert trial_of(kept, "m", engine="a", version="1", settings={}) == one
    assert trial_of(kept, "m", engine="a", version="2", settings={}) is None
    assert trial_of(kept, "m", engine="a", version="1", settings={"threads": 1}) is None
    assert trial_of(kept, "o", engine="a", version="1", settings={}) is None
    (tmp_path / "checks.json").write_text("{")
    assert kept_trials(tmp_path) == {}


def test_the_command_prints_keeps_and_shows_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "springtide.toml").write_text(
        f"[server]\ndata_dir = '{tmp_path}'\n[models.nop]\nengine = 'synthetic'\n"
        "[models.bad]\nengine = 'engine_trials:Failing'\n"
    )
    monkeypatch.syspath_prepend(str(HERE))
    config = load_config(tmp_path / "springtide.toml")
    assert subject.check_models(config, ["nop"], as_json=True) is True
    printed = json.loads(capsys.readouterr().out)
    assert printed["nop"]["problem"] is None
    assert subject.check_models(config, [], as_json=False) is False
    said = capsys.readouterr().out
    assert "nop" in said and "bad: ZeroDivisionError: one by none" in said
    shown = {
        name: model_view(one, "http://here", live=None, orders=Orders(), capabilities=[], since_s=0.0).measured
        for name, one in served_models(config).items()
    }
    nop = shown[ModelName("nop")]
    assert nop is not None
    assert nop.load_s is not None and nop.peak_memory_mb is not None and nop.at.startswith("20")
    with pytest.raises(ConfigError, match="no such model: none"):
        subject.check_models(config, ["none"], as_json=False)


@pytest.mark.parametrize(
    ("first_run_s", "warm_up", "warms_up"), [(1.0, "auto", False), (9.0, "auto", True), (1.0, "always", True)]
)
def test_workers_warm_up_where_the_first_run_was_found_slow_or_where_they_are_told_to(
    tmp_path: Path, first_run_s: float, warm_up: str, warms_up: bool
) -> None:
    (tmp_path / "springtide.toml").write_text(
        f"[server]\ndata_dir = '{tmp_path}'\n[models.nop]\nengine = 'synthetic'\nwarm_up = '{warm_up}'\n"
    )
    found = Trial(engine="synthetic", settings=fingerprint({}), first_run_s=first_run_s, run_s=1.0)
    keep_trials(tmp_path, {"nop": found})
    [settings] = worker_spec(load_config(tmp_path / "springtide.toml"), "nop", WorkerId("w")).models
    assert settings.warm_up is warms_up


def test_the_samples_are_what_they_are_called() -> None:
    assert {path.name for path in samples.FOLDER.iterdir() if path.suffix != ".py"} - {"__pycache__"} == set(
        samples.BY_KIND.values()
    )
    assert IsnetMatting.example == {"image": samples.PORTRAIT}

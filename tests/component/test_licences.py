"""Weights that may not be used commercially are served only to who said that this is known; everybody is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_world import World, until

from springtide.cli.main import main
from springtide.cli.served import served_models
from springtide.cli.worker_main import WorkerSpec
from springtide.cli.worker_specs import worker_spec
from springtide.config import load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.job import JobStatus
from springtide.domain.lease import WorkerState
from springtide.engines.signing import SigningPlace

ENGINE = "worker_engines:NonCommercial"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "springtide.toml"
    path.write_text("\n".join(["[models.face]", f'engine = "{ENGINE}"', *lines]))
    return path


def test_a_non_commercial_engine_is_not_served_until_that_is_acknowledged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        served_models(load_config(written(tmp_path)))
    for part in ("models.face", "CC-BY-NC-4.0", "accept_non_commercial = true", "another engine"):
        assert part in str(caught.value)
    served = served_models(load_config(written(tmp_path, "accept_non_commercial = true")))
    assert served[ModelName("face")].model.commercial_use is False


def test_other_weights_bring_their_own_licence(tmp_path: Path) -> None:
    served = served_models(load_config(written(tmp_path, 'settings = {weights = "mine.onnx"}')))
    model = served[ModelName("face")].model
    assert (model.license, model.commercial_use) == ("MIT", True)


async def test_a_worker_does_not_load_it_either(tmp_path: Path) -> None:
    async with World(tmp_path, engine=ENGINE, load_attempts=1) as world:
        await until(lambda: world.worker.state is WorkerState.FAILING)
        assert "accept_non_commercial" in str(world.worker.problem)


async def test_a_worker_that_may_runs_it_and_signs_with_the_installations_key(tmp_path: Path) -> None:
    place = SigningPlace(folder=str(tmp_path / "provenance"))
    async with World(tmp_path, engine=ENGINE, accept_non_commercial=True, signing=place) as world:
        outcome = await world.outcome(await world.submit())
    assert outcome.status is JobStatus.COMPLETED and outcome.outputs is not None
    assert outcome.outputs["text"] == (tmp_path / "provenance" / "certificates.pem").read_text()


def test_what_a_worker_is_told_has_the_place_of_the_key_and_never_the_key(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    path = written(
        tmp_path,
        "accept_non_commercial = true",
        "[provenance]",
        f'certificate = "{chain}"',
        f'private_key = "{key}"',
    )
    config = load_config(path)
    told = worker_spec(config, "face", WorkerId("w"))
    [settings] = WorkerSpec.from_json(told.to_json()).models
    assert settings.accept_non_commercial
    assert settings.signing == SigningPlace(
        folder=str(config.server.data_dir / "provenance"), certificate=str(chain), private_key=str(key)
    )


def test_a_certificate_without_its_key_is_a_wrong_setting(tmp_path: Path) -> None:
    path = tmp_path / "springtide.toml"
    path.write_text('[provenance]\ncertificate = "chain.pem"\n')
    with pytest.raises(ConfigError, match="set both or neither"):
        load_config(path)


def test_the_list_of_models_says_what_their_licences_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "accept_non_commercial = true", "[models.plain]", 'engine = "synthetic"')
    monkeypatch.setenv("SPRINGTIDE_SERVER__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SPRINGTIDE_SERVER__PORT", "1")
    monkeypatch.setenv("SPRINGTIDE_CONFIG", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["springtide", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert "CC-BY-NC-4.0" in rows["face"] and "│ no " in rows["face"]
    assert "Apache-2.0" in rows["plain"] and "│ yes " in rows["plain"]

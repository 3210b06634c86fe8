"""What a distributed model takes of the fleet, and which settings do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.cli.served import served_models
from springtide.cli.worker_specs import worker_spec
from springtide.config import Config, load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import WorkerId
from springtide.fleet.gangs import Runs

ENGINE = "springtide.engines.synthetic.group:SyntheticGroup"


def config(tmp_path: Path, model: str, group: str = "", rest: str = "", *, engine: str = ENGINE) -> Config:
    file = tmp_path / "springtide.toml"
    file.write_text(f'[models.film]\nengine = "{engine}"\n{model}\n{group and "[models.film.group]"}\n{group}\n{rest}')
    return load_config(file)


def test_a_replica_takes_what_its_groups_take(tmp_path: Path) -> None:
    group = "processes = 4\ngpus_each = 2\ncpus_each = 1.5\nmemory_mb_each = 1000"
    film = config(tmp_path, 'execution = "distributed"', group).models["film"]
    assert (film.slots, film.idle_s) == (1, 10)
    assert film.takes() == {"accelerators": 8.0, "cpus": 6.0, "memory_mb": 4000.0}
    two = config(tmp_path, 'execution = "distributed"\nslots = 2\nidle_s = 60', group).models["film"]
    assert (two.takes()["accelerators"], two.idle_s) == (16.0, 60)


def test_a_worker_is_told_of_its_groups_and_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    given = config(tmp_path, 'execution = "distributed"', "processes = 4")
    [settings] = worker_spec(given, "film", WorkerId("film-1")).models
    assert settings.gang is not None
    assert (settings.gang.processes, settings.runs_as) == (4, Runs.PROCESSES)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    [settings] = worker_spec(given, "film", WorkerId("film-1")).models
    assert settings.runs_as is Runs.PYTORCHJOB


@pytest.mark.parametrize(
    ("model", "group", "rest", "said"),
    [
        ("", "processes = 2", "", "execution is not"),
        ('execution = "distributed"\naccelerators = 1', "", "", "accelerators: of a distributed model"),
        ('execution = "distributed"\nbatch = 1', "", "", "batch: a group runs one job"),
        ('execution = "distributed"', "gpus_each = 4", "[fleet]\naccelerators = 2", "takes more accelerators"),
        ('execution = "distributed"', "", '[workers.all]\nmodels = ["film"]\nmemory_mb = 100', "is distributed"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, model: str, group: str, rest: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, model, group, rest)


def test_an_engine_of_one_process_is_refused_for_a_group(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GroupEngine"):
        served_models(config(tmp_path, 'execution = "distributed"', engine="synthetic"))


def test_a_version_may_have_larger_groups(tmp_path: Path) -> None:
    more = "[models.film.versions.big.group]\nprocesses = 8\ngpus_each = 1"
    units = config(tmp_path, 'execution = "distributed"', "processes = 2\ngpus_each = 1", more).units
    assert {name: unit.takes()["accelerators"] for name, unit in units.items()} == {"film": 2.0, "film@big": 8.0}
